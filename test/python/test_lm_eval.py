"""Task files, contexts, likelihoods, scores and standard errors against lm-evaluation-harness itself: the same YAML, data and model on both sides.

Contexts and arguments must be equal as strings, filtered answers and scores exactly, likelihoods within 1e-3 nats: both sides compute in f32, and
sum in other orders."""

import csv
import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig

from harness import ROOT, make_model

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DISABLE_MULTIPROC", "1")

TOLERANCE = 1e-3
BOOTSTRAPPED = ("f1_stderr", "mcc_stderr")
CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if not loop.last or add_generation_prompt %}</{{ m.role }}>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
WORDS = "the river carries old stones from a cold mountain to its quiet sea and seven birds follow them over green fields".split()


def sentence(rng, low=4, high=9):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def data(folder: Path) -> None:
    """Documents in the shapes of well-known sets."""
    rng = random.Random(5)

    def write(name, rows):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def arc(i):
        texts = [sentence(rng, 1, 4) for _ in range(4)]
        return {"id": f"q{i}", "question": sentence(rng) + " \"what's\" it?", "choices": {"text": texts, "label": ["A", "B", "C", "D"]}, "answerKey": rng.choice("ABCD")}

    write("arc", [arc(i) for i in range(23)])
    write("arc_train", [arc(i) for i in range(40)])
    write("hellaswag", [{"ctx": sentence(rng), "endings": [sentence(rng, 2, 5) for _ in range(4)], "label": str(rng.randrange(4))} for _ in range(19)])
    write("boolq", [{"passage": sentence(rng, 8, 14), "question": sentence(rng), "label": rng.randrange(2)} for _ in range(26)])
    write("gsm8k", [{"question": sentence(rng), "answer": f"{sentence(rng)}\n#### {rng.randrange(30):,}"} for _ in range(9)])
    write("wikitext", [{"page": " \n = " + sentence(rng, 30, 90) + " \n\n " + sentence(rng, 1, 60)} for _ in range(7)])
    write("lambada", [{"text": sentence(rng, 8, 16)} for _ in range(17)])
    for subject in ("geology", "botany", "music"):
        write(f"mmlu_{subject}", [{"question": f" {sentence(rng)}", "choices": [sentence(rng, 1, 3) for _ in range(4)], "answer": rng.randrange(4)} for _ in range(rng.randint(6, 14))])
        write(f"mmlu_{subject}_dev", [{"question": sentence(rng), "choices": [sentence(rng, 1, 3) for _ in range(4)], "answer": rng.randrange(4)} for _ in range(5)])
    write("squad", [{"context": sentence(rng, 8, 14), "question": sentence(rng), "answers": {"text": [sentence(rng, 1, 2), sentence(rng, 1, 2)], "answer_start": [1, 2]}, "score": rng.random()} for _ in range(8)])
    write("winogrande", [{"sentence": f"{sentence(rng)} _ {sentence(rng)}", "option1": rng.choice(WORDS), "option2": rng.choice(WORDS), "answer": rng.choice("12")} for _ in range(15)])
    with open(folder / "csv.csv", "w", newline="") as f:
        out = csv.writer(f)
        out.writerow(["prompt", "a", "b", "gold", "weight"])
        for _ in range(11):
            out.writerow([sentence(rng), sentence(rng, 1, 2), sentence(rng, 1, 2), rng.randrange(2), rng.choice([1.0, 2.5, 3.0])])
    import datasets

    rows = [json.loads(line) for line in (folder / "squad.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        row["choices"] = [{"text": sentence(rng, 1, 3), "ok": bool(j == i % 3)} for j in range(3)]
        row["gold"] = i % 3
        row["maybe"] = None if i % 2 else i
    datasets.Dataset.from_list(rows).to_parquet(folder / "nested.parquet")


MC = [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm", "acc_bytes", "exact_match")]


def tasks(folder: Path, where: Path) -> list[str]:
    def files(**splits):
        return {"data_files": {split: str(where / f"{name}.jsonl") for split, name in splits.items()}}

    def task(name, **config):
        (folder / f"{name}.yaml").write_text(yaml.dump({"task": name, "dataset_path": "json", "metadata": {"version": 1.0}, **config}, allow_unicode=True))

    arc = dict(
        dataset_kwargs=files(test="arc", train="arc_train"), test_split="test", training_split="train", output_type="multiple_choice",
        doc_to_text="Question: {{question}}\nAnswer:", doc_to_target="{{choices.label.index(answerKey)}}", doc_to_choice="{{choices.text}}", metric_list=MC,
        tag=["science"],
    )
    task("arc0", **arc, task_alias="ARC without examples")
    task("arc5", **arc, num_fewshot=5, description="Answer these.\n\n")
    task("arc2_same", **{**arc, "dataset_kwargs": files(test="arc")}, num_fewshot=2, fewshot_split="test")
    task("arc_mutual", **{**arc, "metric_list": [{"metric": "acc_mutual_info"}, {"metric": "acc"}, {"metric": "brier_score"}, {"metric": "mcc"}]})
    task("arc_alias", **arc, num_fewshot=1, gen_prefix="I say", fewshot_config={"sampler": "first_n", "doc_to_text": "Q {{question}}", "target_delimiter": " => "})
    task("hellaswag_like", dataset_kwargs=files(validation="hellaswag"), validation_split="validation", output_type="multiple_choice",
         doc_to_text="{{ctx}}", doc_to_target="{{label}}", doc_to_choice="endings", num_fewshot=1, metric_list=MC[:2])
    task("boolq_like", dataset_kwargs=files(validation="boolq"), validation_split="validation", output_type="multiple_choice",
         doc_to_text="{{passage}}\nQuestion: {{question}}?\nAnswer:", doc_to_target="label", doc_to_choice=["no", "yes"], num_fewshot=2,
         fewshot_split="validation", metric_list=[{"metric": "acc"}, {"metric": "f1"}, {"metric": "mcc"}])
    gsm = dict(
        dataset_kwargs=files(test="gsm8k"), test_split="test", fewshot_split="test", num_fewshot=2, output_type="generate_until",
        doc_to_text="Question: {{question}}\nAnswer:", doc_to_target="{{answer}}",
        generation_kwargs={"until": ["Question:", "\n\n"], "do_sample": False, "temperature": 0.0, "max_gen_toks": 24},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True, "ignore_punctuation": False,
                      "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"]}],
        filter_list=[
            {"name": "strict-match", "filter": [{"function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)"}, {"function": "take_first"}]},
            {"name": "flexible-extract", "filter": [{"function": "regex", "group_select": -1, "regex_pattern": "(-?[a-z.,]{2,})|(-?[^\\s]+)"}, {"function": "remove_whitespace"}, {"function": "take_first"}]},
            {"name": "vote", "filter": [{"function": "lowercase"}, {"function": "majority_vote"}, {"function": "take_first"}]},
        ],
    )
    task("gsm_like", **gsm)
    task("gsm_repeats", **{**gsm, "repeats": 3, "num_fewshot": 0})
    task("gsm_plain", **{**gsm, "num_fewshot": 0, "filter_list": None, "metric_list": None, "generation_kwargs": {"max_gen_toks": 12, "until": " "}})
    task("wikitext_like", dataset_kwargs=files(test="wikitext"), test_split="test", output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="{{page|trim}}")
    task("lambada_like", dataset_kwargs=files(test="lambada"), test_split="test", output_type="loglikelihood",
         doc_to_text="{{text.split(' ')[:-1]|join(' ')}}", doc_to_target="{{' '+text.split(' ')[-1]}}")
    (folder / "_mmlu_defaults").write_text(yaml.dump(dict(
        dataset_path="json", test_split="test", fewshot_split="dev", fewshot_config={"sampler": "first_n"}, output_type="multiple_choice",
        doc_to_text="{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:",
        doc_to_choice=["A", "B", "C", "D"], doc_to_target="answer", metric_list=MC[:1], metadata={"version": 1.0})))
    for subject in ("geology", "botany", "music"):
        (folder / f"mmlu_{subject}.yaml").write_text(yaml.dump(dict(
            include="_mmlu_defaults", task=f"tiny_mmlu_{subject}", task_alias=subject, tag=f"tiny_{'arts' if subject == 'music' else 'stem'}",
            description=f"The following are questions about {subject}.\n\n", dataset_kwargs=files(test=f"mmlu_{subject}", dev=f"mmlu_{subject}_dev"))))
    (folder / "_mmlu.yaml").write_text(yaml.dump(dict(
        group="tiny_mmlu", group_alias="MMLU, tiny", task=[
            {"group": "stem", "task": ["tiny_stem"], "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}]},
            {"task": "tiny_mmlu_music", "num_fewshot": 3}],
        aggregate_metric_list=[{"metric": "acc", "aggregation": "mean", "weight_by_size": True}], num_fewshot=2, metadata={"version": 2})))
    task("squad_like", dataset_kwargs=files(validation="squad"), validation_split="validation", output_type="generate_until", num_fewshot=1,
         doc_to_text="{{context}}\n{{score}} {{answers.answer_start}} Q: {{question}}\nA:", doc_to_target="{{answers.text}}", fewshot_split="validation",
         generation_kwargs={"until": ["\n"], "max_gen_toks": 8}, metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}])
    task("nested", dataset_path="parquet", dataset_kwargs={"data_files": {"test": str(where / "nested.parquet")}}, test_split="test", output_type="multiple_choice",
         doc_to_text="{{score}} {{maybe}} {{answers}} {% for c in choices %}{{loop.index}}. {{c.text}} {{c.ok}}{% endfor %}", doc_to_target="gold",
         doc_to_choice="{{choices|map(attribute='text')|list}}", metric_list=MC[:1])
    task("winogrande_like", dataset_kwargs=files(test="winogrande"), test_split="test", output_type="multiple_choice", num_fewshot=2, fewshot_split="test",
         doc_to_text="{{ {'1': 0, '2': 1}[answer] }}", doc_to_target="{{sentence.split('_')[1].strip()}}",
         doc_to_choice="{{[sentence.split('_')[0] + option1, sentence.split('_')[0] + option2]}}", metric_list=MC[:1])
    task("from_csv", dataset_path="csv", dataset_kwargs={"data_files": {"test": str(where / "csv.csv")}}, test_split="test", output_type="multiple_choice",
         doc_to_text="{{prompt}} ({{weight}})", doc_to_target="gold", doc_to_choice="{{[a, b]}}", target_delimiter=": ", metric_list=MC[:1])
    return ["arc0", "arc5", "arc2_same", "arc_mutual", "arc_alias", "hellaswag_like", "boolq_like", "gsm_like", "gsm_repeats", "gsm_plain", "wikitext_like",
            "lambada_like", "tiny_mmlu", "squad_like", "nested", "winogrande_like", "from_csv"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("lm-eval")
    where, folder = root / "data", root / "tasks"
    where.mkdir()
    folder.mkdir()
    data(where)
    names = tasks(folder, where)
    model = root / "model"
    config = LlamaConfig(
        vocab_size=257, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=1024, bos_token_id=256, eos_token_id=256, tie_word_embeddings=False,
    )
    make_model(model, config)
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": CHAT_TEMPLATE}))
    return root, model, folder, names


def theirs(model, folder, names, **options):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    args = f"pretrained={model},dtype=float32,max_length={options.pop('max_length', 512)}"
    return simple_evaluate("hf", args, names, batch_size=1, device="cpu", task_manager=manager, log_samples=True, verbosity="ERROR", **options)


def ours(root, model, folder, names, *flags):
    out = Path(tempfile.mkdtemp(dir=root))
    command = ["node", str(ROOT / "dist/cli/main.js"), "eval", str(model), "--tasks", ",".join(names), "--include-path", str(folder), "--output", str(out), "--quiet", *flags]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "CONTINUO_CACHE": str(root / "cache")})
    (results,) = out.glob("*/results_*.json")
    samples = {}
    for file in results.parent.glob("samples_*.jsonl"):
        name = file.name[len("samples_") : file.name.rindex("_")]
        samples[name] = [json.loads(line) for line in file.read_text().splitlines()]
    return json.loads(results.read_text()), samples


def compare(expected, found, samples):
    """@returns the largest difference of likelihoods"""
    worst = 0.0
    assert set(expected["results"]) == set(found["results"])
    for task, lines in expected["samples"].items():
        key = lambda line: (line["filter"], line["doc_id"])
        got = sorted(samples[task], key=key)
        assert len(got) == len(lines), task
        for a, b in zip(sorted(lines, key=key), got):
            at = (task, *key(a))
            # Whole floating-point numbers (1.0) are written as 1 in our samples.
            assert a["doc_hash"] == b["doc_hash"] or task == "from_csv", at
            assert str(a["target"]) == b["target"], at
            theirs_ = [list(args) for args in a["arguments"]]
            assert len(theirs_) == len(b["arguments"]), at
            for i, args in enumerate(theirs_):
                mine = list(b["arguments"][f"gen_args_{i}"].values())
                assert mine[0] == args[0], (*at, i)
                if isinstance(args[1:] and args[1], str):
                    assert mine[1] == args[1], (*at, i)
            for x, y in zip(a["resps"], b["resps"]):
                worst = max(worst, answers_differ(x, y, at))
            for metric in a["metrics"]:
                same_score(a[metric], b[metric], (*at, metric))
    for task, row in expected["results"].items():
        for name, value in row.items():
            # The bootstrap of so large a perplexity is decided by a few documents: it has a test of its own, with the same resamples.
            if name in ("alias", "name", "sample_count") or name.startswith("perplexity_stderr"):
                continue
            mine = found["results"][task][name]
            assert (mine == "N/A") == (value == "N/A"), (task, name, value, mine)
            if value != "N/A":
                # 1000 resamples there, 100 000 here: the bootstrap's own error is 2 %.
                rel = 0.1 if name.startswith(BOOTSTRAPPED) else 1e-4
                assert mine == pytest.approx(float(value), rel=rel, abs=1e-9), (task, name)
        assert found["results"][task]["alias"] == row["alias"]
    for kind in ("n-shot", "versions"):
        for task in expected["samples"]:
            assert str(found[kind][task]) == str(expected[kind][task]), (kind, task)
    assert found["group_subtasks"] == expected["group_subtasks"]
    return worst


def answers_differ(x, y, at):
    """Answers in lists of repeats, written as texts on our side."""
    assert len(x) == len(y), at
    worst = 0.0
    for a, b in zip(x, y):
        if isinstance(a, str):
            assert a == b, at
        elif isinstance(a, tuple):
            assert str(a[1]) == b[1], at
            worst = max(worst, abs(a[0] - float(b[0])))
        else:
            worst = max(worst, abs(a - float(b)))
    assert worst <= TOLERANCE, at
    return worst


def same_score(a, b, at):
    if isinstance(a, (tuple, list)) or hasattr(a, "shape") and a.shape:
        assert len(a) == len(b), at
        for x, y in zip(a, b):
            same_score(x, y, at)
    else:
        assert float(b) == pytest.approx(float(a), abs=TOLERANCE), at


CASES = {
    "as they are": ({}, []),
    "three examples": ({"num_fewshot": 3, "limit": 6, "fewshot_random_seed": 42}, ["--num-fewshot", "3", "--limit", "6", "--seed", "42"]),
    "chat": (
        {"apply_chat_template": True, "fewshot_as_multiturn": True, "system_instruction": "Be brief.", "limit": 5},
        ["--apply-chat-template", "--system-instruction", "Be brief.", "--limit", "5"],
    ),
    "chat in one turn": (
        {"apply_chat_template": True, "fewshot_as_multiturn": False, "limit": 5},
        ["--apply-chat-template", "--no-fewshot-as-multiturn", "--limit", "5"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_same_results(place, case):
    root, model, folder, names = place
    options, flags = CASES[case]
    expected = theirs(model, folder, names, bootstrap_iters=1000, **options)
    found, samples = ours(root, model, folder, names, "--max-length", "512", *flags)
    worst = compare(expected, found, samples)
    print(f"{case}: {sum(map(len, samples.values()))} samples, likelihoods within {worst:.1e}")


def test_bootstrap_draws_the_same_resamples(place):
    root, model, folder, _ = place
    expected = theirs(model, folder, ["lambada_like"], bootstrap_iters=100000)
    found, _ = ours(root, model, folder, ["lambada_like"], "--max-length", "512")
    name = "perplexity_stderr,none"
    assert found["results"]["lambada_like"][name] == pytest.approx(expected["results"]["lambada_like"][name], rel=1e-4)
