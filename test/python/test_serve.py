"""`continuo serve` with clients as they come from PyPI: OpenAI's, and lm-evaluation-harness's local-completions and local-chat-completions, whose
scores are those of its own transformers model and of `continuo eval --tasks`. A tiny random model in f32, local data, no network.
"""

import json
import signal
import subprocess

import harness
import openai
import pytest
import test_eval_models as shapes
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

CLI = ["node", str(harness.ROOT / "dist/cli/main.js")]
CONTEXT = 160
DOCS = [
    ("What is the tallest of the three hills?", ["the first", "the second", "the ships"], 1),
    ("Where does the old harbour lie?", ["behind the market", "in a letter", "on the hill over there"], 0),
    ("A sum of 12 and 30 is", ["42", "12", "everyone"], 0),
    ("Wann kam ein Brief aus Köln?", ["später", "nie", "東京 🙂"], 0),
    ("Who answered it?", ["nobody", "she wrote", "the tide"], 0),
    ("print(i", ["* 2)", ")", "range(10)"], 0),
]
CHOICE = """task: tiny_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1}}
"""
TEXT = """task: tiny_text
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["e", "\\n\\n"], max_gen_toks: 16, do_sample: false}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1}}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The model's folder, the tasks' folder, and a server's address."""
    folder = tmp_path_factory.mktemp("serve") / "model"
    harness.make_model(folder, shapes.llama(tie_word_embeddings=True))
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    end = "<|endoftext|>"
    tokenizer = shapes.shapes.byte_level(shapes.SENTENCES * 4, 600, shapes.shapes.GPT2)
    shapes.write(folder, tokenizer, bos_token=end, eos_token=end, chat_template=template)
    tasks = tmp_path_factory.mktemp("tasks")
    data = tasks / "data.jsonl"
    data.write_text("".join(json.dumps(dict(question=q, choices=c, answer=a)) + "\n" for q, c, a in DOCS))
    for name, text in (("choice", CHOICE), ("text", TEXT)):
        (tasks / f"{name}.yaml").write_text(text.format(data=data))
    server = subprocess.Popen([*CLI, "serve", str(folder), "--port", "0", "--name", "tiny", "--json"], stdout=subprocess.PIPE, text=True)
    started = ""
    while not started.endswith("}\n"):
        line = server.stdout.readline()
        assert line, "the server has ended"
        started += line
    yield str(folder), str(tasks), json.loads(started)["url"]
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0


def evaluate(tiny, task, model, model_args, **more):
    manager = TaskManager(include_path=tiny[1], include_defaults=False)
    return simple_evaluate(model=model, model_args=model_args, tasks=[task], task_manager=manager, bootstrap_iters=0, **more)


def theirs(tiny, task, **more):
    return evaluate(tiny, task, "hf", dict(pretrained=tiny[0], dtype="float32", device="cpu", max_length=CONTEXT), **more)


def through_server(tiny, task, kind="local-completions", path="/completions", **more):
    args = dict(model="tiny", tokenizer=tiny[0], base_url=tiny[2] + path, max_length=CONTEXT, max_retries=1)
    if kind == "local-chat-completions":
        del args["tokenizer"]
    args |= more.pop("model_args", {})
    return evaluate(tiny, task, kind, args, **more)


def ours(tiny, task, *options):
    command = [*CLI, "eval", tiny[0], "--tasks", task, "--include-path", tiny[1], "--json", "--quiet", *options]
    # Results are kept beside the current folder.
    run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tiny[1])
    [result] = json.loads(run.stdout)["tasks"]
    return {metric["metric"]: metric["value"] for metric in result["metrics"]}


def metrics(results, task, *names):
    return {name: next(value for key, value in results["results"][task].items() if key.startswith(f"{name},")) for name in names}


def answers(results, task):
    return [sample["resps"] for sample in sorted(results["samples"][task], key=lambda sample: sample["doc_id"])]


@pytest.mark.parametrize("model_args", [dict(), dict(num_concurrent=8)], ids=["one by one", "concurrent"])
def test_likelihoods(tiny, model_args):
    expected, found = theirs(tiny, "tiny_choice"), through_server(tiny, "tiny_choice", model_args=model_args)
    for a, b in zip(answers(expected, "tiny_choice"), answers(found, "tiny_choice"), strict=True):
        for [(p, p_greedy)], [(q, q_greedy)] in zip(a, b, strict=True):
            assert abs(p - q) < 1e-3 and p_greedy == q_greedy
    names = ("acc", "acc_norm")
    assert metrics(found, "tiny_choice", *names) == metrics(expected, "tiny_choice", *names) == {n: ours(tiny, "tiny_choice")[n] for n in names}


def test_texts(tiny):
    expected, found = theirs(tiny, "tiny_text"), through_server(tiny, "tiny_text", batch_size=3)
    assert answers(found, "tiny_text") == answers(expected, "tiny_text")
    assert any(answer != [[""]] for answer in answers(found, "tiny_text"))
    assert metrics(found, "tiny_text", "exact_match") == metrics(expected, "tiny_text", "exact_match")
    assert metrics(found, "tiny_text", "exact_match")["exact_match"] == ours(tiny, "tiny_text")["exact_match"]


def test_conversations(tiny):
    expected = theirs(tiny, "tiny_text", apply_chat_template=True)
    found = through_server(tiny, "tiny_text", "local-chat-completions", "/chat/completions", apply_chat_template=True)
    assert answers(found, "tiny_text") == answers(expected, "tiny_text")
    assert metrics(found, "tiny_text", "exact_match")["exact_match"] == ours(tiny, "tiny_text", "--apply-chat-template")["exact_match"]


def test_client_of_openai(tiny):
    client = openai.OpenAI(base_url=tiny[2], api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["tiny"]
    request = dict(model="tiny", prompt="The old harbour", max_tokens=8, temperature=0, logprobs=2)
    whole = client.completions.create(**request).choices[0]
    assert whole.finish_reason == "length" and len(whole.logprobs.tokens) == 8
    streamed = list(client.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == whole.text
    assert streamed[-1].usage.completion_tokens == 8
    messages = [{"role": "user", "content": "Where is Köln?"}]
    answer = client.chat.completions.create(model="tiny", messages=messages, max_tokens=5, seed=3, logprobs=True, top_logprobs=2)
    assert answer.usage.completion_tokens == 5 and len(answer.choices[0].logprobs.content) == 5
    again = client.chat.completions.create(model="tiny", messages=messages, max_tokens=5, seed=3, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in again) == answer.choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="max_tokens: Too small"):
        client.completions.create(model="tiny", prompt="a", max_tokens=-1)
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="another", prompt="a")
