"""Ids of texts, native and by the TypeScript reference, against Hugging Face tokenizers (Rust) for the pipelines of published models.

The texts: the demo's, the repository's sources, and random Unicode. CONTINUO_TOKENIZER_TEXTS=FILE.jsonl (a JSON string a line) adds others,
such as the 100 MB that `npm run bench -- tokenize --gather FILE` collects; CONTINUO_TOKENIZERS=FOLDER adds the tokenizer.json files of the
folders in it, such as published models'. Needs the built dist/.
"""

import gzip
import itertools
import json
import os
import random
import subprocess
import unicodedata
from pathlib import Path

import numpy
import pytest
from tokenizer_shapes import SHAPES
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
EXTRA = os.environ.get("CONTINUO_TOKENIZER_TEXTS")
PUBLISHED = sorted(Path(os.environ["CONTINUO_TOKENIZERS"]).glob("*/tokenizer.json")) if "CONTINUO_TOKENIZERS" in os.environ else []
BATCH = 2000


def demo_texts():
    for name in ["english", "postgres-docs"]:
        with gzip.open(ROOT / f"data/demo/{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in itertools.islice(lines, 150):
                yield json.loads(line)["text"]


def source_texts():
    for folder, endings in [("src", "*.ts"), ("native", "*.h"), ("test/python", "*.py"), ("docs", "*.md")]:
        for file in sorted((ROOT / folder).rglob(endings)):
            yield file.read_text(encoding="utf-8")


def random_texts(seed=11):
    """All planes, combining marks, emoji sequences, controls, runs of one character, in mixtures of several widths."""
    rng = random.Random(seed)
    assigned = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn"]
    anything = lambda: chr(rng.choice([rng.randrange(0x80), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
    marks = [c for c in assigned if unicodedata.category(c) in ("Mn", "Mc", "Me")]
    spaces = list(" \t\n\r\x0b\x0c\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000\ufeff\u200b\x1c\x1f")
    emoji = ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U0001f1e9\U0001f1ea", "#\ufe0f\u20e3"]
    words = "the The THE 's 'S 'LL 're don't we'll ſ 'ſ K 12 1234 a1 éa ÀÉ ǅ ▁ ▁▁ <s> <|endoftext|> <unk> // /* */ \\n 中文 かな 한국 привет".split()
    kinds = [
        lambda: rng.choice(assigned),
        anything,
        lambda: rng.choice(spaces),
        lambda: rng.choice(spaces) * rng.randrange(1, 6),
        lambda: rng.choice("abcdeE") + rng.choice(marks),
        lambda: rng.choice(emoji),
        lambda: rng.choice(words),
        lambda: rng.choice(words) + " ",
        lambda: rng.choice("!?.,'\"-/\\([{<_") * rng.randrange(1, 4),
    ]
    for i in range(3000):
        chosen = rng.sample(kinds, rng.randrange(1, 5))
        yield "".join(rng.choice(chosen)() for _ in range(rng.randrange(60)))
    for run in ["a", " ", "\n", "é", "中", "!", "7", "\u0301", "\U0001f600", " \n", "ab", "\r\n"]:
        for length in [50, 500, 5000]:
            yield run * length
            yield "x" + run * length + "y z"
    for i in range(0, len(assigned), 64):  # every assigned character, once by itself and once behind a letter
        yield " ".join(assigned[i : i + 64])
        yield "".join("a" + c for c in assigned[i : i + 64])


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Lists of texts by name, each with the file that our side reads."""
    folder = tmp_path_factory.mktemp("texts")
    sets = {"demo": list(demo_texts()), "sources": list(source_texts()), "random": list(random_texts())}
    files = {}
    for name, texts_of in sets.items():
        files[name] = folder / f"{name}.jsonl"
        # JSON escapes everything beyond ASCII, so no line separator splits a line.
        files[name].write_text("".join(json.dumps(text) + "\n" for text in texts_of))
    if EXTRA:
        files["extra"] = Path(EXTRA)
        sets["extra"] = [json.loads(line) for line in open(EXTRA, encoding="utf-8", newline="\n")]
    return {name: (sets[name], files[name]) for name in sets}


def compare(tokenizer_file, ours, expected_texts):
    """Compares batch by batch, so that 100 MB need no memory for Python's objects."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.encode_special_tokens = True
    found = numpy.fromfile(ours, dtype=numpy.int32)
    lengths, ids = found[: len(expected_texts)], found[len(expected_texts) :]
    ends = numpy.cumsum(lengths)
    for first in range(0, len(expected_texts), BATCH):
        batch = expected_texts[first : first + BATCH]
        for i, encoding in enumerate(tokenizer.encode_batch_fast(batch, add_special_tokens=False), first):
            got = ids[ends[i] - lengths[i] : ends[i]]
            if not numpy.array_equal(got, encoding.ids):
                wanted = encoding.ids
                at = next((k for k, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
                token = lambda ids: [tokenizer.id_to_token(int(id)) for id in ids[max(0, at - 3) : at + 5]]
                pytest.fail(f"text {i} differs at id {at}: ours {token(got)}, expected {token(wanted)}; {batch[i - first][:200]!r}")


@pytest.mark.parametrize("shape", SHAPES)
def test_ids(shape, texts, tmp_path):
    file = tmp_path / "tokenizer.json"
    SHAPES[shape]([*texts["demo"][0], *texts["sources"][0][::3]], 4000).save(str(file))
    check(file, texts, tmp_path)


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.parent.name)
def test_published(file, texts, tmp_path):
    check(file, texts, tmp_path)


def check(file, texts, tmp_path):
    requests = [
        dict(tokenizer=str(file), texts=str(texts[name][1]), out=str(tmp_path / f"{name}-{engine}"), engine=engine)
        for name in texts
        for engine in ["native", "reference"]
    ]
    (tmp_path / "requests.json").write_text(json.dumps(requests))
    command = ["node", "test/python/token-ids.mjs", str(tmp_path / "requests.json")]
    ran = json.loads(subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout)
    assert all(one["engine"] == "continuo" for one in ran), ran
    for request in requests:
        name = Path(request["out"]).name.rsplit("-", 1)[0]
        if request["engine"] == "native":
            compare(file, request["out"], texts[name][0])
        else:
            same = Path(request["out"]).read_bytes() == Path(request["out"].replace("-reference", "-native")).read_bytes()
            assert same, f"{name}: the reference and the native encoder differ"
