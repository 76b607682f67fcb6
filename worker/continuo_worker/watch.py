"""Ranks that fail or stand still, seen by the others: one rank says why, and all end, so that whoever started them can start them again.

A thread in each rank writes every few seconds into the store of torch.distributed that it lives and where its rank stands. Messages between ranks
cannot tell: over NCCL a rank that waits for another one is stuck in the GPU's driver."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch.distributed as dist

from .protocol import EXIT_CRASH

TICK_SECONDS = 2.0
# Between two looks at who still ticks, and how long a rank has to end by itself once another one said why the run does.
LOOK_SECONDS = 3 * TICK_SECONDS
# After SIGTERM, for the step: torchrun sends it when a rank was lost, too, and then the step never ends.
GONE_SECONDS = 20.0
# Without the store nobody can be asked any more: its machine is gone.
STORE_SECONDS = 300.0
# In place of a count of ticks.
LEFT = -1
FAILED = "failed"


@dataclass(frozen=True)
class Place:
    """Where a rank was when it last said so."""

    tick: int
    beats: int
    doing: str
    host: str
    pid: int


class Watch:
    def __init__(self, rank: int, world: int, limit_seconds: float, tell: Callable[[str], None]) -> None:
        """`limit_seconds`: how long a rank may stand still. `tell` is what one rank says to the user."""
        self._tell = tell
        self._rank = rank
        self._world = world
        self._limit = limit_seconds
        # A connection of its own: another thread's waiting for a key must not hold it up.
        self._store = dist.distributed_c10d._get_default_store().clone()
        self._ended = threading.Event()
        self._speaks = False
        self._saying = threading.Lock()
        self._tick = 0
        self._beats = 0
        self._doing = "the loading of the model"
        self._last_beat = time.monotonic()
        # Written to by the interpreter when a signal comes, also while the main thread is stuck in a library.
        self._signals, self._wakeup = socket.socketpair()
        for end in (self._signals, self._wakeup):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._say()
        threading.Thread(target=self._run, daemon=True).start()

    def beat(self, doing: str) -> None:
        self._doing = doing
        self._beats += 1
        self._last_beat = time.monotonic()

    def stop(self) -> None:
        self._ended.set()
        signal.set_wakeup_fd(-1)

    def claim(self, silent: list[int]) -> bool:
        """Whether this is the first rank to say that the run ends. `silent`: ranks that cannot end by themselves."""
        try:
            if self._store.add("claims", 1) > 1:
                return False
            self._speaks = True
            self._store.set(FAILED, json.dumps(silent))
        except RuntimeError:
            # The store went with the machine that had it: better twice than never.
            return True
        return True

    def leave(self) -> None:
        """Before this process ends by itself: nobody is to take it for lost."""
        self._ended.set()
        with contextlib.suppress(RuntimeError):
            self._say(LEFT)

    def missing(self) -> str:
        """For a message: which ranks are gone, and what this one did."""
        try:
            silent = self._silent()
        except RuntimeError:
            return "the machine that held the ranks' meeting place, or torchrun there, is gone"
        if not silent:
            return f"the network between them failed in {self._doing}"
        return f"{_listed(silent)} is gone (killed, out of main memory, or its machine is lost)"

    def _run(self) -> None:
        asked: float | None = None
        unreachable: float | None = None
        while not self._ended.wait(TICK_SECONDS):
            now = time.monotonic()
            asked = asked or self._hears_signal(now)
            try:
                self._say()
                if self._store.check([FAILED]) and not self._speaks:
                    self._follow()
                if now - self._last_beat > self._limit:
                    self._judge()
                stuck = asked is not None and now - asked > GONE_SECONDS and self._last_beat < asked
                # Asked twice: it is the checkpoint of a signal that would be lost.
                if stuck and self._silent() and self._silent():
                    os._exit(EXIT_CRASH)
                unreachable = None
            except RuntimeError:
                unreachable = unreachable or now
                if now - max(unreachable, self._last_beat) > min(self._limit, STORE_SECONDS):
                    os._exit(EXIT_CRASH)

    def _hears_signal(self, now: float) -> float | None:
        try:
            return now if self._signals.recv(64) else None
        except BlockingIOError:
            return None

    def _say(self, tick: int | None = None) -> None:
        # Not for ever: the other thread may wait for a store that is gone.
        if not self._saying.acquire(timeout=LOOK_SECONDS):
            return
        try:
            if self._tick == LEFT:
                return
            self._tick = tick or self._tick + 1
            place = Place(self._tick, self._beats, self._doing, socket.gethostname(), os.getpid())
            self._store.set(f"rank-{self._rank}", json.dumps(vars(place)))
        finally:
            self._saying.release()

    def _places(self) -> dict[int, Place]:
        keys = {rank: f"rank-{rank}" for rank in range(self._world)}
        return {r: Place(**json.loads(self._store.get(key))) for r, key in keys.items() if self._store.check([key])}

    def _silent(self) -> dict[int, Place]:
        """Ranks whose processes do nothing at all any more."""
        before = self._places()
        time.sleep(LOOK_SECONDS)
        self._say()
        after = self._places()
        others = {r: place for r, place in after.items() if r != self._rank and place.tick != LEFT}
        return {r: place for r, place in others.items() if r in before and before[r].tick == place.tick}

    def _follow(self) -> None:
        """Another rank said why the run ends: this one has a little time to do so by itself."""
        silent = json.loads(self._store.get(FAILED))
        for rank, place in self._places().items():
            if rank in silent and place.host == socket.gethostname() and rank != self._rank:
                _kill(place.pid)
        if not self._ended.wait(LOOK_SECONDS):
            os._exit(EXIT_CRASH)

    def _judge(self) -> None:
        """The main thread waits for others: says for whom, unless it goes on meanwhile."""
        beats = self._beats
        silent = self._silent()
        if self._beats != beats:
            return
        places = self._places()
        furthest = max(place.beats for place in places.values())
        late = silent or {r: place for r, place in places.items() if place.beats < furthest}
        if self.claim(list(silent)):
            self._tell(self._describe(late, bool(silent)))
        self._follow()

    def _describe(self, late: dict[int, Place], are_silent: bool) -> str:
        waited = f"{time.monotonic() - self._last_beat:.0f} s"
        if not late:
            return f"all ranks have waited for each other for {waited} in {self._doing}: the network between them is the likely cause."
        how = "does not run any more (stopped, killed, or its machine is gone)" if are_silent else "is behind the others"
        return (
            f"rank {self._rank} has waited {waited} for {_listed(late)}, which {how}. "
            f"The limit is {self._limit:.0f} s (CONTINUO_RANK_TIMEOUT)."
        )


def _listed(places: dict[int, Place]) -> str:
    return "; ".join(f"rank {r} ({p.host}, process {p.pid}), last seen in {p.doing}," for r, p in sorted(places.items()))[:-1]


def _kill(pid: int) -> None:
    # It may have ended meanwhile.
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
