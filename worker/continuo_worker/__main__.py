"""Usage: python -m continuo_worker JOB_FOLDER [--threads N] [--recompute[=selective]] [--attended | --unattended FILE], alone or under torchrun."""

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

import torch
from transformers.utils import logging

from .engine import Training
from .failures import Failures
from .own_code import trust_own_code
from .protocol import EXIT_CRASH, EXIT_FATAL, speak_to
from .ranks import Ranks
from .recompute import RECOMPUTE

PR_SET_PDEATHSIG = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="continuo_worker", description=__doc__)
    parser.add_argument("job_folder", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--recompute", nargs="?", choices=RECOMPUTE, const="full", default="none")
    parser.add_argument("--attended", action="store_true", help="wait for an answer after each step and measurement")
    parser.add_argument("--unattended", type=Path, metavar="FILE", help="say it to FILE; nobody answers, nothing is read")
    parser.add_argument("--trust-remote-code", action="store_true", help="the model's own Python files may be run")
    options = parser.parse_args()
    if options.unattended and not speak_to(options.unattended):
        return EXIT_FATAL
    if options.threads:
        torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    if options.trust_remote_code:
        trust_own_code()
    _end_with_torchrun()
    job_folder = options.job_folder.resolve()
    failures = Failures(job_folder, options.recompute)
    ranks = None
    try:
        ranks = Ranks(failures.tell)
        training = Training(job_folder, ranks, options.recompute, options.attended, options.unattended is not None)
        code = training.run()
        ranks.end()
        return code
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        # At once: threads that write a checkpoint, and libraries, may wait for ranks that are gone.
        code = EXIT_CRASH
        try:
            code = failures.conclude(error, ranks)
        finally:
            os._exit(code)


def _end_with_torchrun() -> None:
    """Ranks have sessions of their own: where torchrun is killed they would wait for each other's messages for minutes (Linux alone can say so)."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
