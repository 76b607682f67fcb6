"""A vocabulary grown by `continuo vocab`: transformers and Hugging Face tokenizers read the result and give the ids that we give.

Needs the built dist/.
"""

import gzip
import json
import subprocess
from pathlib import Path

import pytest
import torch
from tokenizer_shapes import splits, LLAMA3, byte_level
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ROOT / "data/demo/postgres-docs.jsonl.gz"
NUM_NEW = 300

ENCODE = """
import * as fs from 'node:fs';
import { loadTokenizer } from './dist/tokenizer/index.js';
const tokenizer = loadTokenizer(process.argv[1]);
const texts = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
console.log(JSON.stringify(texts.map((text) => tokenizer.encode(text, { parseSpecial: true }))));
"""


def texts():
    with gzip.open(TEXTS, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def make_model(folder: Path, tied: bool, dtype):
    """As Llama 3: special tokens behind the vocabulary and not in it, more rows than tokens."""
    tokenizer = byte_level(texts()[:50], 600, splits(LLAMA3), ignore_merges=True)
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True, normalized=False) for name in ["begin", "end", "header"]])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    torch.manual_seed(5)
    sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, vocab_size=640)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**sizes, tie_word_embeddings=tied)).to(dtype)
    model.save_pretrained(folder)
    return tokenizer, model


@pytest.mark.parametrize("tied, dtype", [(True, torch.float32), (False, torch.bfloat16), (False, torch.float16)])
def test_grown(tmp_path, tied, dtype):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    old_tokenizer, old = make_model(before, tied, dtype)
    command = ["node", "dist/cli/main.js", "vocab", before, "--data", TEXTS, "--add", NUM_NEW, "--out", after, "--json"]
    result = json.loads(subprocess.run([*map(str, command)], check=True, cwd=ROOT, capture_output=True, text=True).stdout)
    assert result["after"]["tokensPerWord"] < 0.9 * result["before"]["tokensPerWord"]

    tokenizer = AutoTokenizer.from_pretrained(after)
    model = AutoModelForCausalLM.from_pretrained(after, dtype="auto")
    assert len(tokenizer) == old_tokenizer.get_vocab_size() + NUM_NEW
    for token, number in old_tokenizer.get_vocab().items():
        assert tokenizer.convert_tokens_to_ids(token) == number
    samples = [text[:3000] for text in texts()[::5]] + ["<|begin|>CREATE TABLE<|end|>", "PostgreSQL's pg_catalog\n\n  VACUUM"]
    (tmp_path / "samples.json").write_text(json.dumps(samples))
    command = ["node", "--input-type=module", "--eval", ENCODE, str(after), str(tmp_path / "samples.json")]
    ours = json.loads(subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout)
    theirs = [tokenizer.encode(text, add_special_tokens=False) for text in samples]
    assert ours == theirs
    assert tokenizer.decode(theirs[-1]) == samples[-1]

    # Old rows as they were; a new row is the mean of the rows of the tokens that it stands for.
    first = old_tokenizer.get_vocab_size()
    assert model.config.vocab_size == max(640, first + NUM_NEW)
    tables = [(old.get_input_embeddings().weight, model.get_input_embeddings().weight)]
    if not tied:
        tables.append((old.get_output_embeddings().weight, model.get_output_embeddings().weight))
    parts = {new["id"]: new["parts"] for new in json.loads((after / "vocabulary.json").read_text())["added"]}
    assert sorted(parts) == list(range(first, first + NUM_NEW))
    for old_table, table in tables:
        assert torch.equal(table[:first], old_table[:first])
        for number, of in parts.items():
            # The mean is taken in f32 or wider and rounded once.
            assert torch.equal(table[number], old_table[of].double().mean(0).float().to(dtype))
