"""Our checkpoint-as-a-model against the real lm-evaluation-harness with transformers, request by request: the same tokens, so the same
likelihoods, greediness and generated texts. Tiny random models; tokenizers that add BOS by themselves, and that do not.
"""

import json
import subprocess

import harness
import pytest
import tokenizer_shapes as shapes
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import processors
from transformers import GPT2Config, LlamaConfig

ROOT = harness.ROOT
SENTENCES = [
    "The old harbour lies behind the market, and the ships come in with the tide.",
    "Question: What is the tallest of the three hills?\nA. the first\nB. the second\nAnswer: B\n\n",
    "She wrote a letter; nobody answered it. Später kam ein Brief aus Köln.",
    "for i in range(10):\n    print(i * 2)\n",
    "A sum of 12 and 30 is 42, as everyone knows. Überall 東京 и Москва 🙂.",
]
SHOTS = SENTENCES[1] * 3
SIZES = dict(vocab_size=640, num_hidden_layers=2)


def llama(**changes):
    return LlamaConfig(
        **{**SIZES, **changes}, hidden_size=48, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=160, bos_token_id=1, eos_token_id=2,
    )


def gpt2(**changes):
    return GPT2Config(
        vocab_size=640, n_layer=2, n_embd=48, n_head=4, n_positions=160, bos_token_id=0, eos_token_id=0, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0,
    )


def sentencepiece(folder, add_bos=True):
    """As Llama 2's: a space before the first word, taken off again in front of an answer; its post-processor adds BOS."""
    tokenizer = shapes.sentencepiece_bpe(SENTENCES * 4, 600, shapes.LLAMA2_NORMALIZER)
    d = shapes.D
    tokenizer.decoder = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(content=" ", left=1)])
    if add_bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    template = "{% for m in messages %}<s>[{{ m.role }}] {{ m.content }}{% endfor %}{% if add_generation_prompt %}<s>[assistant]{% endif %}"
    write(folder, tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=template)


def byte_level(folder):
    tokenizer = shapes.byte_level(SENTENCES * 4, 600, shapes.GPT2)
    write(folder, tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def write(folder, tokenizer, **config):
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **config}))


CASES = {
    "llama-sentencepiece-bos": (llama(), sentencepiece),
    "llama-sentencepiece": (llama(), lambda folder: sentencepiece(folder, add_bos=False)),
    "gpt2-bytes": (gpt2(), byte_level),
    "llama-tied-bytes": (llama(tie_word_embeddings=True), byte_level),
}

PAIRS = (
    [(SHOTS + f"Question: What is {what}?\nAnswer:", f" {choice}") for what in ("a ship", "a letter") for choice in "ABCD"]
    + [("The old harbour lies", ending) for ending in (" behind the market", " behind", " behind the ships and the tide", " behind")]
    + [
        ("", "The old harbour"),
        ("", "Überall 東京"),
        ("She wrote a letter ", "and a book"),
        ("She wrote a letter\n\n", "and a book"),
        ("She wrote\u00a0", "a letter"),
        ("print(i", "nterface)"),
        ("Köln, ", "東京 🙂"),
        ("A sum of 12 and 30 is", " 42"),
        (SENTENCES[0] * 6 + "The ships", " come in with the tide"),
        (SENTENCES[4] * 5, " " + SENTENCES[0]),
    ]
)
TEXTS = [*SENTENCES, "", " x", "".join(SENTENCES) * 3]
PROMPTS = [dict(prompt=prompt, until=until, maxTokens=24) for prompt in (*SENTENCES[:3], SENTENCES[0] * 6) for until in (["\n\n"], ["e", "the"])]


def ours(tmp, **request):
    file = tmp / "request.json"
    file.write_text(json.dumps(request))
    run = subprocess.run(["node", str(ROOT / "test/python/eval-model.mjs"), str(file)], check=True, cwd=ROOT, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def asked(kind, arguments):
    return [Instance(request_type=kind, doc={}, arguments=args, idx=i) for i, args in enumerate(arguments)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("max_tokens", [160, 50])
def test_as_lm_evaluation_harness(case, max_tokens, tmp_path):
    config, make_tokenizer = CASES[case]
    folder = tmp_path / "model"
    harness.make_model(folder, config)
    make_tokenizer(folder)
    lm = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4, max_length=max_tokens)
    bos = lm.tokenizer.bos_token
    # No two that are the same text cut at different places: there the harness (0.4.13) reads the shorter one's likelihood off the wrong tokens.
    pairs = [*PAIRS, (f"{bos}The ships", " come in"), ("", f"{bos}The old market")]
    chat = [{"role": "user", "content": "Who?"}] if lm.tokenizer.chat_template else None
    got = ours(tmp_path, model=str(folder), maxTokens=max_tokens, likelihoods=pairs, rolling=TEXTS, generate=PROMPTS, chat=chat)

    worst = 0.0
    for pair, mine, theirs in zip(pairs, got["likelihoods"], lm.loglikelihood(asked("loglikelihood", pairs), disable_tqdm=True), strict=True):
        worst = max(worst, abs(mine["logLikelihood"] - theirs[0]))
        assert abs(mine["logLikelihood"] - theirs[0]) <= 1e-3, pair
        assert mine["isGreedy"] == theirs[1], pair
    # The harness has no likelihood of a text without tokens.
    texts = [text for text in TEXTS if lm.tok_encode(text)]
    rolling = dict(zip(texts, lm.loglikelihood_rolling(asked("loglikelihood_rolling", [(text,) for text in texts]), disable_tqdm=True), strict=True))
    for text, mine in zip(TEXTS, got["rolling"], strict=True):
        assert abs(mine - rolling.get(text, 0)) <= 1e-3, text
    # One at a time: in a batch, answers that have ended go on until all have.
    lm.batch_size_per_gpu = 1
    compared = 0
    for request, mine in zip(PROMPTS, got["generated"], strict=True):
        arguments = (request["prompt"], dict(until=[*request["until"]], max_gen_toks=request["maxTokens"]))
        [theirs] = lm.generate_until(asked("generate_until", [arguments]), disable_tqdm=True)
        # Of byte tokens that are no UTF-8, Hugging Face writes every one as U+FFFD, we those that do not fit.
        if "\ufffd" not in theirs:
            assert mine == theirs, request
            compared += 1
    assert compared > 0
    if chat:
        assert got["chat"] == lm.apply_chat_template(chat)
    print(f"{case}, {max_tokens} tokens: largest difference of a log-likelihood {worst:.1e}")
