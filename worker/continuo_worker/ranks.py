"""The processes of a run. Everything here works alone, too: one process is a group of one."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from .errors import ConfigError
from .watch import Watch

# Loading a model, compiling it and writing a checkpoint, each of which all ranks do, take less.
LIMIT_SECONDS = 1800
# Between the watch's own message and that of the library whose wait it is.
MARGIN_SECONDS = 60


class Ranks:
    def __init__(self, tell: Callable[[str], None]) -> None:
        """`tell`: what is said when a rank stands still. @raises ConfigError on a machine with too few GPUs"""
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.uses_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", local) if self.uses_gpu else torch.device("cpu")
        if self.uses_gpu:
            _check_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
            torch.cuda.set_device(self.device)
        backend = "cpu:gloo,cuda:nccl" if self.uses_gpu else "gloo"
        limit = _limit()
        timeout = timedelta(seconds=limit + MARGIN_SECONDS)
        is_launched = "RANK" in os.environ
        # Alone no port is taken: another run on this machine cannot be in the way.
        with _store_of_this_start(self.rank, self.world, timeout) if is_launched else nullcontext(dist.HashStore()) as store:
            dist.init_process_group(backend, timeout=timeout, store=store, rank=self.rank, world_size=self.world)
        self._watch = Watch(self.rank, self.world, limit, tell) if self.world > 1 else None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over ranks of a tensor in main memory, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def max(self, value: int) -> int:
        """The largest of all ranks."""
        values = torch.tensor([value])
        if self.world > 1:
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return int(values.item())

    def any(self, flag: bool) -> bool:
        """Whether it holds on any rank."""
        return bool(self.sum(torch.tensor([int(flag)])).item())

    def all(self, flag: bool) -> bool:
        return not self.any(not flag)

    def from_first(self, value: object) -> object:
        """What rank 0 has, on all of them."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: object) -> list[object]:
        """What each has, on all of them."""
        if self.world == 1:
            return [value]
        box: list[object] = [None] * self.world
        dist.all_gather_object(box, value)
        return box

    def beat(self, doing: str) -> None:
        """Says that this rank gets on, and with what. All ranks say it as often."""
        if self._watch:
            self._watch.beat(doing)

    def claim(self) -> bool:
        """Whether this rank, which fails, is the first to say so: the others are silent."""
        return self._watch.claim([]) if self._watch else True

    def missing(self) -> str:
        return self._watch.missing() if self._watch else ""

    def leave(self) -> None:
        """Before a process that failed ends."""
        if self._watch:
            self._watch.leave()

    def end(self) -> None:
        if self._watch:
            self._watch.stop()
        dist.destroy_process_group()

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


@contextmanager
def _store_of_this_start(rank: int, world: int, timeout: timedelta) -> Iterator[dist.Store]:
    """
    torchrun's store outlives its ranks, and torch 2.15 gives their keys no prefix: ranks that are started again would read the addresses of those
    that are gone. Counts of restarts differ between machines, so rank 0 draws a name, and answers each rank by the number that it asks with.
    """
    store, _, _ = next(rendezvous("env://", rank, world, timeout=timeout))
    store.set_timeout(timeout)
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"asks-{rank}", own)
        yield dist.PrefixStore(store.get(f"answer-{own}").decode(), store)
        return
    is_over = threading.Event()
    threading.Thread(target=_answer, args=(store.clone(), world, own, is_over), daemon=True).start()
    yield dist.PrefixStore(own, store)
    is_over.set()


def _answer(store: dist.Store, world: int, name: str, is_over: threading.Event) -> None:
    """Until all have joined: what was asked first may be of an earlier start."""
    while not is_over.wait(0.02):
        for rank in range(1, world):
            if store.check([f"asks-{rank}"]):
                store.set(f"answer-{store.get(f'asks-{rank}').decode()}", name)


def _check_gpus(asked: int) -> None:
    found = torch.cuda.device_count()
    if asked > found:
        raise ConfigError(
            f"this machine is asked for {asked} GPUs, and PyTorch sees {found} of them. Set engine.torch.gpus to {found}, or look at "
            "nvidia-smi and at CUDA_VISIBLE_DEVICES."
        )


def _limit() -> float:
    text = os.environ.get("CONTINUO_RANK_TIMEOUT", str(LIMIT_SECONDS))
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise ConfigError(f"CONTINUO_RANK_TIMEOUT: expected seconds above 0, found {text!r}.")
    return limit
