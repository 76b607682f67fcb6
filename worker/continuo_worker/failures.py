"""How a run that fails says so: one message by one rank, whatever the number of ranks, and no trace in it."""

import contextlib
import json
import os
import re
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from .errors import DataError, NonFiniteError, UserError
from .protocol import EXIT_CRASH, EXIT_FATAL, LineLog, now, send
from .ranks import Ranks
from .storage import WORDS, describe, free_bytes, gigabytes

CRASHES = "crashes"
# Of messages of gloo, NCCL and sockets.
LOST_PEER = re.compile(r"closed by peer|connection (was )?(reset|closed|refused)|broken pipe|timed out|gloo|NCCL", re.IGNORECASE)


class Failures:
    def __init__(self, job_folder: Path, recompute: str) -> None:
        self._job_folder = job_folder
        self._run_folder = job_folder.parent
        self._recompute = recompute

    def tell(self, message: str) -> None:
        """For the supervisor, for people, and into the run's events; what ends by it can be started again."""
        print(f"error: {message}", file=sys.stderr, flush=True)
        self._record(message)

    def conclude(self, error: BaseException, ranks: Ranks | None) -> int:
        """Says why the run ends, unless another rank did. @returns the exit code"""
        try:
            return self._conclude(error, ranks)
        finally:
            if ranks:
                ranks.leave()

    def _conclude(self, error: BaseException, ranks: Ranks | None) -> int:
        fatal = self._explain(error, ranks)
        # Before the ranks know each other: what is fatal then holds for all of a machine.
        is_heard = ranks.claim() if ranks else fatal is None or os.environ.get("LOCAL_RANK", "0") == "0"
        if fatal is not None:
            if is_heard:
                where = {"nonFiniteStep": error.step} if isinstance(error, NonFiniteError) else {}
                self._record(str(fatal))
                send({"type": "fatal", "kind": fatal.kind, "message": str(fatal), **where})
            return EXIT_FATAL
        is_lost = ranks is not None and ranks.world > 1 and _is_lost_peer(error)
        if is_lost and not is_heard:
            return EXIT_CRASH
        kept = self._keep_trace(error, ranks.rank if ranks else 0)
        if ranks and is_lost:
            self.tell(f"the ranks lost their connection: {ranks.missing()}: {_last_line(error)} ({kept}).")
        elif is_heard:
            last = _last_line(error)
            self.tell(f"{f'rank {ranks.rank}: ' if ranks and ranks.world > 1 else ''}{last} ({kept})")
        return EXIT_CRASH

    def _explain(self, error: BaseException, ranks: Ranks | None) -> UserError | None:
        """What would happen again, in words."""
        if isinstance(error, UserError):
            return error
        if asked := _asked_memory(error):
            return UserError(self._memory_ran_out(asked, ranks))
        if isinstance(error, OSError) and error.errno in WORDS:
            file = Path(error.filename or self._run_folder)
            free = free_bytes(file)
            room = f" ({gigabytes(free)} are free there)" if free is not None else ""
            return DataError(
                file, f"{describe(error)}{room}. Nothing that was complete is lost: run the same command again once this is mended."
            )
        return None

    def _memory_ran_out(self, asked: str, ranks: Ranks | None) -> str:
        where, held = "main memory", ""
        if ranks and ranks.uses_gpu:
            device = torch.cuda.get_device_properties(ranks.device)
            where = f"the memory of a GPU ({device.name}, {device.total_memory / 2**30:.1f} GiB)"
            held = f", of which this process held {torch.cuda.max_memory_reserved() / 2**30:.1f} GiB"
        of_rank = f" on rank {ranks.rank} of {ranks.world}" if ranks and ranks.world > 1 else ""
        now_set, lower = "", ["take more GPUs, among which the weights are divided"]
        with contextlib.suppress(OSError, ValueError, KeyError):
            batch = json.loads((self._job_folder / "job.json").read_text())["batch"]
            sequences, seq_len = batch["sequencesPerMicroBatch"], batch["seqLen"]
            now_set = f" The run has training.microBatch {sequences}, seqLen {seq_len}, recompute: {self._recompute}."
            lower.insert(0, f"lower training.seqLen below {seq_len}")
            if sequences > 1:
                lower.insert(0, f"set training.microBatch to {sequences // 2}")
            if self._recompute != "full":
                stronger = "selective, or full," if self._recompute == "none" else "full"
                lower.insert(0, f"set training.recompute: {stronger} and go on")
        advice = ", or ".join(lower)
        return f"{where} ran out{of_rank}{held}: {asked} more were asked for.{now_set} {advice[0].upper()}{advice[1:]}."

    def _keep_trace(self, error: BaseException, rank: int) -> str:
        trace = "".join(traceback.format_exception(error))
        file = self._run_folder / CRASHES / f"{now().replace(':', '-')}-rank-{rank}.txt"
        try:
            file.parent.mkdir(exist_ok=True)
            file.write_text(trace)
        except OSError:
            print(trace, file=sys.stderr, flush=True)
            return "its trace stands above"
        return f"the full trace: {file}"

    def _record(self, message: str) -> None:
        # Where this cannot be written either, the message itself is what is left.
        with contextlib.suppress(OSError):
            LineLog(self._run_folder / "events.jsonl").append({"time": now(), "type": "error", "message": message})


def _last_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _is_lost_peer(error: BaseException) -> bool:
    return isinstance(error, dist.DistError | RuntimeError) and LOST_PEER.search(str(error)) is not None


def _asked_memory(error: BaseException) -> str | None:
    """How much was asked for, where memory ran out."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        match = re.search(r"Tried to allocate ([\d.]+ \w+)", text)
        return match[1] if match else "some MiB"
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text:
        match = re.search(r"tried to allocate (\d+) bytes", text)
        return gigabytes(int(match[1])) if match else "some MB"
    return "some MB" if isinstance(error, MemoryError) else None
