"""Tokenizers with the pipelines of published models (normalizer, pre-tokenizer, model options, added tokens), trained on given texts."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

P, D, N = pre_tokenizers, decoders, normalizers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+")
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD, TAIL = r"[^\r\n\p{L}\p{N}]?", r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = rf"{LEAD}{UPPER}*{LOWER}+{CONTRACTIONS}?|{LEAD}{UPPER}+{LOWER}*{CONTRACTIONS}?|\p{{N}}{{1,3}}{TAIL}"
TEKKEN = rf"{LEAD}{UPPER}*{LOWER}+|{LEAD}{UPPER}+{LOWER}*|\p{{N}}{TAIL}"
DEEPSEEK3 = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]


def split(pattern, behavior="isolated", invert=False):
    return P.Split(Regex(pattern), behavior, invert)


def splits(*patterns):
    return P.Sequence([*map(split, patterns), P.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level(texts, size, pre_tokenizer, normalizer=None, ignore_merges=False, added=()):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = D.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<|endoftext|>"], initial_alphabet=P.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(list(added))
    return tokenizer


def sentencepiece_bpe(texts, size, normalizer, pre_tokenizer=None, added=()):
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # Lines and their indentation are learnt as well, as Llama's and Gemma's vocabularies know them.
    trained.pre_tokenizer = P.Sequence([P.Split(Regex(r"\n+"), "isolated"), P.Metaspace(prepend_scheme="never")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=size, limit_alphabet=300, special_tokens=special, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    parsed = json.loads(trained.to_str())
    parsed["pre_tokenizer"] = None
    parsed["added_tokens"] = [token for token in parsed["added_tokens"] if token["content"] in special[:3]]
    model = parsed["model"]
    for n in range(2, 16):  # runs of spaces, as SentencePiece's vocabularies of Llama and Gemma have them
        for left in range(1, n):
            model["merges"].insert(0, ["▁" * (n - left), "▁" * left])
        model["vocab"].setdefault("▁" * n, len(model["vocab"]))
    tokenizer = Tokenizer.from_str(json.dumps(parsed))
    tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse()])
    tokenizer.add_tokens(list(added))
    return tokenizer


def unigram(texts, size, pre_tokenizer, normalizer=None, byte_fallback=False):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    special = ["<pad>", "</s>", "<unk>"]
    if byte_fallback:
        special += [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False)
    # Its training counts all substrings: on a part of the text it takes seconds instead of minutes.
    tokenizer.train_from_iterator(texts[::8], trainer)
    parsed = json.loads(tokenizer.to_str())
    parsed["model"]["byte_fallback"] = byte_fallback
    parsed["added_tokens"] = [token for token in parsed["added_tokens"] if token["content"] in special[:3]]
    tokenizer = Tokenizer.from_str(json.dumps(parsed))
    tokenizer.decoder = D.Metaspace()
    return tokenizer


GPT2 = P.ByteLevel(add_prefix_space=False)
LLAMA2_NORMALIZER = N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])
SPACES = [AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)]
GEMMA_ADDED = [AddedToken(text, normalized=False) for text in ["\n\n", "\n\n\n", "▁▁", "▁▁▁▁", "<table>", "<unused0>"]]

SHAPES = {
    "gpt2": lambda t, n: byte_level(t, n, GPT2),
    "gpt-neox": lambda t, n: byte_level(t, n, GPT2, N.NFC(), added=SPACES),
    "smollm": lambda t, n: byte_level(t, n, P.Sequence([P.Digits(individual_digits=True), GPT2])),
    "llama3": lambda t, n: byte_level(t, n, splits(LLAMA3), ignore_merges=True),
    "qwen2.5": lambda t, n: byte_level(t, n, splits(QWEN2), N.NFC()),
    "qwen3.5": lambda t, n: byte_level(t, n, splits(QWEN35), N.NFC()),
    "cl100k": lambda t, n: byte_level(t, n, splits(CL100K)),
    "o200k": lambda t, n: byte_level(t, n, splits(O200K)),
    "tekken": lambda t, n: byte_level(t, n, splits(TEKKEN), ignore_merges=True),
    "deepseek-v3": lambda t, n: byte_level(t, n, splits(*DEEPSEEK3)),
    "llama2": lambda t, n: sentencepiece_bpe(t, n, LLAMA2_NORMALIZER),
    "phi3": lambda t, n: sentencepiece_bpe(t, n, LLAMA2_NORMALIZER, added=[AddedToken("<|user|>", rstrip=True, normalized=False)]),
    "mistral": lambda t, n: sentencepiece_bpe(t, n, None, P.Metaspace(prepend_scheme="first", split=False)),
    "gemma": lambda t, n: sentencepiece_bpe(t, n, N.Replace(" ", "▁"), P.Split(" ", "merged_with_previous"), GEMMA_ADDED),
    "unigram": lambda t, n: unigram(t, n, P.Metaspace()),
    "unigram-words": lambda t, n: unigram(t, n, P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), byte_fallback=True),
}
