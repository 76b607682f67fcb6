"""A compiled job: shards, order of samples, LR of each step. Formats: docs/formats-data.md. Everything is checked before it is used."""

import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .canonical import fingerprint, sha256_file
from .errors import ConfigError, DataError, UserError

FORMAT_VERSION = 1
SEGMENT = np.dtype([("shard", "<u4"), ("first", "<u8"), ("length", "<u4")])
ORDER_MAGIC = b"CNTORDER"
ORDER_HEADER = 32
INDEX_MAGIC = b"MMIDIDX\x00\x00"
TOKEN_TYPES = {8: "<u2", 4: "<i4"}
REMEDY = "Start the run again in a new folder, or remove the job folder so that it is compiled again."


@dataclass(frozen=True)
class Batch:
    """How a step's tokens are cut."""

    seq_len: int
    sequences_per_step: int
    sequences_per_micro_batch: int

    @staticmethod
    def of(value: dict[str, int]) -> "Batch":
        return Batch(value["seqLen"], value["sequencesPerStep"], value["sequencesPerMicroBatch"])


@dataclass(frozen=True)
class Sequence:
    """One sequence, all arrays int32 [seq_len]. `targets` are -1 where nothing is predicted, `shard` -1 on padding."""

    inputs: np.ndarray
    targets: np.ndarray
    # Of each token in its document, from 0.
    positions: np.ndarray
    shard: np.ndarray


class Shard:
    """Token ids of all documents in a row, mapped into memory."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.prefix = entry["prefix"]
        self.corpus = entry["corpus"]
        index, tokens, mask = (Path(f"{self.prefix}.{ending}") for ending in ("idx", "bin", "mask"))
        for file in (index, tokens):
            if not file.exists():
                raise DataError(file, "is missing. Every machine of the run needs the shards at the same path.")
        if sha256_file(index) != entry["indexDigest"]:
            raise DataError(
                index, "is not the index that the job was compiled for. Prepare the corpus again, then the run."
            )
        header = index.open("rb").read(34)
        if len(header) < 34 or header[:9] != INDEX_MAGIC:
            raise DataError(index, "is not a Megatron index (MMIDIDX, version 1).")
        code, num_sequences, _ = struct.unpack_from("<BQQ", header, 17)
        self.file = tokens
        self.tokens = np.memmap(tokens, dtype=TOKEN_TYPES[code], mode="r")
        if len(self.tokens) != entry["numTokens"]:
            raise DataError(
                tokens,
                f"holds {len(self.tokens)} tokens, the job was compiled for {entry['numTokens']}. "
                "Prepare the corpus again, then the run.",
            )
        lengths = np.fromfile(index, dtype="<i4", count=num_sequences, offset=34)
        self.first_of_document = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self.mask = np.memmap(mask, dtype=np.uint8, mode="r") if "maskDigest" in entry else None
        if self.mask is not None and sha256_file(mask) != entry["maskDigest"]:
            raise DataError(
                mask, "is not the mask that the job was compiled for. Prepare the corpus again, then the run."
            )


class OrderFile:
    """What each of the sequences of a file is made of."""

    def __init__(self, file: Path) -> None:
        content = np.fromfile(file, dtype=np.uint8)
        if len(content) < ORDER_HEADER or content[:8].tobytes() != ORDER_MAGIC:
            raise DataError(file, "is not an order file.")
        _, self.seq_len, num_sequences, num_segments = struct.unpack_from("<IIII", content, 8)
        bounds_end = ORDER_HEADER + 4 * (num_sequences + 1)
        if len(content) != bounds_end + SEGMENT.itemsize * num_segments:
            raise DataError(
                file, f"{len(content)} bytes do not hold {num_sequences} sequences of {num_segments} segments."
            )
        self.bounds = content[ORDER_HEADER:bounds_end].view("<u4")
        self.all_segments = content[bounds_end:].view(SEGMENT)

    def segments(self, i: int) -> np.ndarray:
        return self.all_segments[self.bounds[i] : self.bounds[i + 1]]


@dataclass(frozen=True)
class Layer:
    """A stretch of the order that holds from a step until the next layer begins."""

    from_step: int
    until_step: int
    files: list[dict[str, Any]]


class Job:
    """`shards`: a folder where the shards lie by their numbers, 0.bin and so on, instead of at the paths that the job names.

    @raises UserError that names what was edited, is damaged or is missing
    """

    def __init__(self, folder: Path, shards: Path | None = None) -> None:
        self.folder = folder
        self.data = _read_job(folder / "job.json")
        for name, digest in self.data["digests"].items():
            self._check_digest(name, digest)
        self.num_steps: int = self.data["numSteps"]
        self.batch = Batch.of(self.data["batch"])
        schedule = np.fromfile(folder / self.data["schedule"], dtype="<f4")
        if len(schedule) != self.num_steps:
            raise DataError(
                folder / self.data["schedule"], f"{len(schedule)} LRs, expected {self.num_steps} (one f32 a step)."
            )
        self.schedule = schedule
        self.shards = [
            Shard(entry if shards is None else {**entry, "prefix": str(shards / f"{number}")})
            for number, entry in enumerate(self.data["shards"])
        ]
        self.layers = [Layer(0, self.data.get("numOrderedSteps", self.num_steps), self.data["order"])]
        self.lr_factors: list[tuple[int, float]] = []
        # Of the model's embedding: where it is known, ids are checked as they are read. Reading all of them first would take 500 GB minutes at each start.
        self.num_rows: int | None = None
        self.amendments: list[dict[str, Any]] = []
        self._amendments_file = folder / "amendments.jsonl"
        self._amendment_bytes_read = 0
        self.amend(self.unread())
        self._open = lru_cache(maxsize=4)(lambda name: OrderFile(folder / name))

    def _check_digest(self, name: str, digest: str) -> None:
        file = self.folder / name
        if Path(name).name != name:
            raise DataError(self.folder / "job.json", f"names a file outside its folder: {name}")
        if not file.exists():
            raise DataError(file, f"is missing. {REMEDY}")
        found = sha256_file(file)
        if found != digest:
            raise DataError(
                file, f"was edited or is damaged (SHA-256 {found[:16]}..., expected {digest[:16]}...). {REMEDY}"
            )

    def unread(self) -> bytes:
        """What was decided about the job since (amendments.jsonl), whole lines."""
        # Opened rather than asked for its size: that is when network storage looks again.
        try:
            with self._amendments_file.open("rb") as opened:
                opened.seek(self._amendment_bytes_read)
                added = opened.read()
        except FileNotFoundError:
            return b""
        # A line torn by a crash was never acted on: whoever writes next removes it.
        return added[: added.rfind(b"\n") + 1]

    def amend(self, whole: bytes) -> bool:
        """Applies what was unread. Whether that was anything."""
        file = self._amendments_file
        self._amendment_bytes_read += len(whole)
        for number, line in enumerate(whole.split(b"\n")[:-1], len(self.amendments) + 1):
            amendment = json.loads(line)
            previous = self.amendments[-1]["fingerprint"] if self.amendments else self.data["fingerprint"]
            content = {key: value for key, value in amendment.items() if key != "fingerprint"}
            if fingerprint(content) != amendment["fingerprint"] or amendment["previous"] != previous:
                raise DataError(file, f"line {number} was edited or is damaged. {REMEDY}")
            self._apply(amendment)
        return len(whole) > 0

    def _apply(self, amendment: dict[str, Any]) -> None:
        self.amendments.append(amendment)
        start = amendment["fromStep"]
        if order := amendment.get("order"):
            for name, digest in order["digests"].items():
                self._check_digest(name, digest)
            end = start + sum(part["numSteps"] for part in order["parts"])
            self.layers = [self.layers[0], *(layer for layer in self.layers[1:] if layer.from_step < start)]
            self.layers.append(Layer(start, end, order["files"]))
        if "lrFactor" in amendment:
            self.lr_factors = [(step, factor) for step, factor in self.lr_factors if step < start]
            self.lr_factors.append((start, amendment["lrFactor"]))

    def fingerprint_at(self, step: int) -> str:
        """Identifies all that the first `step` steps were trained by."""
        holding = {layer.from_step for layer in self.layers[1:]} | {start for start, _ in self.lr_factors}
        latest = {a["fromStep"]: a for a in self.amendments if a["fromStep"] in holding}
        before = [latest[start]["fingerprint"] for start in sorted(latest) if start < step]
        return fingerprint([self.data["fingerprint"], *before]) if before else self.data["fingerprint"]

    def is_ordered(self, step: int) -> bool:
        return step < self._layer(step).until_step

    def _layer(self, step: int) -> Layer:
        return next(layer for layer in reversed(self.layers) if layer.from_step <= step)

    def phase_at(self, step: int) -> dict[str, Any]:
        return next(phase for phase in reversed(self.data["phases"]) if phase["firstStep"] <= step)

    def batch_at(self, step: int) -> Batch:
        own = self.phase_at(step).get("batch")
        return Batch.of(own) if own else self.batch

    def lr_at(self, step: int) -> float:
        factor = next((f for start, f in reversed(self.lr_factors) if start <= step), 1.0)
        return float(self.schedule[step]) * factor

    def first_sequence(self, step: int) -> int:
        """Of a step, counted over the whole run."""
        first = 0
        for phase in self.data["phases"]:
            batch = Batch.of(phase["batch"]) if "batch" in phase else self.batch
            if step < phase["firstStep"] + phase["numSteps"]:
                return first + (step - phase["firstStep"]) * batch.sequences_per_step
            first += phase["numSteps"] * batch.sequences_per_step
        return first

    def sequences(self, step: int, which: range) -> list[Sequence]:
        """Some of a step's sequences, by their places in it."""
        layer = self._layer(step)
        seq_len = self.batch_at(step).seq_len
        only_answers = self.phase_at(step).get("objective") == "answers"
        first = self.first_sequence(step)
        return [self._sequence(layer.files, first + i, seq_len, only_answers) for i in which]

    def eval_sequence(self, eval_set: dict[str, Any], i: int) -> Sequence:
        return self._sequence([eval_set["order"]], i, self.batch.seq_len, False)

    def shard_of(self, eval_set: dict[str, Any]) -> Shard:
        """Held-out shards stand last, in the order of their sets."""
        sets = self.data["evaluation"]["sets"]
        return self.shards[len(self.shards) - len(sets) + sets.index(eval_set)]

    def eval_bytes(self, eval_set: dict[str, Any]) -> np.ndarray:
        """UTF-8 bytes of each document of a held-out set."""
        return np.fromfile(f"{self.shard_of(eval_set).prefix}.bytes", dtype="<u4")[: eval_set["numDocuments"]]

    def eval_rows(self, eval_set: dict[str, Any], i: int) -> np.ndarray:
        """Documents, by number, of the tokens of a held-out sequence, [seq_len]; -1 on padding."""
        shard = self.shard_of(eval_set)
        rows = np.full(self.batch.seq_len, -1, dtype=np.int64)
        at = 0
        for segment in self._segments([eval_set["order"]], i):
            length = int(segment["length"])
            rows[at : at + length] = np.searchsorted(shard.first_of_document, segment["first"], side="right") - 1
            at += length
        return rows

    def _segments(self, files: list[dict[str, Any]], i: int) -> np.ndarray:
        for ref in files:
            if ref["firstSequence"] <= i < ref["firstSequence"] + ref["numSequences"]:
                return self._open(ref["file"]).segments(i - ref["firstSequence"])
        raise UserError(f"sequence {i} is not in the job's order. {REMEDY}")

    def _sequence(self, files: list[dict[str, Any]], i: int, seq_len: int, only_answers: bool) -> Sequence:
        inputs = np.zeros(seq_len, dtype=np.int32)
        targets = np.full(seq_len, -1, dtype=np.int32)
        positions = np.zeros(seq_len, dtype=np.int32)
        shards = np.full(seq_len, -1, dtype=np.int32)
        at = 0
        for segment in self._segments(files, i):
            number, first, length = (int(segment[key]) for key in ("shard", "first", "length"))
            if number >= len(self.shards):
                raise DataError(self.folder, f"sequence {i} refers to shard {number}, the job has {len(self.shards)}.")
            shard = self.shards[number]
            if length < 1 or at + length > seq_len or first + length + 1 > len(shard.tokens):
                raise DataError(
                    self.folder,
                    f"sequence {i} refers to tokens {first} to {first + length} of {shard.prefix}.bin, "
                    f"which holds {len(shard.tokens)}.",
                )
            ids = shard.tokens[first : first + length + 1].astype(np.int32)
            self._check_ids(ids, shard, first)
            end = at + length
            inputs[at:end] = ids[:-1]
            targets[at:end] = ids[1:]
            if only_answers and shard.mask is not None:
                targets[at:end][shard.mask[first + 1 : first + length + 1] == 0] = -1
            positions[at:end] = np.arange(length)
            shards[at:end] = number
            at = end
        # Padding is one document of its own.
        positions[at:] = np.arange(seq_len - at)
        return Sequence(inputs, targets, positions, shards)

    def _check_ids(self, ids: np.ndarray, shard: Shard, first: int) -> None:
        """A GPU would only say that an index was wrong, and not which."""
        # As numbers without a sign, a negative one is too high as well.
        worst = int(ids.view(np.uint32).argmax())
        if self.num_rows is not None and not 0 <= ids[worst] < self.num_rows:
            raise DataError(
                shard.file,
                f"token {first + worst} is {ids[worst]}, and the model's embedding has {self.num_rows} rows: expected ids from 0 to "
                f"{self.num_rows - 1}. The file is damaged, or the corpus was prepared with another tokenizer than this model's: "
                "prepare it again.",
            )


def _read_job(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist: expected a compiled job (`continuo run` makes one).") from None
    except ValueError as error:
        raise DataError(file, f"is not valid JSON ({error}). {REMEDY}") from None
    if not isinstance(data, dict) or data.get("formatVersion") != FORMAT_VERSION:
        raise DataError(
            file, f"expected a job of format {FORMAT_VERSION}. It was compiled by another version: {REMEDY}"
        )
    found = fingerprint({key: value for key, value in data.items() if key != "fingerprint"})
    if found != data.get("fingerprint"):
        raise DataError(
            file, f"was edited or is damaged (fingerprint {found}, it says {data.get('fingerprint')!r}). {REMEDY}"
        )
    return data
