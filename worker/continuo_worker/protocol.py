"""What an engine says (docs/formats.md, "The engine contract"): JSON lines on stdout by rank 0, answers and the parent's end on stdin."""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

EXIT_FINISHED = 0
# What a supervisor answers by starting the engine again.
EXIT_CRASH = 1
EXIT_FATAL = 4
EXIT_STOPPED = 130
# A queue signals every process of a job, and the supervisor passes it on: that is one request.
AGAIN_SECONDS = 2.0


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def send(message: dict[str, object]) -> None:
    try:
        os.write(1, (json.dumps(message, ensure_ascii=False) + "\n").encode())
    except BrokenPipeError:
        # Nobody reads any more: the parent went away.
        os._exit(EXIT_STOPPED)


def warn(message: str) -> None:
    """Shown to the user where somebody reads along."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def speak_to(file: Path) -> bool:
    """Sends messages to the end of a file instead of stdout. False where torchrun starts this again after a fatal one, which would repeat."""
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and file.exists():
        last = file.read_text().rstrip("\n").rpartition("\n")[2]
        with contextlib.suppress(ValueError):
            if json.loads(last).get("type") == "fatal":
                return False
    os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), 1)
    return True


class Control:
    """Signals of this process and, on rank 0, the parent's lines: continue, checkpoint, stop."""

    def __init__(self, reads_stdin: bool, patient: bool) -> None:
        """`patient`: a second signal says no more than the first. Slurm signals torchrun and the ranks, and torchrun the ranks again."""
        self.stop_requested = False
        self._patient = patient
        self._asked = 0.0
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if reads_stdin:
            threading.Thread(target=self._read, daemon=True).start()

    def _on_signal(self, *_: object) -> None:
        asked_again = time.monotonic() - self._asked > AGAIN_SECONDS
        if self.stop_requested and asked_again and not self._patient:
            os._exit(EXIT_STOPPED)
        if not self.stop_requested:
            self._asked = time.monotonic()
        self.stop_requested = True

    def _read(self) -> None:
        for line in sys.stdin:
            self._answers.put(line.strip())
        os._exit(EXIT_STOPPED)

    def answer(self, seconds: float) -> str | None:
        """The parent's next line; a signal ends the waiting. None: there was none in this time."""
        end = time.monotonic() + seconds
        while not self.stop_requested:
            # In short waits: a signal's handler runs between them.
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=0.2)
            if time.monotonic() > end:
                return None
        return "stop"


class LineLog:
    """Appends whole lines; a line torn by an earlier crash is closed first. What storage refuses waits in memory for the next line."""

    def __init__(self, file: Path) -> None:
        self.name = file
        self._waiting = b""
        self._file = self._open()
        end = self._file.seek(0, os.SEEK_END)
        if end > 0 and os.pread(self._file.fileno(), 1, end - 1) != b"\n":
            self._waiting = b"\n"

    @property
    def waits(self) -> bool:
        """Whether the last line was refused."""
        return self._file.closed

    def append(self, value: dict[str, object]) -> OSError | None:
        """Returns why it is not in the file yet."""
        self._waiting += (json.dumps(value, ensure_ascii=False) + "\n").encode()
        try:
            if self._file.closed:
                # A file on network storage may have gone stale.
                self._file = self._open()
            while self._waiting:
                self._waiting = self._waiting[self._file.write(self._waiting) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.close()
            return error
        return None

    def _open(self) -> FileIO:
        return FileIO(self.name, "a+")
