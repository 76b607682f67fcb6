"""Usage: python -m continuo_worker JOB_FOLDER [--threads N] [--recompute[=selective]] [--attended | --unattended FILE], alone or under torchrun."""

import argparse
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from transformers.utils import logging

from .engine import Training
from .errors import NonFiniteError, UserError
from .protocol import EXIT_FATAL, send, speak_to
from .ranks import Ranks
from .recompute import RECOMPUTE


def main() -> int:
    parser = argparse.ArgumentParser(prog="continuo_worker", description=__doc__)
    parser.add_argument("job_folder", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--recompute", nargs="?", choices=RECOMPUTE, const="full", default="none")
    parser.add_argument("--attended", action="store_true", help="wait for an answer after each step and measurement")
    parser.add_argument("--unattended", type=Path, metavar="FILE", help="say it to FILE; nobody answers, nothing is read")
    options = parser.parse_args()
    if options.unattended and not speak_to(options.unattended):
        return EXIT_FATAL
    if options.threads:
        torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    try:
        training = Training(
            options.job_folder.resolve(), Ranks(), options.recompute, options.attended, options.unattended is not None
        )
        code = training.run()
        dist.destroy_process_group()
        return code
    except UserError as error:
        where = {"nonFiniteStep": error.step} if isinstance(error, NonFiniteError) else {}
        send({"type": "fatal", "kind": error.kind, "message": str(error), **where})
    except torch.cuda.OutOfMemoryError:
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / 2**30
        send(
            {
                "type": "fatal",
                "kind": "EngineError",
                "message": f"GPU memory ran out ({total:.0f} GiB). Set training.recompute: selective, or full, and go on, halve "
                "training.microBatch, lower training.seqLen, or take more GPUs, among which the weights are divided.",
            }
        )
    except Exception:
        traceback.print_exc()
        return 1
    return EXIT_FATAL


if __name__ == "__main__":
    sys.exit(main())
