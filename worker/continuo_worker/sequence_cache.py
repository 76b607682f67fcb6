"""What a frozen model says of sequences, kept on disk, in the files of src/engine/sequence-cache.ts: [key 16][checksum 8][values] a record."""

import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .job import Sequence

KEY_BYTES = 16
HEAD_BYTES = KEY_BYTES + 8


class SequenceCache:
    """Of one model and one way of asking it. Each process appends to a file of its own."""

    def __init__(self, folder: Path, value_bytes: int) -> None:
        self.folder, self.value_bytes = folder, value_bytes
        self._places: dict[bytes, tuple[BinaryIO, int]] = {}
        self._own: BinaryIO | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.glob(f"{value_bytes}-*.bin")):
            self._index(file.open("rb"))

    def _index(self, stream: BinaryIO) -> None:
        size = HEAD_BYTES + self.value_bytes
        for at in range(0, os.fstat(stream.fileno()).st_size - size + 1, size):
            stream.seek(at)
            self._places[stream.read(KEY_BYTES)] = (stream, at)

    def read(self, key: bytes) -> bytes | None:
        """None also where a crash tore the record or a disk damaged it."""
        if key not in self._places:
            return None
        stream, at = self._places[key]
        stream.seek(at + KEY_BYTES)
        checksum, values = stream.read(HEAD_BYTES - KEY_BYTES), stream.read(self.value_bytes)
        return values if _checksum(values) == checksum else None

    def write(self, key: bytes, values: bytes) -> None:
        if self._own is None:
            name = f"{self.value_bytes}-{time.time_ns() // 1_000_000}-{os.getpid()}.bin"
            self._own = (self.folder / name).open("xb+")
        at = self._own.seek(0, os.SEEK_END)
        self._own.write(key + _checksum(values) + values)
        self._own.flush()
        self._places[key] = (self._own, at)


def key_of(sequence: Sequence) -> bytes:
    """Everything that a model reads of it and is asked about it."""
    starts = np.arange(len(sequence.positions), dtype=np.int32) - sequence.positions
    digest = hashlib.sha256()
    for values in (sequence.inputs, sequence.targets, starts):
        digest.update(values.astype("<i4").tobytes())
    return digest.digest()[:KEY_BYTES]


def _checksum(values: bytes) -> bytes:
    return hashlib.sha256(values).digest()[: HEAD_BYTES - KEY_BYTES]
