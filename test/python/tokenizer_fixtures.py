"""Writes test/tokenizer/fixtures/*.jsonl (a line each): small tokenizers of the usual kinds with the ids, texts and merges that Hugging Face tokenizers
gives for awkward strings. Run from the repository root: python test/python/tokenizer_fixtures.py (tokenizers 0.23.3, transformers).
"""

import base64
import hashlib
import json
import pathlib
import zlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import generate_merges

FOLDER = pathlib.Path("test/tokenizer/fixtures")
P, D, N = pre_tokenizers, decoders, normalizers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

TEXTS = [
    "",
    " ",
    "\n",
    "Hello, world!",
    "I'm sure they've said we'll go, but it's Dave's. DON'T SHOUT: I'M, WE'RE, 'S 'LL",
    "don\u2019t use typographic \u2018quotes\u2019",
    "the long \u017f: it'\u017f, \u212aelvin's 'T",
    "12345 1,234.56 2024-01-01 v1.2.3 0x1F \u00b2\u00bd \u0663\u0664\u0665 \u2167 \uff11\uff12",
    "a1b2 3c  4  5   6\n7\n\n8 9",
    "trailing spaces   ",
    "   leading spaces",
    "tabs\tand\t\tmore \t mixed \n\t\n  \n\n\n x\r\ny\r\n\r\nz\r",
    "nbsp\u00a0here \u00a0 and\u2003em\u3000ideographic\u2028line\u2029para\u0085next\u200bzero\ufeffbom\u180emvs",
    "\ufeffstarts with a byte order mark",
    "\x00\x01\x0b\x0c\x1c\x1d\x1e\x1f\x7f\x80\x9f controls",
    "\u4e2d\u6587\u5b57\u7b26\u548cEnglish\u6df7\u5408\uff0c\u6807\u70b9\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8\u3001\ud55c\uad6d\uc5b4",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u200f(RTL)\u200e",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u1782\u17d2\u1798\u17c2\u179a",
    "e\u0301 \u00e9 a\u0308\u0323 \u1e9b\u0323 o\u0302\u0308n n\u0303o Z\u0351\u036b\u0343\u036a\u0302a\u0314",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 \U0001f44d\U0001f3fd\u2764\ufe0f #\ufe0f\u20e3 \U0001f600\U0001f600\U0001f600",
    "math \U0001d465\u00b2 + \U0001d466\u00b2 \u2264 \u221e, \u20ac5 $6 <=> ^~|`",
    "\u01c5 \u02b0 \u0295 \u00df \u1e9e \ufb01 \u0130 \u03a3\u03c2 \u0149",
    "new in Unicode 17: \u088f \U00011de0 \U0001e6c0 \U000323b0, in 16: \u1c89 \U00010d40, private \ue000 \U0010fffd, unassigned \u0378",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case iOS HTTPServer",
    "def f(x):\n    if x >= 10:  # comment\n        return x**2 // 3\n\n\nprint(f(12))\n",
    "https://example.org/a/b?c=d&e=f#g ///\n//\n user@example.org",
    "!!!???...---===***((([[[{{{<<<>>>}}}]]])))",
    "<|endoftext|> inside <|im_start|>user\nhi<|im_end|>",
    "fox quick  brown    fox foxes qu \u201cquoted\u201d",
    "the the the The THE  the\nthe",
    "a" * 200,
    " " * 150 + "x" + " " * 90,
    "\n" * 60 + " \n" * 20,
    "abcab" * 60,
    "\u4e2d\u6587" * 60,
    "!?" * 80,
    "9" * 100,
]

ENGLISH = (
    "It is a truth that a language model learns from the text it reads. The quick brown fox jumps over the lazy dog; "
    "don't they say we'll see? In 1999 there were 365 days, and 2000 had 366. She said: \u201cI'm sure you're right\u201d, "
    "and he answered that the model's weights, the data and the rate are what matter. "
) * 8
CORPUS = TEXTS * 2 + [ENGLISH]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_level(regex=True, prefix=False):
    return P.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def split(pattern, behavior="isolated", invert=False):
    return P.Split(Regex(pattern), behavior, invert)


def train(pre_tokenizer, normalizer=None, size=520):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = D.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=P.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def edited(tokenizer, edit):
    parsed = json.loads(tokenizer.to_str())
    edit(parsed)
    return Tokenizer.from_str(json.dumps(parsed))


def with_ignore_merges(tokenizer):
    def edit(parsed):
        parsed["model"]["ignore_merges"] = True
        vocab = parsed["model"]["vocab"]
        for word in ["Ġquick", "Ġbrown", "Hello", "Ġfoxes"]:
            vocab.setdefault(word, len(vocab))

    return edited(tokenizer, edit)


def with_missing_bytes(tokenizer):
    def edit(parsed):
        gone = ["Á", "ħ", "ī", "ð"]
        keep = lambda text: not any(char in text for char in gone)
        model = parsed["model"]
        model["vocab"] = {token: i for token, i in model["vocab"].items() if keep(token)}
        model["merges"] = [merge for merge in model["merges"] if keep("".join(merge))]

    return edited(tokenizer, edit)


def with_added_tokens(tokenizer):
    plain = [AddedToken("  ", normalized=False), AddedToken("    ", normalized=False), AddedToken("qu", normalized=True)]
    plain += [AddedToken("fox", single_word=True, normalized=False), AddedToken("user", lstrip=True, rstrip=True)]
    tokenizer.add_tokens(plain)
    tokenizer.add_special_tokens([AddedToken("quick", special=True, normalized=False)])
    return tokenizer


def sentencepiece_style(normalizer, pre_tokenizer, decoder):
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    trained.pre_tokenizer = P.Metaspace()
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=560, limit_alphabet=90, special_tokens=special + bytes_, show_progress=False
    )
    trained.train_from_iterator(CORPUS, trainer)

    def edit(parsed):
        parsed["pre_tokenizer"] = None
        parsed["added_tokens"] = [token for token in parsed["added_tokens"] if token["content"] in special]

    tokenizer = edited(trained, edit)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    return tokenizer


# SentencePiece's compilation of 20 rules: tab, newline, carriage return, no-break and ideographic space -> space; U+200B and U+FEFF -> nothing;
# A -> a, H -> h; U+FB01 -> fi; full-width 1, 2 and comma; U+2460 -> 1; U+00BD -> 1, U+2044, 2; mathematical x; U+0130 and U+0E33 -> two each;
# e with U+0301 and a with U+0308 -> one each.
CHARACTER_MAP = zlib.decompress(
    base64.b64decode(
        "eNod03dsTWEcxvHnHISKRiQiKhXiDzFqtEnNVOy9Z1GjRimxV+1bSktbtLW1FLcoF9Uat6iiRsmNvefVEv6w96jxfZ3kc55fzu+855y8531VWlJNycdHKl9G"
        "siRHRfj6SZVJj7+tOK77m1q2oqtLNajTm0tlyay5Uh6qULsLbeXQr0Ud7ytzONJDJIY7HBVsOcZKlajNM/IbSKXMe5Dwg1OJLRfSQm0lpdqqxqUMmrV5SF3U"
        "QX3UA0MVgEZoiCS+sTF5MspWEBmME2G2mpJNwKeqGVqiBULMmHVS8jKpFXVnP0utyXZoiw5oj07oiC5oE2ypG9kVPdAdvdATfdAb/dAXA9AfgzAQgxGKoRiC"
        "YQjDCAxHOEZiNEaBadIYjEMEIs09cbYmkhMwydzjsjWFnIxpmIoZmI5ZmIk5mA1+j6IwH/OwEAuwGIsQbX4UlmIJmBbFIBbLsQJxiMdKJCIBq7HKzCXWIAXJ"
        "YGq1FhuwHpuwEVuwGWlIxTZsxXakYyd2IANO7MYuZGIP9mEv9sOFgziAQ8hCDrJxBIdxDEeRC7dZEziOPLNWkI9TOIPTKMBZnMc5XMQFXEKh6aVaumx6Hkse"
        "8iqu4Dqu4SZu4DZu4S7u4D7u4SEe4DEe4Sme4Bm8KEYRXuA5XuKd05K3nKVXphdgqbjQ0hvq16aHt/iA9/iEj/iCz/iGr6ZX1dJ38hd+4jdK8Bd/9H//ByhQ"
        "gUXRMUFsoHBFRGq8Ij2xrJoCpwoy5c1N9Lqz9Q8q2q/u"
    )
)


def unigram(pre_tokenizer, normalizer=None, byte_fallback=False):
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = P.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    bytes_ = [f"<0x{i:02X}>" for i in range(256)] if byte_fallback else []
    trainer = trainers.UnigramTrainer(
        vocab_size=300 + len(bytes_), special_tokens=special + bytes_, unk_token="<unk>", show_progress=False
    )
    trained.train_from_iterator([ENGLISH, *TEXTS[3:6], *TEXTS[25:30]] * 2, trainer)

    def edit(parsed):
        parsed["model"]["byte_fallback"] = byte_fallback
        parsed["added_tokens"] = [token for token in parsed["added_tokens"] if token["content"] in special]

    tokenizer = edited(trained, edit)
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = D.Metaspace()
    return tokenizer


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = N.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = P.BertPreTokenizer()
    tokenizer.decoder = D.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=260, special_tokens=["[UNK]", "[EOS]"], show_progress=False)
    tokenizer.train_from_iterator([ENGLISH], trainer)
    return tokenizer


LLAMA2_DECODER = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])


def cases():
    smollm = lambda: P.Sequence([P.Digits(individual_digits=True), byte_level()])
    yield "gpt2", train(byte_level())
    yield "gpt2-prefix-nfc", train(byte_level(prefix=True), N.NFC())
    yield "smollm", train(smollm())
    yield "smollm-missing-bytes", with_missing_bytes(train(smollm()))
    yield "llama3", train(P.Sequence([split(LLAMA3), byte_level(False)]))
    yield "llama3-ignore-merges", with_ignore_merges(train(P.Sequence([split(LLAMA3), byte_level(False)])))
    yield "qwen2", train(P.Sequence([split(QWEN2), byte_level(False)]), N.NFC())
    yield "o200k-removed", train(P.Sequence([split(O200K, "removed", True), byte_level(False)]))
    falcon = [P.Punctuation("contiguous"), byte_level(), P.Digits(individual_digits=False), split("[0-9][0-9][0-9]")]
    yield "falcon", train(P.Sequence(falcon))
    yield "added-tokens", with_added_tokens(train(byte_level()))
    replaced = N.Sequence([N.Replace(Regex(r"\s{2,}"), "_$1_"), N.Replace("e", "E$&"), N.Prepend("^"), N.NFKC()])
    yield "normalizers", train(P.Sequence([split(r"\s+", "merged_with_next"), byte_level(False)]), replaced)
    marked = N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])
    yield "llama2", sentencepiece_style(marked, None, LLAMA2_DECODER)
    first = P.Metaspace(prepend_scheme="first", split=False)
    yield "mistral", sentencepiece_style(None, first, LLAMA2_DECODER)
    yield "gemma", sentencepiece_style(N.Replace(" ", "▁"), P.Split(" ", "merged_with_previous"), LLAMA2_DECODER)
    yield "unigram", unigram(P.Metaspace())
    yield "t5", unigram(P.Metaspace(), N.Sequence([N.Precompiled(CHARACTER_MAP), N.Replace(Regex(" {2,}"), " ")]))
    yield "xlm-r", unigram(P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), N.Precompiled(CHARACTER_MAP), byte_fallback=True)
    yield "wordpiece", word_piece()


def expectations(tokenizer):
    tokenizer.encode_special_tokens = True
    plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    tokenizer.encode_special_tokens = False
    parsed = {}
    for i, text in enumerate(TEXTS):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if ids != plain[i]:
            parsed[i] = ids
    decoded = {}
    for i, text in enumerate(TEXTS):
        back = tokenizer.decode(plain[i], skip_special_tokens=False)
        if back != text:
            decoded[i] = back
    # Only what differs is stored: parsed from plain, decoded from the text.
    return {"plain": plain, "parsed": parsed, "decoded": decoded}


def sentencepiece_scores():
    """A SentencePiece vocabulary as GGUF stores it, and the merges that transformers derives from its scores."""
    words = "▁ t h e a n i s ▁t he ▁the an in is ▁a ▁an ▁is th ▁th at ▁at ha hat ▁hat tha that ▁that inn ▁in nn".split()
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + words
    scores = [0.0] * 259 + [-float(max(0, i - 8)) for i in range(len(words))]
    types = [2, 3, 3] + [6] * 256 + [1] * len(words)
    vocab = {token: i for i, token in enumerate(tokens)}
    # Two tokens of one score, so that ties matter.
    scores[vocab["that"]] = scores[vocab["▁hat"]]
    normal = {token: vocab[token] for token in words}
    merges = generate_merges(normal, {token: scores[vocab[token]] for token in words})
    texts = ["that hat is the inn", "the  that\nthat", "a thé"]
    model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    return {"tokens": tokens, "scores": scores, "types": types, "merges": merges, "texts": texts, "ids": ids}


def class_digests():
    """For each class, the number of code points that Oniguruma finds in it and the SHA-256 of them (hexadecimal, space-separated)."""
    every = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    digests = {}
    for name in ["L", "N", "M", "P", "S", "Z", "Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Han", "Cyrillic"]:
        digests[rf"\p{{{name}}}"] = None
    for pattern in [*digests, r"\s", r"\S", r"\d", r"[^\s\p{L}\p{N}]", r"[^\r\n\p{L}\p{N}]", r"[\p{L}&&[^\p{Han}]]", CONTRACTIONS[:6] + ")", "(?i:[k-t])", "."]:
        left = {c for piece, _ in split(pattern, "removed").pre_tokenize_str(every) for c in piece}
        found = [f"{ord(c):x}" for c in every if c not in left]
        digests[pattern] = {"count": len(found), "sha256": hashlib.sha256(" ".join(found).encode()).hexdigest()}
    return digests


def training():
    """What BpeTrainer makes of CORPUS, for our own trainer to reproduce."""
    expected = {}
    for name, pre in {
        "gpt2": byte_level(),
        "gpt2-digits": P.Sequence([P.Digits(individual_digits=True), byte_level()]),
        "llama3": P.Sequence([split(LLAMA3), byte_level(False)]),
    }.items():
        model = json.loads(train(pre, size=420).to_str())["model"]
        expected[name] = {"vocabSize": 420, "merges": [" ".join(merge) for merge in model["merges"]]}
    return {"texts": CORPUS, "specialTokens": SPECIAL, "expected": expected}


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (FOLDER / name).write_text(text + "\n", encoding="utf-8")


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    names = []
    for name, tokenizer in cases():
        names.append(name)
        write(f"{name}.jsonl", {"tokenizer": json.loads(tokenizer.to_str()), **expectations(tokenizer)})
    write("texts.jsonl", {"texts": TEXTS, "cases": names})
    write("gguf-llama.jsonl", sentencepiece_scores())
    write("classes.jsonl", class_digests())
    write("training.jsonl", training())


main()
