"""A model's way into the PyTorch engine (worker/): weights by rows, what is kept for the way back, masks. No job is trained.

Needs the packages of requirements.txt. Run by .ci/run, or: pytest test/python
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from harness import ROOT, make_model
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor
from torch.nn.attention.flex_attention import create_block_mask, create_mask
from torch.utils.flop_counter import FlopCounterMode
from transformers import masking_utils

sys.path.insert(0, str(ROOT / "worker"))
from continuo_worker.errors import DataError, UserError  # noqa: E402
from continuo_worker.job import Job, Shard  # noqa: E402
from continuo_worker.model import _blocks, load_model  # noqa: E402
from continuo_worker.ranks import Ranks  # noqa: E402
from continuo_worker.recompute import RECOMPUTE  # noqa: E402
from continuo_worker.speed import flops_per_token, published_peak  # noqa: E402

# Numbers of rows that two ranks cannot share evenly.
COMMON = dict(
    vocab_size=257,
    hidden_size=64,
    intermediate_size=99,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=1,
    max_position_embeddings=128,
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=None,
)
MODELS = {
    "tied": hf.LlamaConfig(**COMMON, tie_word_embeddings=True),
    # Stored one by one and put together by transformers, three for two ranks.
    "experts": hf.Qwen3MoeConfig(**COMMON, head_dim=16, moe_intermediate_size=20, num_experts=3, num_experts_per_tok=2),
    # Buffers in no file; names without the prefix.
    "gpt2": hf.GPT2Config(vocab_size=257, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0),
}


def make_folders(folder: Path) -> None:
    for name, config in MODELS.items():
        make_model(folder / name, config)
    plain = folder / "gpt2/model.safetensors"
    save_file({name.removeprefix("transformer."): value for name, value in load_file(plain).items()}, plain)
    whole = hf.AutoModelForCausalLM.from_pretrained(folder / "tied")
    whole.to(torch.bfloat16).save_pretrained(folder / "tied", max_shard_size="100KB")
    (folder / "tied/model.safetensors").unlink()


def job_of(folder: Path, precision: str = "f32") -> dict:
    return {"model": str(folder), "precision": precision, "seed": 1, "batch": {"seqLen": 64}, "phases": []}


def whole(value: torch.Tensor) -> torch.Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def check_loaded(folder: Path, ranks: Ranks) -> None:
    """Every tensor is what transformers reads, also what is in no file."""
    for name in MODELS:
        model = load_model(job_of(folder / name), ranks).model
        expected = hf.AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)
        found = {**model.state_dict(), **dict(model.named_buffers())}
        wanted = {**expected.state_dict(), **dict(expected.named_buffers())}
        assert found.keys() == wanted.keys()
        for key, value in found.items():
            assert torch.equal(whole(value), wanted[key]), (name, key)
        if ranks.world > 1:
            assert any(isinstance(p, DTensor) and p.to_local().shape[0] < p.shape[0] for p in model.parameters())


def check_disagreement(folder: Path, ranks: Ranks) -> None:
    """What one rank cannot read ends both, with the same words."""
    with pytest.raises(UserError, match=r"tied-cut.*is missing, cut off or damaged") as caught:
        load_model(job_of(folder / ("tied-cut" if ranks.rank == 1 else "tied")), ranks)
    assert caught.value.kind == "DataError"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    found = tmp_path_factory.mktemp("models")
    make_folders(found)
    return found


@pytest.fixture(scope="module")
def alone() -> Ranks:
    ranks = Ranks(print)
    yield ranks
    torch.distributed.destroy_process_group()


def test_a_rank_reads_a_model(folder, alone):
    check_loaded(folder, alone)


def test_two_ranks_read_a_model_by_rows(folder):
    shutil.copytree(folder / "tied", folder / "tied-cut")
    # Its header is whole, but rank 1 alone gets to see this folder.
    file = min((folder / "tied-cut").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run([sys.executable, *launch, __file__, str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_weights_that_do_not_fit_are_refused_by_file_and_tensor(folder, alone, tmp_path):
    shutil.copytree(folder / "gpt2", tmp_path / "model")
    file = tmp_path / "model/model.safetensors"
    tensors = load_file(file)

    def refusal(content: dict | bytes) -> str:
        file.write_bytes(content) if isinstance(content, bytes) else save_file(content, file)
        with pytest.raises(UserError) as caught:
            load_model(job_of(tmp_path / "model"), alone)
        assert caught.value.kind == "DataError"
        return str(caught.value)

    name = "h.1.mlp.c_fc.weight"
    without = {key: value for key, value in tensors.items() if key != name}
    assert refusal(without).startswith(f"{file.parent}: no file has transformer.{name}, nor 0 other tensors of a gpt2")
    assert f"{file}: tensor {name}: expected [32, 128], found [128, 32]. Are the weights" in refusal({**tensors, name: tensors[name].T.contiguous()})
    assert f"{file}: tensor h.2.more: has no place in a gpt2" in refusal({**tensors, "h.2.more": torch.zeros(2)})
    assert f"{file}: tensor {name}: expected F32, F16, BF16, F64, found I8: quantised" in refusal({**tensors, name: tensors[name].to(torch.int8)})
    save_file(tensors, file)
    assert f"{file}: is missing, cut off or damaged (" in refusal(file.read_bytes()[:-5])
    file.unlink()
    index = {"weight_map": {name: "model-00001-of-00002.safetensors"}}
    (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model-00001-of-00002.safetensors: is missing"):
        load_model(job_of(tmp_path / "model"), alone)


def test_operations_are_counted_as_the_plan_counts_them(folder, alone):
    script = """
        import { modelFacts } from './dist/pipeline/facts.js';
        import { trainFlopsPerToken } from './dist/recipe/cost.js';
        import { GPUS } from './dist/recipe/hardware.js';
        const models = process.argv.slice(1).map((one) => Object.values(trainFlopsPerToken(modelFacts(one, 'one'), 64)));
        console.log(JSON.stringify({ models, gpus: GPUS.map(({ name, peakFlops, note }) => [name, note ? null : peakFlops]) }));
    """
    command = ["node", "--input-type=module", "-e", script, *(str(folder / name) for name in MODELS)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    for name, (matrices, attention) in zip(MODELS, said["models"], strict=True):
        job = job_of(folder / name)
        found = flops_per_token(load_model(job, alone), job)
        # Tables of positions are nobody's product.
        assert found[0] == pytest.approx(matrices, rel=0.2 if name == "gpt2" else 1e-9), name
        assert found[1] * 64 == attention
    for name, peak in said["gpus"]:
        assert published_peak(f"NVIDIA {name.replace(' SXM', ' 80GB HBM3')}") == peak
    assert published_peak("NVIDIA H100 NVL") is published_peak("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is published_peak("NVIDIA L40") is None


def test_a_token_without_a_row_is_found():
    shard = Shard.__new__(Shard)
    shard.file = Path("shard.bin")
    job = Job.__new__(Job)
    ids = np.arange(300, dtype=np.int32)
    for job.num_rows in (None, 300):
        job._check_ids(ids, shard, 1000)
    for worst in (400, 300, -3):
        ids[123] = worst
        said = rf"shard.bin: token 1123 is {worst}, and the model's embedding has 300 rows: expected ids from 0 to 299"
        with pytest.raises(DataError, match=said):
            job._check_ids(ids, shard, 1000)


def batch() -> list[torch.Tensor]:
    """Inputs, positions of two documents a sequence, targets, weights."""
    numbers = torch.Generator().manual_seed(1)
    tokens = torch.randint(257, (2, 65), generator=numbers)
    positions = torch.stack([torch.cat([torch.arange(n), torch.arange(64 - n)]) for n in (40, 64)])
    return [tokens[:, :-1], positions, tokens[:, 1:].contiguous(), torch.full((2, 64), 1 / 128)]


def test_what_is_kept_changes_no_bit(folder, alone):
    """Sharded as on GPUs (bf16), and there compiled block by block."""
    found = {}
    for how, is_compiled in [*((how, False) for how in RECOMPUTE), ("selective", True)]:
        model = load_model(job_of(folder / "tied", "bf16"), alone, how)
        if is_compiled:
            for block in _blocks(model.model).values():
                block.compile(backend="aot_eager", fullgraph=True)
            # What compiling takes is not of the pass.
            model(*batch())[0].backward()
            model.zero_grad()
        with torch.profiler.profile(profile_memory=True) as profile:
            loss = model(*batch())[0]
        kept = sum(event.self_cpu_memory_usage for event in profile.key_averages())
        with FlopCounterMode(display=False) as work:
            loss.backward()
        grads = {name: whole(p.grad) for name, p in model.named_parameters()}
        found[how, is_compiled] = (loss, grads, kept, work.get_total_flops())
    none, selective, full, compiled = found.values()
    for loss, grads, *_ in (selective, full, compiled):
        assert torch.equal(loss, none[0])
        assert all(torch.equal(grads[name], grad) for name, grad in none[1].items())
    # Bytes that a forward pass leaves, the loss' own among them, and operations of the way back.
    assert full[2] < compiled[2] < selective[2] * 1.01 < 0.6 * none[2]
    assert none[3] < selective[3] == compiled[3] < full[3]


@torch.no_grad()
def test_flex_attention_sees_what_masked_attention_sees(folder, alone, monkeypatch):
    """On a processor flex attention only goes forward, and here uncompiled; on GPUs it is what attention is made of."""
    model = load_model(job_of(folder / "tied"), alone)
    inputs, positions, targets, weights = batch()
    losses = model(inputs, positions, targets, weights)[1]
    masks = []

    def make(**options):
        masks.append(create_block_mask(**{**options, "_compile": False}))
        return masks[-1]

    monkeypatch.setattr(masking_utils, "create_block_mask", make)
    model.model.set_attn_implementation("flex_attention")
    with torch.compiler.set_stance("force_eager"):
        by_flex = model(inputs, positions, targets, weights)[1]
    # One mask for all layers.
    assert len(masks) == 1
    documents = (positions == 0).cumsum(1)
    expected = (documents[:, :, None] == documents[:, None, :]).tril()
    assert torch.equal(create_mask(masks[0].mask_mod, 2, None, 64, 64, device="cpu")[:, 0], expected)
    assert torch.allclose(by_flex, losses, atol=1e-5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    both = Ranks(print)
    check_loaded(Path(sys.argv[1]), both)
    check_disagreement(Path(sys.argv[1]), both)
