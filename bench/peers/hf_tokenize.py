"""Hugging Face tokenizers (Rust), one thread: trains a tokenizer, or encodes texts and writes their ids.

python hf_tokenize.py train SHAPE SIZE TEXTS.jsonl TOKENIZER.json
python hf_tokenize.py encode TOKENIZER.json TEXTS.jsonl IDS        prints {"seconds", "bytes"} as JSON, in CPU time
Texts are JSON strings, one a line. IDS gets int32: the number of ids of each text, then all ids.
"""

import json
import os
import sys
import time
from pathlib import Path

if sys.argv[1] == "encode":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"

import numpy
from tokenizers import Tokenizer

BATCH = 1000


def read(file):
    return [json.loads(line) for line in open(file, encoding="utf-8", newline="\n")]


def train(shape, size, texts, out):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test/python"))
    from tokenizer_shapes import SHAPES

    SHAPES[shape](read(texts), int(size)).save(out)


def encode(tokenizer_file, texts_file, out):
    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.encode_special_tokens = True
    texts = read(texts_file)
    lengths, ids = [], []
    seconds = 0.0
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        start = time.process_time()
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        seconds += time.process_time() - start
        for encoding in encodings:
            ids.append(numpy.asarray(encoding.ids, dtype=numpy.int32))
            lengths.append(len(encoding.ids))
    with open(out, "wb") as file:
        numpy.asarray(lengths, dtype=numpy.int32).tofile(file)
        if ids:
            numpy.concatenate(ids).tofile(file)
    print(json.dumps({"seconds": seconds, "bytes": sum(len(text.encode()) for text in texts)}))


train(*sys.argv[2:]) if sys.argv[1] == "train" else encode(*sys.argv[2:])
