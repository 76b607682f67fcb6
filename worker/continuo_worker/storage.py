"""What a disk, local or on a network, may refuse, in words; and how much room is left."""

import errno
import os
from pathlib import Path

from safetensors import SafetensorError

WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of this disk is used up",
    errno.EIO: "the device failed to read or write; look at the system's log and the state of the disk",
    errno.ESTALE: "the network storage no longer knows this file (stale handle)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission to read or write this",
    errno.EFBIG: "the system refuses a file of this size; look at `ulimit -f` and the file system's limit",
}


def is_refusal(error: BaseException) -> bool:
    """Whether storage, and not a defect, is why something could not be written."""
    # PyTorch's own archive writer keeps no errno.
    archive = isinstance(error, RuntimeError) and ("inline_container" in str(error) or "PytorchStreamWriter" in str(error))
    return archive or isinstance(error, OSError | SafetensorError)


def describe(error: BaseException) -> str:
    if isinstance(error, OSError):
        return WORDS.get(error.errno or 0, error.strerror or str(error))
    return "a file was cut short, most often because the disk is full"


def free_bytes(folder: Path) -> int | None:
    """Of the disk that the folder, or the nearest one above it, lies on."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def free_memory() -> int | None:
    """Main memory that this machine, or the control group that this process is in, still has to give."""
    found = []
    try:
        with open("/proc/meminfo") as lines:
            found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        limit, used = (Path("/sys/fs/cgroup", name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit.isdigit():
            # Of what counts as used, files that were read can be given up.
            stat = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
            cache = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
            found.append(int(limit) - int(used) + cache)
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
