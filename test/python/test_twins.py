"""Twins of task functions (src/eval/twins) against the functions themselves, as lm-eval 0.4.13 has them, on made-up documents and fuzzed answers.

What is not compared, by name: utils.pass_at_k and utils.pass_at_1 (they download the metric that runs programs; test/eval/twins/code.test.ts
has them), is_equiv and math_verify of minerva_math and leaderboard/math (they need antlr4 and math_verify; exact algebra stands in their place),
RULER's data sets (they need word lists and essays from the network; other words are drawn here by design), ROUGE-L over documents (a random
resampling there), the orders of gpqa but for gpqa/n_shot (drawn from a generator that other code uses, too), xquad, coqa and
super_glue/record (they import a part of transformers that version 5 no longer has), longbench's rouge, code and Chinese scores (rouge, fuzzywuzzy, jieba),
classes in place of configurations (squad_completion, fda, swde). Needs the built dist/.
"""

import importlib.metadata
import importlib.util
import json
import math
import random
import re
import subprocess
import sys
import types
from functools import cache, partial
from pathlib import Path

import datasets
import lm_eval
import numpy
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TASKS = Path(lm_eval.__file__).parent / "tasks"
datasets.disable_progress_bars()

rng = random.Random(20)


ABSENT = ("evaluate", "transformers", "antlr4", "math_verify", "jieba", "fuzzywuzzy", "rouge")


class Stand(types.ModuleType):
    """What is not installed, or takes seconds to load, and is not compared."""

    def __getattr__(self, name):
        return None if name.startswith("__") else lambda *_: types.SimpleNamespace(compute=lambda **_: None)


@cache
def module(folder, name="utils"):
    """The module as the harness loads it, from its file. What it only needs to be imported, not to be compared, is a stand-in."""
    file = TASKS / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", f"{folder}_{name}"), file)
    loaded = importlib.util.module_from_spec(spec)
    source = file.read_text(encoding="utf-8")
    stands = {name: Stand(name) for name in ABSENT if f"import {name}" in source or f"from {name}" in source}
    with pytest.MonkeyPatch.context() as patch:
        for name, stand in stands.items():
            patch.setitem(sys.modules, name, stand)
        patch.setattr(importlib.metadata, "version", lambda package, real=importlib.metadata.version: "4.11.0" if package.startswith("antlr4") else real(package))
        spec.loader.exec_module(loaded)
    return loaded


def plain(value):
    """As JSON carries it: tuples are lists, numpy's numbers numbers."""
    if isinstance(value, datasets.Dataset):
        value = value.to_list()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, numpy.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, numpy.bool_)):
        return int(value)
    if isinstance(value, (int, numpy.integer)):
        return int(value)
    if isinstance(value, (float, numpy.floating)):
        return float(value)
    return value


def same(ours, theirs):
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, (int, float)) and isinstance(ours, (int, float)):
        # Sums are taken in the same order; exp and log may differ in the last place.
        return ours == theirs or math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-12)
    return ours == theirs


@cache
def node():
    return subprocess.Popen(
        ["node", str(ROOT / "test/python/twins.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", cwd=ROOT
    )


@pytest.fixture(scope="module", autouse=True)
def ends_with_the_tests():
    yield
    node().stdin.close()
    node().wait()


def call(**request):
    node().stdin.write(json.dumps(request) + "\n")
    node().stdin.flush()
    return json.loads(node().stdout.readline())


def compare(folder, cases, raises=False):
    """cases: (function name, arguments[, options of a filter]). A function that fails for a document must fail in both."""
    failed = 0
    for name, args, *options in cases:
        source, function = name.rsplit(".", 1)
        real = getattr(module(folder, source), function)
        given = [datasets.Dataset.from_list(a) if function.startswith(("process_doc", "filter_", "hellaswag_process")) or is_filter(real) else a for a in args]
        ours = call(folder=f"any/where/{folder}", name=name, args=args, **({"options": options[0]} if options else {}))
        try:
            theirs = plain(real(**options[0]).apply(*args) if options else real(*given))
        except Exception as error:  # noqa: BLE001 - whatever it raises
            assert raises, repr(error)
            assert "error" in ours, (name, args, ours, repr(error))
            failed += 1
        else:
            assert "value" in ours and same(plain(ours["value"]), theirs), (name, args, ours, theirs)
    assert failed < len(cases)


def is_filter(function):
    return isinstance(function, partial) and function.func.__name__ in ("process_docs", "_filter_subject")


# ---- texts ----

WORDS = "the a an The cat river was of 12 7.5 1,000 north-east don't \u00c9t\u00e9 \u0130stanbul na\u00efve \u4e2d\u6587 \u0661\u0662 \ufb01n 3rd inf 1e5 0.50 -4 \u2014 \u00ab \u00bb ... [title] [x] $5 50% \u00a0 \u3000".split(" ") + [
    "\n",
    "  ",
    " .",
    "\t",
    "\u2028",
    "\x1c",
]


def text(n=12):
    return "".join(rng.choice(WORDS) + rng.choice([" ", " ", " ", "", ", ", ". "]) for _ in range(rng.randrange(1, n)))


LATEX = r"\frac{1}{2} \frac12 \frac1{72} \dfrac{3}{4} \tfrac ab \sqrt3 \sqrt{12} \sqrt[3]{8} \sqrt[3]a 1/2 -3/4 0.5 .5 10\% 3\text{ cm} 5\text{cm} \$5 90^\circ 90^{\circ} (0,1) [2,5) 1,000 12,345,678 0,1 x=3 k=2=3 \left(1,2\right) \pi 2\pi cm x+1 1+x 2\cdot3 \text{east} \textbf{b} \overline{AB} \mbox{m} \boxed{4} $x$ an a ways 3 units left inches \ldots {,} \! \\ 12ft 7. \mathrm{th} \frac \sqrt".split(
    " "
)


def latex(n=4):
    return "".join(rng.choice(LATEX) + rng.choice(["", "", " ", "=", ",", "."]) for _ in range(rng.randrange(1, n)))


def closed_latex():
    return next(answer for answer in iter(latex, None) if answer.count("{") == answer.count("}"))


def solution():
    boxed = rng.choice([f"\\boxed{{{latex()}}}", f"\\boxed {latex()}$", f"\\fbox{{{latex()}}}", f"\\boxed{{{latex()}", f"\\boxed{{{rng.randrange(99)}}}"])
    return rng.choice([f"So ${boxed}$.", f"{text()} {boxed}", f"\\boxed{{1}} and then ${boxed}$"])


def response():
    return rng.choice(
        [
            latex(),
            f"It is ${latex()}$.",
            f"${latex()}$ so ${latex()}$",
            solution(),
            f"{text()} Final Answer: The final answer is ${latex()}$. I hope it is correct.",
            f"Final Answer: The final answer is {latex()}.",
            text(),
        ]
    )


def many(n, make):
    return [make() for _ in range(n)]


# ---- multiple choice ----


def test_hellaswag():
    doc = lambda: {
        "activity_label": text(3),
        "ctx_a": text(),
        "ctx_b": rng.choice(["", text(), "\u00dfa B", "\ufb01N X"]),
        "endings": many(4, text),
        "label": str(rng.randrange(4)),
    }
    compare("hellaswag", [("utils.process_docs", [many(60, doc)])])


def test_winogrande_race_musr():
    gap = lambda: {"sentence": f"{text()} _ {text()}", "option1": text(3), "option2": text(3), "answer": rng.choice("12")}
    names = ["doc_to_text", "doc_to_target", "doc_to_choice"]
    compare("winogrande", [(f"preprocess_winogrande.{f}", [gap()]) for f in names * 20])
    problem = lambda: {"question": text() + rng.choice(["?", "  _  ."]), "answer": rng.choice("ABCD"), "options": many(4, partial(text, 4))}
    doc = lambda: {"article": text(), "problems": str(many(rng.randrange(1, 4), problem))}
    compare("race", [(f"preprocess_race.{f}", [doc()]) for f in names * 20])
    doc = lambda: {"narrative": text(), "question": text(), "choices": str(many(3, partial(text, 4)))}
    compare("leaderboard/musr", [(f"utils.{f}", [doc()]) for f in ["doc_to_text", "doc_to_choice"] * 20])


@pytest.mark.parametrize("folder", ["wikitext", "c4", "french_bench"])
def test_detokenizers(folder):
    name, field = {"c4": ("preprocess_c4", "text"), "french_bench": ("preprocess_wikitext", "paragraph")}.get(folder, ("preprocess_wikitext", "page"))
    marks = " @-@ | @,@ | @.@ | : | ; | . | ! | ? | , |( a )|[ b ]|{ c }|\" d \"|' e '| 's|s '|= = = =|= = =|= =| \u00b0 | \n |/' 7/| N |( (x) )|\u3000".split("|")
    page = lambda: {field: "".join(rng.choice([text(3), rng.choice(marks)]) for _ in range(20))}
    function = "c4_detokenizer" if folder == "c4" else "wikitext_detokenizer"
    compare(folder, [(f"{name}.{function}", [page()]) for _ in range(200)] + [(f"{name}.process_results", [page(), [-12.5]]) for _ in range(40)])


def test_subjects():
    """Every function of these modules exists, and keeps the documents that the real one keeps."""
    cases = [
        ("global_mmlu/full/pl", "subject", ["anatomy", "world_religions", "abstract_algebra", "other"]),
        ("global_mmlu/default/de", "subject_category", ["Business", "STEM", "Social Sciences"]),
        ("openai-mmmlu/default", "Subject", ["anatomy", "anatomy_test.csv_sw-KE.csv", "virology_test-x", "virology"]),
        ("include/few_shot_en/Kazakh", "domain", ["STEM", "Arts & Humanities", "General knowledge", "Marine License"]),
        ("mmlu_pro", "category", ["math", "computer science", "law"]),
        ("mmlu_prox/ja", "category", ["math", "computer science", "law"]),
        ("llama3/instruct/mmlu_th", "subtask_name", ["mmlu_th_chat.anatomy", "mmlu_de_chat.anatomy", "mmlu_th_chat.virology"]),
    ]
    for folder, field, values in cases:
        docs = [{field: value, "n": i} for i, value in enumerate(values * 3)]
        filters = [f"utils.{name}" for name, value in vars(module(folder)).items() if is_filter(value)]
        assert len(filters) >= 6
        compare(folder, [(name, [docs]) for name in filters])


def test_mmlu_pro():
    cot = lambda: f"A: Let's think step by step. {text()} The answer is ({rng.choice('ABC')})."
    doc = lambda: {"question": text(), "options": many(rng.randrange(2, 10), partial(text, 4)), "cot_content": cot()}
    for folder in ["mmlu_pro", "mmlu-pro-plus"]:
        compare(folder, [(f"utils.{f}", [doc()]) for f in ["doc_to_text", "fewshot_to_text", "fewshot_to_target"] * 10])
    compare("leaderboard/mmlu_pro", [(f"utils.{f}", [doc()]) for f in ["doc_to_text", "doc_to_choice"] * 10])
    compare("llama3/instruct/mmlu_pro", [("utils.fewshot_to_text", [doc()]) for _ in range(20)])
    for language in sorted(folder.name for folder in (TASKS / "mmlu_prox").iterdir() if (folder / "utils.py").exists() and folder.name != "template"):
        start = module(f"mmlu_prox/{language}").lang_dict[4]
        doc = lambda start=start: {
            "question": text(),
            "cot_content": f"{start} {text()}",
            **{f"option_{i}": rng.choice([text(4), None]) for i in range(10)},
        }
        compare(f"mmlu_prox/{language}", [(f"utils.{f}", [doc()]) for f in ["doc_to_text", "fewshot_to_text"] * 2])


def test_llama_arc_and_arithmetic():
    doc = lambda: {
        "question": text(),
        "choices": {"text": many(n := rng.choice([3, 4, 4, 5]), text), "label": list("12345" if rng.random() < 0.5 else "ABCDE")[:n]},
        "answerKey": rng.choice("ABCD1234"),
    }
    compare("llama3/instruct/arc_challenge", [("utils.process_docs", [many(40, doc)])])
    sums = lambda: {"context": f" Q: {text()}\n\nA:", "completion": text(3)}
    compare("arithmetic", [("utils.process_docs", [many(20, sums)])])


def test_gpqa_draws_as_python():
    doc = lambda: {f"Incorrect Answer {i}": rng.choice([text(4), None]) for i in (1, 2, 3)} | {"Correct Answer": text(5) + " right"}
    docs = many(30, doc)
    # A module that was just loaded draws from its seed, as every reading does here.
    compare("gpqa/n_shot", [("utils.process_docs", [docs])])


# ---- answers ----


def test_truthfulqa():
    doc = lambda: {"mc2_targets": {"labels": (labels := [1] + many(rng.randrange(1, 14), lambda: rng.randrange(2)))}, "n": len(labels)}
    cases = []
    for _ in range(60):
        d = doc()
        cases.append(("utils.process_results_mc2", [d, [[-rng.random() * 40, False] for _ in range(d["n"])]]))
    answers = lambda: [a for a in many(rng.randrange(1, 3), partial(text, 8))] + ["plain words ."]
    # ROUGE is slow there: it resamples a single score a thousand times.
    docs = many(8, lambda: {"question": text(), "correct_answers": answers(), "incorrect_answers": answers()})
    cases.append(("utils.process_docs_gen", [docs]))
    overlapping = lambda d: " ".join(rng.sample((w := (d["correct_answers"][0] + " and " + d["incorrect_answers"][0]).split()), min(len(w), 6)))
    for d in docs:
        cases.append(("utils.process_results_gen", [d, [rng.choice([text(), overlapping(d), d["correct_answers"][0]])]]))
    compare("truthfulqa", cases)


def test_drop():
    empty = {"day": "", "month": "", "year": ""}
    answer = lambda: rng.choice(
        [
            {"number": rng.choice(["4", "7.5", "1,000"]), "date": empty, "spans": []},
            {"number": "", "date": empty, "spans": many(rng.randrange(1, 4), partial(text, 4))},
            {"number": "", "date": {"day": "3", "month": "May", "year": "1990"}, "spans": []},
        ]
    )
    def doc():
        validated = many(3, answer)
        return {
            "query_id": "q",
            "passage": text(),
            "question": text(),
            "answer": answer(),
            "validated_answers": {key: [v[key] for v in validated] for key in ("number", "date", "spans")},
        }
    docs = many(60, doc)
    processed = [d | {"answers": plain(module("drop").get_answers(d))} for d in docs]
    guess = lambda d: rng.choice([text(5), rng.choice(rng.choice(d["answers"])), " ".join(rng.choice(d["answers"])), "4.0 yards", "the 7.5", "1000"])
    cases = [("utils.process_docs", [docs])]
    cases += [("utils.process_results", [d, [guess(d)]]) for d in processed * 5]
    compare("drop", cases)


def test_math():
    docs = many(40, lambda: {"problem": text(), "solution": f"{text()} \\boxed{{{closed_latex()}}}"})
    cases = [("utils.process_docs", [docs])] + [("utils.process_results", [d, [response()]]) for d in docs * 8]
    cases += [("utils.process_results", [d, [f"${re.sub('.*boxed.', '', d['solution'])[:-1]}$"]]) for d in docs]
    cases += [("utils.process_results", [{"solution": solution()}, [response()]]) for _ in range(100)]
    compare("hendrycks_math", cases, raises=True)
    cases = [("utils.process_results", [{rng.choice(["answer", "Answer"]): a}, [rng.choice([response(), f"\\boxed{{{a}}}"])]]) for a in many(200, lambda: rng.choice([latex(), 17]))]
    compare("aime", cases, raises=True)
    for f in ["process_results"]:
        compare("agieval", [(f"utils.{f}", [{"answer": a}, [rng.choice([response(), a])]]) for a in many(300, response)], raises=True)
    doc = lambda: {"gold": rng.sample(range(4), rng.randrange(1, 3)), "choices": many(4, text)}
    compare("agieval", [("utils.process_results_mcqa", [doc(), [[-rng.random() * 20, False] for _ in range(4)]]) for _ in range(60)])


@pytest.mark.parametrize("folder", ["minerva_math", "leaderboard/math"])
def test_minerva(folder):
    """Everything but the equality of expressions: normal forms, the answer of a response, documents and examples."""
    docs = many(40, lambda: {"problem": text(), "solution": f"\\boxed{{{closed_latex()}}}", "level": rng.choice(["Level 5", "Level 4"])})
    docs[0]["level"] = "Level 5"
    compare(folder, [("utils.process_docs", [docs]), ("utils.list_fewshot_samples", []), ("utils.doc_to_text", [docs[0]])])
    real = module(folder)
    answers = many(400, latex) + many(50, text)
    responses = many(200, response)
    *forms, finals = call(math=[answers, responses])["value"]
    for answer, ours in zip(answers, forms[folder != "minerva_math"], strict=True):
        assert ours == real.normalize_final_answer(answer), answer
    assert finals == [real.get_unnormalized_answer(r) for r in responses]


# ---- filters ----


def test_bbh():
    options = [f"({letter}) {words}" for letter, words in zip("ABCD", ["red", "red hat", "12.5 (no)", "the blue"], strict=False)]
    doc = {"input": "Which?\nOptions:\n" + "\n".join(options)}
    said = ["(B)", "The answer is: C", "a RED HAT!", "none", "", ": D", "The blue.", "12.5", "( A )", "it is:A"]
    cases = [
        ("utils.MultiChoiceRegexFilter", [[said], [doc]], {"group_select": g, "ignore_case": c, "ignore_punctuation": p, "regex_pattern": "(\\([A-Z]\\))"})
        for g in (0, -1)
        for c in (True, False)
        for p in (True, False)
    ]
    patterns = {"\\b(no|not plausible)\\b": "no", "\\b(yes|plausible)\\b": "yes"}
    said = ["No.", "It is not plausible", "Plausible, yes", "know", "", "YES no", "Well: Yes"]
    cases += [
        ("utils.MapRegexFilter", [[said], [doc]], {"group_select": g, "ignore_case": True, "regex_pattern_to_value": patterns, "regexes_to_ignore": ignore})
        for g in (0, -1)
        for ignore in (None, ["Well"])
    ]
    said = ["42", "-7 and 3", "twenty five", "There are one hundred and five things", "seventeen", "nothing", "eight", "two thousand three hundred", "three million", "forty", "nineteen eighty", "six", ""]
    cases += [("utils.NumberParseRegexFilter", [[said], [doc]], {"group_select": g, "regex_pattern": "([-0-9]+)"}) for g in (0, -1)]
    words = {"input": "Sort the following words alphabetically: List: pear apple fig"}
    cases.append(("utils.WordSortFilter", [[["apple fig pear", "fig, then apple. apple fig pear", "figs", "pear pear fig"]], [words]], {}))
    for folder in ["bbh/zeroshot", "bbh/cot_zeroshot"]:
        compare(folder, cases)


def test_code_filters():
    answers = ["x = 1\n```\nend", "python\nx = 1\n```", "plain", "```python\nx\n```", "\n```\ny\n```", ""]
    docs = [{"prompt": "def f():\n", "suffix": "\n# end"}]
    compare("humaneval", [(f"utils.{f}", [[answers], docs]) for f in ("build_predictions", "build_predictions_instruct")])
    compare("humaneval_infilling", [("utils.build_predictions", [[answers], docs])])
    compare("mbpp", [("utils.build_predictions", [[answers], docs]), ("utils.list_fewshot_samples", [])])


# ---- languages ----


def test_african():
    labels = ["a", "b", "c", "d"]
    pairs = many(80, lambda: [rng.choice(labels[:3]), rng.choice(labels)])
    compare("afrobench/sib/prompt_1", [("utils.weighted_f1_score", [pairs[i:]]) for i in range(0, 75, 7)])
    for n in (1, 2, 3, 4, 5):
        compare(f"afrixnli/direct/prompt_{n}", [("utils.doc_to_target", [{"label": i}]) for i in (0, 1, 2)])
    tags = ["NOUN", "VERB", "X"]
    items = many(20, lambda: [many(5, lambda: rng.choice(tags)), [many(rng.randrange(1, 8), lambda: rng.choice(tags))]])
    compare("afrobench/masakhapos/prompt_1", [("utils.acc_score", [items]), ("utils.doc_to_target", [{"upos": [0, 5, 17]}])])
    entity = lambda: rng.choice(["PER", "LOC", "org."]) + ": " + rng.choice(["Ada", "the Lagos", "X-Y", "  Z  \t"])
    spans = lambda: rng.choice([" $$ ", " $ ", ", ", ". "]).join(many(3, entity))
    compare("afrobench/masakhaner/prompt_1", [("utils.span_f1_agg", [many(10, lambda: [spans(), rng.choice([spans(), text()])])]) for _ in range(30)])
    compare("afrobench/afriqa/prompt_1", [("utils.f1", [many(10, lambda: [text(4), rng.choice([text(4), "the cat"])])]) for _ in range(20)])


def test_languages():
    letters = lambda keys: {key: text(4) for key in keys}
    cases = {
        "bigbench": [("utils.filter_multiple_choice", [[{"multiple_choice_targets": ["a"]}, {"multiple_choice_targets": []}]])],
        "mmlusr/answer_only": [("utils.process_docs", [many(9, lambda: {f"choice{i}": rng.choice([None, text()]) for i in (1, 2, 3, 4)} | {"answer": rng.choice(["A ", None])})])],
        "tmmluplus/default": [("utils.process_docs", [many(9, lambda: letters("ABCD") | {"question": text(), "answer": rng.choice("ABCD")})])],
        "tmlu/default": [("utils.process_docs", [many(20, lambda: letters("ABCD") | {"E": e, "F": None, "question": text(), "answer": rng.choice("ABCDE" if e else "ABCD")} if (e := rng.choice([None, "e"])) or True else {})])],
        "eus_exams": [("utils.process_docs", [[{"answer": a, "candidates": c} for a in (0, 3, 4) for c in (["", "", "", ""], ["a", "", "", ""])]])],
        "okapi/hellaswag_multilingual": [("utils.process_docs", [many(20, lambda: {"activity_label": text(3), "ctx_a": text(), "ctx_b": text(), "endings": many(4, text), "label": "2"})])],
        "okapi/arc_multilingual": [("utils.process_docs", [many(20, lambda: {f"option_{x}": rng.choice([text(), None] if x == "e" else [text()]) for x in "abcde"} | {"id": "1", "instruction": text(), "answer": rng.choice("ABCD")})])],
        "okapi/truthfulqa_multilingual": [("utils.process_docs", [many(9, lambda: {"question": text(), "mc1_targets_choices": ["a"], "mc2_targets_choices": ["a"], "mc2_targets_labels": [1]})])],
        "darijahellaswag": [("utils.process_docs", [[{"activity_label": "x", "ctx": text(), "endings": ["a"], "label": "1"}]])],
        "arabic_leaderboard_complete/arabic_leaderboard_avca": [("utils.process_docs", [[{"question": text(), "answer": "\u062e\u0637\u0623"}]])],
        "arabic_leaderboard_light/arabic_leaderboard_arabic_mmlu_light": [("utils.process_docs", [many(9, lambda: letters("ABCD") | {"subject": "high_school", "question": text(), "answer": "C"})])],
        "arabic_leaderboard_complete/arabic_leaderboard_alghafa": [("utils.process_docs", [many(9, lambda: {"query": text(), "sol1": text(), "sol2": text(), "label": "1", "__few_shots": True})])],
        "arabic_leaderboard_light/arabic_leaderboard_arabic_mt_race_light": [("utils.process_docs", [many(9, lambda: {"query": text(), "sol1": text(), "sol2": text(), "label": "1"})])],
        "aradice/openbookqa": [(f"utils.{f}", [{"question": {"stem": text(), "choices": [{"label": x, "text": text()} for x in "ABCD"]}, "answerKey": k}]) for f in ("doc_to_text", "doc_to_choice", "doc_to_target") for k in (" B", "D", "E")],
        "aradice/boolq/EGY": [("utils.process_docs", [[{"question": q, "answer": a} for q in (" x? ", "y\u061f", "z") for a in ("true", "false")]])],
        "aradice/boolq/ENG": [("utils.process_docs", [[{"question": "x?", "answer": a} for a in (True, False)]])],
        "aradice/cultural-benchmark": [("utils.process_docs", [[{f"Option {x}": text() for x in "ABC"}]])],
        "xwinograd": [(f"utils.{f}", [{"sentence": "It _ so. ", "option1": "was", "option2": "is", "answer": "2"}]) for f in ("doc_to_text", "doc_to_target", "doc_to_choice")],
        "icelandic_winogrande": [(f"preprocess_winogrande.{f}", [{"sentence": x, "option1": "was", "option2": "is", "answer": "2"}]) for f in ("doc_to_text", "doc_to_target", "doc_to_choice") for x in ("It _ so. ", "It is _.")],
        "kobest": [("utils.hellaswag_process_doc", [[{"context": text(), "label": 2} | {f"ending_{i}": text() for i in (1, 2, 3, 4)}]]), ("utils.sentineg_doc_to_text", [{"sentence": text()}]), ("utils.wic_doc_to_text", [{"context_1": "a", "context_2": "b", "word": "c"}])]
        + [(f"utils.copa_doc_to_{f}", [{"premise": "p", "question": "\uc6d0\uc778 ", "alternative_1": "a", "alternative_2": "b", "label": i}]) for f in ("text", "target", "choice") for i in (0, 1)],
        "crows_pairs": [("utils.process_results", [{}, [[-1.5, False], [-rng.random() * 3, False]]]) for _ in range(9)] + [("utils.doc_to_choice", [{"sent_more": "a", "sent_less": "b"}])],
        "noreval/norec": [("utils.multi_f1", [many(40, lambda: [rng.randrange(3), rng.randrange(4)])])],
        "physics_gre": [("utils.process_docs", [[{"has_image": h, "input": " a ", "target_scores": {"A": a, "B": 0}} for h in (True, False) for a in (0, 1)]])],
        "logiqa": [(f"utils_logiqa.{f}", [{"context": text(), "question": text(), "options": many(4, text), "label": "c "}]) for f in ("doc_to_text", "doc_to_target")],
        "logiqa2": [("utils_logiqa2.doc_to_text", [{"text": text(), "question": text(), "options": many(4, text)}])],
        "medqa": [(f"preprocess_medqa.{f}", [{"sent1": text(), "label": 2} | {f"ending{i}": text() for i in range(4)}]) for f in ("doc_to_text", "doc_to_target")],
        "medmcqa": [("utils_medmcqa.doc_to_text", [{"question": text(), "opa": text(), "opb": "b", "opc": "c", "opd": "d"}])],
        "pubmedqa": [("preprocess_pubmedqa.doc_to_text", [{"CONTEXTS": many(3, text), "QUESTION": text()}])],
        "mathqa": [("utils.doc_to_choice", [{"options": o}]) for o in ("a ) 38 , b ) 27.675 , c ) 30 , d ) data inadequate , e ) none of these", "a ) rs . 400 , b ) 1 , 000 , c ) 3 , d ) 4 , e ) 5")],
        "glue/mnli": [("utils.doc_to_text", [{"premise": text(), "hypothesis": h}]) for h in (" so. ", "so")],
        "webqs": [(f"utils.{f}", [{"answers": a}]) for a in (["b", "a", "ab", "abc", "c"], ["x"]) for f in ("doc_to_choice", "doc_to_target")],
        "wsc273": [("utils.process_doc", [[{"text": t, "pronoun": p, "pronoun_loc": t.index(p), "options": ["The man", "She", "x"]} for t, p in (("He saw.  his dog", "his"), ("Ann said she ran", "she"), ("It ran. They saw", "They"))]])],
        "moral_stories": [("utils.process_docs", [[{"norm": text(), "situation": "ABC d", "intention": "x Y", "moral_action": "a", "immoral_action": "b"}]])],
        "eq_bench": [("utils.calculate_score_fullscale", [{"reference_answer_fullscale": str({f"emotion{i}": e for i, e in enumerate("ABCD", 1)} | {f"emotion{i}_score": str(i) for i in (1, 2, 3, 4)})}, [r]]) for r in ("A: 1\nB: 9\nC: 3\nD: 0", "A: 1", "A: 1 B: 2 C: 3 E: 4", "A: 10, B: 10, C: 10, D: 10")],
        "super_glue/copa": [(f"utils.{f}", [{"premise": "It rained. ", "question": q, "choice1": "I ran.", "choice2": "Ob", "label": 1}]) for f in ("doc_to_text", "doc_to_target", "doc_to_choice") for q in ("cause", "effect")],
        "super_glue/cb": [("aggregate.cb_multi_fi", [many(30, lambda: [rng.randrange(3), rng.randrange(3)])]) for _ in range(5)],
        "super_glue/wsc": [("preprocess_wsc.default_doc_to_text", [{"text": "Mark said ( to Pete ) that  he was n't ' here ' .", "span1_text": "Mark", "span2_text": "he", "span2_index": 7}])],
    }  # fmt: skip
    for names, field in ((("male", "female", "neutral"), "gender"),):
        cases["winogender"] = [(f"utils.filter_{name}", [[{field: n} for n in names]]) for name in names]
    types = ["race-color", "socioeconomic", "gender", "age", "religion", "disability", "sexual-orientation", "nationality", "physical-appearance", "autre"]
    docs = [{"bias_type": kind} for kind in types]
    cases["crows_pairs"] += [(f"utils.{f}", [docs]) for f in vars(module("crows_pairs")) if f.startswith("filter_") and f != "filter_dataset"]
    filters = [f for f in vars(module("uncheatable_eval", "uncheatable_eval_utils")) if f.startswith("filter_") and f != "filter_category"]
    cases["uncheatable_eval"] = [(f"uncheatable_eval_utils.{f}", [[{"category": g[7:]} for g in filters]]) for f in filters]
    languages = [f for f in vars(module("xcopa")) if f.startswith("doc_to_text_")]
    cases["xcopa"] = [(f"utils.{f}", [{"premise": "Aa bb. ", "question": q}]) for f in languages for q in ("cause", "effect")] + [("utils.doc_to_choice", [{"choice1": "\u00c9a", "choice2": "Ob"}])]
    for folder, subject in (("egymmlu", "egy_subject"), ("darijammlu", "subject_darija")):
        doc = lambda subject=subject: {subject: text(2), "question": text(), "context": rng.choice(["", "c"]), "choices": many(4, text)}
        cases[folder] = [(f"utils.{f}", [doc()]) for f in ("doc_to_text", "doc_to_choice") for _ in range(4)]
    doc = lambda: {"Subject": "Law", "Level": rng.choice(["High", "", None]), "Country": rng.choice(["UAE", None]), "Context": rng.choice(["c", None]), "Question": text()} | {f"Option {i}": rng.choice([text(), None]) for i in range(1, 6)}  # fmt: skip
    cases["arabicmmlu"] = [(f"utils.{f}", [doc()]) for f in ("doc_to_text", "doc_to_choice") for _ in range(9)]
    for folder, listed in cases.items():
        compare(folder, listed)
    pairs = many(60, lambda: [rng.choice("abc"), rng.choice("abcd")])
    compare("aradice/piqa", [(f"metrics.{f}", [pairs]) for f in ("macro_f1_score", "micro_f1_score", "weighted_f1_score")])


def test_answers_in_languages():
    said = lambda: text(4) + rng.choice(["", "el gato", "der Hund", "\u0627\u0644\u0642\u0637", "\u4e2d\u6587\u3002\u5b57", "c\u1ee7a n\u00f3", "the cat"])
    doc = lambda: {"answers": many(rng.randrange(1, 3), said)}
    guess = lambda d: [rng.choice([said(), d["answers"][0]])]
    for folder in ("mlqa", "tydiqa"):
        functions = [f for f in vars(module(folder)) if f.startswith("process_results_") and not f.endswith("lang")]
        assert len(functions) in (7, 9)
        compare(folder, [(f"utils.{f}", [d, guess(d)]) for f in functions for d in many(25, doc)])
    docs = [{"id": f"{x}-1", "title": "", "context": "", "question": "", "answers": {"text": ["a"]}} for x in ("finnish", "arabic")]
    compare("mlqa", [("utils.process_docs", [docs])])
    compare("tydiqa", [("utils.process_docs_fi", [docs]), ("utils.process_docs_ar", [docs])])
    classes = ["a", "ab", "abc", "b"]
    listed = [("get_qa_f1_with_score", said, said), ("get_count_with_score", lambda: rng.choice(["3", "12"]), lambda: rng.choice(["3", "no", "12 or 3"]))]
    listed.append(("get_retrieval_with_score", lambda: f"Paragraph {rng.randrange(3)}", lambda: rng.choice(["Paragraph 1", "1, 2", "none"])))
    listed.append(("get_classification_with_score", lambda: rng.choice(classes), lambda: rng.choice(["abc b", "a", "none", "b ab"])))
    for name, gold, answer in listed:
        compare("longbench", [(f"metrics.{name}", [{"answers": many(2, gold), "all_classes": classes}, [answer()]]) for _ in range(40)])
    idiom = lambda: {"accepted_completions": many(2, said)}
    compare("noreval/noridiom", [("utils.process_results", [d, [rng.choice([said(), d["accepted_completions"][0]])]]) for d in many(40, idiom)])


# ---- generation of data sets ----


def test_ruler_scores():
    doc = lambda: {"max_length": rng.choice([4096, 8192]), "outputs": rng.sample(["12", "blue", "Cat", "river"], 3)}
    cases = [(f"common_utils.{f}", [doc(), [text() + rng.choice(["blue \x01 12", "CAT", ""])]]) for f in ("process_results", "process_results_part") for _ in range(20)]
    cases += [("common_utils.aggregate_metrics", [[-1, 0.5, 1.0]]), ("common_utils.aggregate_metrics", [[-1]])]
    compare("ruler", cases)


# ---- all of them ----


class Loader(yaml.SafeLoader):
    """A function is its name."""


Loader.add_constructor("!function", lambda loader, node: f"function {node.value}")


def definition(file):
    keys = yaml.load(file.read_text(encoding="utf-8"), Loader)
    included = keys.pop("include", None)
    return definition(file.parent / included) | keys if included else keys


def test_bundled_definitions():
    """data/tasks says what the harness's files of these tasks say. A template without its detour through a variable says the same."""
    ours = [definition(file) for file in sorted((ROOT / "data/tasks").rglob("*.yaml"))]
    folders = {file.parent.name for file in (ROOT / "data/tasks").rglob("*.yaml")} - {"boolq"} | {"super_glue/boolq"}
    name = lambda keys: keys["task"] if isinstance(keys.get("task"), str) else ("group", keys.get("group"))
    theirs = {name(keys): keys for folder in folders for file in (TASKS / folder).rglob("*.yaml") if (keys := definition(file))}
    theirs[("group", "minerva_math")] = definition(TASKS / "benchmarks/minerva_math.yaml")
    one = lambda value: value[0] if isinstance(value, list) and len(value) == 1 else value
    for keys in ours:
        real = theirs[name(keys)]
        for key in keys.keys() | real.keys():
            if "decontamination" in key or "decontaminate" in key or (name(keys) == "boolq" and key in ("tag", "metric_list")):
                continue
            a, b = one(keys.get(key)), one(real.get(key))
            if str(name(keys)).startswith("truthfulqa") and key == "doc_to_text":
                b = b.replace("{% set prompt_qa = '", "").replace("'%}{{prompt_qa + '\n\nQ: ' + question + '\nA:'}}", "\n\nQ: {{question}}\nA:")
            assert a == b, (name(keys), key)


@cache
def named_functions(file):
    """Keys of a task file and of what it includes, with the (folder, function) that each names; a key set again is not its include's."""
    own, key, included = {}, None, None
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        if head := re.match(r"""["']?([A-Za-z_]\w*)["']?\s*:(.*)""", line):
            key = head[1]
            own.setdefault(key, set())
            if key == "include":
                included = (file.parent / head[2].strip().strip("\"'")).resolve()
        if "!function" in line and not line.strip().startswith("#"):
            own[key] |= {(str(file.parent.relative_to(TASKS)), name) for name in re.findall(r"!function\s+[\"']?([\w./-]+)", line)}
    return named_functions(included) | own if included and included.is_file() else own


def test_share_of_task_files():
    """How many of the harness's task files that name Python functions have twins for all of them."""
    needs = []
    for file in TASKS.rglob("*.yaml"):
        keys = named_functions(file)
        if "task" in keys and ("group" not in keys or "dataset_path" in keys):
            needs.append(sorted(set().union(*keys.values())))
    asked = {name for names in needs for name in names}
    known = {(folder, name) for folder, name in asked if call(folder=folder, name=name, has=True)["value"]}
    with_python = [names for names in needs if names]
    served = [names for names in with_python if known.issuperset(names)]
    print(f"{len(needs)} task files, {len(with_python)} name Python, {len(served)} of them have twins: {len(served) / len(with_python):.1%}")
    assert len(served) / len(with_python) > 0.85
