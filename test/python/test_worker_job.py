"""What was decided while a job ran is read by the worker as it comes: only what was added, whole lines alone."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "worker"))
from continuo_worker.canonical import fingerprint  # noqa: E402
from continuo_worker.errors import DataError  # noqa: E402
from continuo_worker.job import Job  # noqa: E402


def compiled(folder: Path) -> Job:
    """A job without shards or order."""
    folder.mkdir()
    (folder / "schedule.f32").write_bytes(bytes(4 * 20))
    batch = {"seqLen": 8, "sequencesPerStep": 2, "sequencesPerMicroBatch": 1}
    content = {
        "formatVersion": 1,
        "numSteps": 20,
        "batch": batch,
        "schedule": "schedule.f32",
        "shards": [],
        "order": [],
        "phases": [],
        "evaluation": {"sets": []},
        "digests": {},
    }
    (folder / "job.json").write_text(json.dumps({**content, "fingerprint": fingerprint(content)}))
    return Job(folder)


def amendment(previous: str, step: int, factor: float) -> dict[str, object]:
    content = {"fromStep": step, "reason": "a test", "lrFactor": factor, "previous": previous}
    return {**content, "fingerprint": fingerprint(content)}


def test_only_what_was_added_is_read(tmp_path: Path) -> None:
    job = compiled(tmp_path / "job")
    file = job.folder / "amendments.jsonl"
    first = amendment(job.data["fingerprint"], 5, 0.5)
    second = amendment(str(first["fingerprint"]), 9, 0.25)
    lines = [f"{json.dumps(one)}\n".encode() for one in (first, second)]
    job.amend(job.unread())
    assert job.lr_factors == []
    # The second line is torn.
    file.write_bytes(lines[0] + lines[1][:20])
    job.amend(job.unread())
    assert job.lr_factors == [(5, 0.5)]
    # As long as before and no line: it would be refused, were it read again.
    file.write_bytes(b" " * len(lines[0]) + lines[1])
    job.amend(job.unread())
    assert job.lr_factors == [(5, 0.5), (9, 0.25)]
    job.amend(job.unread())
    assert len(job.amendments) == 2


def test_a_line_that_follows_another_history_is_refused(tmp_path: Path) -> None:
    job = compiled(tmp_path / "job")
    (job.folder / "amendments.jsonl").write_text(json.dumps(amendment("0123456789abcdef", 5, 0.5)) + "\n")
    with pytest.raises(DataError, match="line 1 was edited or is damaged"):
        job.amend(job.unread())
