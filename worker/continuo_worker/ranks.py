"""The processes of a run. Everything here works alone, too: one process is a group of one."""

import os

import torch
import torch.distributed as dist


class Ranks:
    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.uses_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", local) if self.uses_gpu else torch.device("cpu")
        if self.uses_gpu:
            torch.cuda.set_device(self.device)
        backend = "cpu:gloo,cuda:nccl" if self.uses_gpu else "gloo"
        if "RANK" in os.environ:
            dist.init_process_group(backend)
        else:
            # No port is taken: another run on this machine cannot be in the way.
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)

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
        """Says that this rank gets on."""

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()
