"""The worker's model files: what transformers' own save_pretrained writes, whatever their size and however many ranks share them."""

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
import transformers as hf
from safetensors.torch import load_file
from test_torch_engine import COMMON, FAMILIES

sys.path.insert(0, str(Path(__file__).parents[2] / "worker"))
from continuo_worker.model_files import ModelFiles, write_safetensors  # noqa: E402
from continuo_worker.ranks import Ranks  # noqa: E402

EXPERTS = dict(num_experts_per_tok=2, **COMMON)
# Tied, of another prefix with transposed matrices, and with experts that the model holds in one tensor and the file one by one.
CONFIGS = {
    "llama": FAMILIES["llama"],
    "gpt2": FAMILIES["gpt2"],
    "mixtral": hf.MixtralConfig(**EXPERTS, num_local_experts=4),
    "qwen3-moe": hf.Qwen3MoeConfig(**EXPERTS, num_experts=4, moe_intermediate_size=24),
}


class Alone:
    rank, world = 0, 1

    def beat(self, doing: str) -> None:
        pass


def write(model, ranks, folder: Path, max_bytes: int) -> list[str]:
    files = ModelFiles(model, ranks, torch.float32, max_bytes)
    for own in files.rounds():
        for name, tensors in own:
            write_safetensors(folder / name, tensors)
    if ranks.rank == 0:
        files.write_index(folder)
    return files.names


def read(folder: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for file in folder.glob("*.safetensors"):
        tensors.update(load_file(file))
    return tensors


def assert_same(folder: Path, expected: Path) -> None:
    ours, theirs = read(folder), read(expected)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("family", CONFIGS)
def test_files_are_those_of_transformers(family, tmp_path):
    model = hf.AutoModelForCausalLM.from_config(CONFIGS[family]).float()
    model.save_pretrained(tmp_path / "theirs")
    for max_bytes, is_split in ((5 * 10**9, False), (20_000, True)):
        folder = tmp_path / str(max_bytes)
        folder.mkdir()
        names = write(model, Alone(), folder, max_bytes)
        assert (len(names) > 3) == is_split == (folder / "model.safetensors.index.json").exists()
        assert_same(folder, tmp_path / "theirs")
        (folder / "config.json").write_text((tmp_path / "theirs/config.json").read_text())
        again = hf.AutoModelForCausalLM.from_pretrained(folder).state_dict()
        assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())
        # A file holds as much as is asked for, or one tensor.
        for file in folder.glob("*.safetensors"):
            assert file.stat().st_size < max_bytes + 3000 or len(load_file(file)) in (1, 4, 8)


def of_one_rank(rank: int, folder: Path) -> None:
    import os

    from torch.distributed.fsdp import fully_shard

    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="29733")
    torch.set_num_threads(1)
    ranks = Ranks(print)
    torch.manual_seed(1)
    model = hf.AutoModelForCausalLM.from_config(CONFIGS["llama"]).float()
    if rank == 0:
        model.save_pretrained(folder / "theirs")
    fully_shard(model)
    names = write(model, ranks, folder / "ours", 20_000)
    own = [i for i in range(len(names)) if i % 2 == rank]
    (folder / f"rank-{rank}.json").write_text(json.dumps([names[i] for i in own]))


def test_two_ranks_share_the_files(tmp_path):
    (tmp_path / "ours").mkdir()
    mp.spawn(of_one_rank, (tmp_path,), nprocs=2)
    assert_same(tmp_path / "ours", tmp_path / "theirs")
    written = [name for rank in (0, 1) for name in json.loads((tmp_path / f"rank-{rank}.json").read_text())]
    assert sorted(written) == sorted(file.name for file in (tmp_path / "ours").glob("*.safetensors"))
