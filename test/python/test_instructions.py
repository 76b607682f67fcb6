"""The checks of src/eval/instructions against lm-eval 0.4.13's own, on made-up responses. Needs the built dist/.

NLTK's lists for sentences cannot be had offline: its sentence splitter is replaced by ours, so number_sentences compares what is made of the count
only, and capital_word_frequency the words inside sentences. langdetect and eld differ on short and mixed texts: the three kinds that ask for a language
are compared on running text of several sentences.
"""

import json
import random
import subprocess
import sys
import types
from pathlib import Path

import langdetect
import nltk
import pytest

ROOT = Path(__file__).resolve().parents[2]
NUM_RESPONSES = 300

rng = random.Random(7)
langdetect.DetectorFactory.seed = 0


def ours(request):
    """What the TypeScript checks say."""
    done = subprocess.run(["node", ROOT / "test/python/instructions.mjs"], input=json.dumps(request), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def theirs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "immutabledict", types.SimpleNamespace(immutabledict=dict))
        # Their module fetches word lists when it is imported.
        patch.setattr(nltk.data, "find", lambda *_: None)
        from lm_eval.tasks.ifeval import instructions_registry, instructions_util, utils

        sentences = {}

        def split(text, *_):
            return sentences[text] if text in sentences else ours({"texts": [text]})["sentences"][0]

        patch.setattr(nltk.tokenize, "sent_tokenize", split)
        patch.setattr(instructions_util, "count_sentences", lambda text: len(split(text)))
        yield instructions_registry.INSTRUCTION_DICT, utils, sentences


PIECES = [
    *"the a tide moon Sun river WATER NASA it's IT'S CAN'T can't I'M cannot CANNOT gonna WELL-KNOWN AND/OR U.S. Dr. e.g. 3.14 12,5 A,B a,b".split(),
    *["*", "**", "***", "******", "-", "--", "—", "–", "<<a title>>", "<<>>", "<< >>", "[name]", "[]", "[two words]", "P.S.", "P. S.", "P.P.S", "p.p.s.", "PS"],
    *["Section 1", "SECTION 2", "Section  3", "section 4", "Section٣", "My answer is yes.", "My answer is no", '"', "'", "“quoted”", "``", "’", "(", ")", "{", "}"],
    *["*bold*", "**bold**", "* bullet", "- bullet", "*\nbullet", "```json", "```", '{"a": 1}', "NaN", "null", "#", "@home", "$5", "100%", "Die Straße", "ÉTÉ", "ǅ", "日本語", "١٢", "x_y"],
    *["\n", "\n\n", "\n\n\n", " ", "  ", "\t", "\u00a0", "\u2028", "\ufeff", "\x1c", "\r\n", ".", "!", "?", "?!", "...", ",", ";", ":", "That is all.", "that is all", "Why tides?"],
]


def response():
    text = "".join(rng.choice(PIECES) + rng.choice(["", " ", " ", " ", "\n"]) for _ in range(rng.randint(1, 24)))
    shape = rng.random()
    if shape < 0.05:
        return f'"{text}"'
    if shape < 0.1:
        return f"Why tides? {text}"
    if shape < 0.15:
        return f'{text} That is all."'
    if shape < 0.25:
        return rng.choice(["```json\n%s\n```", "```\n%s```", " %s "]) % rng.choice(['{"a": [1, 2]}', "[NaN, -Infinity]", '"NaN', "{'a': 1}", "1NaN", "nul", "[1,]", '{"a": "\\ud800"}', "-Infinity"])
    if shape < 0.35:
        return text.upper()
    if shape < 0.5:
        starts = [rng.choice(["the ", "Tide, ", "'It' ", '"moon" ', "", " "]) for _ in range(rng.randint(2, 4))]
        return "\n\n".join(start + rng.choice(PIECES) for start in starts)
    return text


RELATIONS = ["less than", "at least"]


def arguments(kind):
    n = rng.randint(1, 5)
    relation = rng.choice(RELATIONS)
    words = ["tide", "Moon", "water", "U.S.", "it", "a.b", "x_y", "été", "colou?r", "and/or", "3.14"]
    return {
        "keywords:existence": lambda: {"keywords": rng.sample(words, 2)},
        "keywords:frequency": lambda: {"keyword": rng.choice(words), "frequency": n, "relation": relation},
        "keywords:forbidden_words": lambda: {"forbidden_words": rng.sample(words, 3)},
        "keywords:letter_frequency": lambda: {"letter": rng.choice("aEtz"), "let_frequency": 2 * n, "let_relation": relation},
        "length_constraints:number_sentences": lambda: {"num_sentences": n, "relation": relation},
        "length_constraints:number_paragraphs": lambda: {"num_paragraphs": rng.randint(1, 3)},
        "length_constraints:number_words": lambda: {"num_words": 5 * n, "relation": relation},
        "length_constraints:nth_paragraph_first_word": lambda: {"num_paragraphs": rng.randint(2, 3), "nth_paragraph": rng.randint(1, 2), "first_word": rng.choice(["the", "Tide", "It", "moon"])},
        "detectable_content:number_placeholders": lambda: {"num_placeholders": rng.randint(1, 3)},
        "detectable_content:postscript": lambda: {"postscript_marker": rng.choice(["P.S.", "P.P.S", "PS"])},
        "detectable_format:number_bullet_lists": lambda: {"num_bullets": rng.randint(1, 3)},
        "detectable_format:number_highlighted_sections": lambda: {"num_highlights": rng.randint(1, 3)},
        "detectable_format:multiple_sections": lambda: {"section_spliter": rng.choice(["Section", "SECTION"]), "num_sections": rng.randint(1, 2)},
        "combination:repeat_prompt": lambda: {"prompt_to_repeat": "Why tides?"},
        "startend:end_checker": lambda: {"end_phrase": rng.choice(["That is all.", "that is all"])},
        "change_case:capital_word_frequency": lambda: {"capital_frequency": n, "capital_relation": relation},
        "language:response_language": lambda: {"language": "en"},
    }.get(kind, dict)()


LANGUAGE_KINDS = ("language:response_language", "change_case:english_capital", "change_case:english_lowercase")


def test_kinds_follow(theirs):
    kinds, _, sentences = theirs
    responses = [text for text in (response() for _ in range(NUM_RESPONSES)) if text.strip()]
    calls = [[kind, arguments(kind), "Why tides?", text] for text in responses for kind in kinds if kind not in LANGUAGE_KINDS]
    mine = ours({"calls": calls, "texts": responses})
    sentences.update(zip(responses, mine["sentences"]))
    seen = {}
    for (kind, given, _, text), follows in zip(calls, mine["follows"]):
        check = kinds[kind](kind)
        check.build_description(**given)
        expected = bool(check.check_following(text))
        assert follows == expected, f"{kind} {given}: {text!r}"
        seen.setdefault(kind, set()).add(expected)
    # A fuzz that never meets both answers would prove nothing. (Of these, no_comma and the rest all do.)
    assert {kind for kind, answers in seen.items() if len(answers) < 2} == set()


TEXTS = {
    "en": "The harbor was quiet in the morning. Two boats came back with fish, and their crews talked about the weather.",
    "de": "Der Hafen war am Morgen ruhig. Zwei Boote kamen mit Fisch zurück, und die Leute sprachen über das Wetter.",
    "fr": "Le port était calme ce matin. Deux bateaux sont revenus avec du poisson, et les marins parlaient du temps.",
    "es": "El puerto estaba tranquilo por la mañana. Dos barcos volvieron con pescado y los marineros hablaban del tiempo.",
    "it": "Il porto era tranquillo al mattino. Due barche tornarono con il pesce e i marinai parlavano del tempo.",
    "pt": "O porto estava calmo pela manhã. Dois barcos voltaram com peixe e os marinheiros falavam sobre o tempo.",
    "ru": "Утром в порту было тихо. Две лодки вернулись с рыбой, и моряки говорили о погоде.",
    "pl": "Rano w porcie było cicho. Dwie łodzie wróciły z rybami, a marynarze rozmawiali o pogodzie.",
    "fi": "Satamassa oli aamulla hiljaista. Kaksi venettä palasi kalojen kanssa, ja merimiehet puhuivat säästä.",
    "vi": "Buổi sáng bến cảng rất yên tĩnh. Hai chiếc thuyền trở về với cá, và các thủy thủ nói chuyện về thời tiết.",
    "sw": "Bandari ilikuwa tulivu asubuhi. Mashua mbili zilirudi na samaki, na mabaharia walizungumza kuhusu hali ya hewa.",
    "ne": "बिहान बन्दरगाह शान्त थियो। दुईवटा डुङ्गा माछा लिएर फर्किए र नाविकहरूले मौसमको बारेमा कुरा गरे।",
    "hi": "सुबह बंदरगाह शांत था। दो नावें मछली लेकर लौटीं और नाविक मौसम के बारे में बात कर रहे थे।",
    "ja": "朝の港は静かでした。二隻の船が魚を積んで戻り、船員たちは天気について話していました。",
    "ko": "아침에 항구는 조용했다. 배 두 척이 물고기를 싣고 돌아왔고 선원들은 날씨에 대해 이야기했다.",
    "ar": "كان الميناء هادئا في الصباح. عاد قاربان مع السمك وتحدث البحارة عن الطقس.",
}


def test_languages(theirs):
    kinds, _, _ = theirs
    calls = [["language:response_language", {"language": asked}, "", text] for asked in TEXTS for text in TEXTS.values()]
    calls += [["change_case:english_lowercase", {}, "", change(text)] for text in TEXTS.values() for change in (str, str.lower)]
    calls += [["language:response_language", {"language": "en"}, "", "12 + 30 = 42"], ["change_case:english_capital", {}, "", "12 + 30 = 42"]]
    for (kind, given, _, text), follows in zip(calls, ours({"calls": calls})["follows"]):
        check = kinds[kind](kind)
        check.build_description(**given)
        assert follows == bool(check.check_following(text)), f"{kind} {given}: {text!r}"


def test_strict_and_loose_scores(theirs):
    _, utils, sentences = theirs
    kinds = ["punctuation:no_comma", "detectable_format:number_bullet_lists", "startend:quotation", "detectable_format:title", "detectable_format:json_format"]
    scores = []
    for key in range(120):
        chosen = rng.sample(kinds, 2)
        asked = {"key": key, "prompt": "Why tides?", "instruction_id_list": chosen, "kwargs": [arguments(kind) for kind in chosen]}
        scores.append([asked, response()])
    for (asked, text), mine in zip(scores, ours({"scores": scores})["scores"]):
        expected = utils.process_results(asked, [text])
        assert mine["strict"] == expected["inst_level_strict_acc"], text
        assert mine["loose"] == expected["inst_level_loose_acc"], text
