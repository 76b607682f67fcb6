"""What datatrove's filters decide, for test/corpus/steps/agreement.test.ts:

    pip install datatrove[processing]==0.10.1 spacy==3.8.18
    node test/corpus/steps/variants.mjs | python test/python/datatrove_fixtures.py > test/corpus/fixtures/datatrove.json

Words are parted by white space, as ours are; with --tokenizer they are datatrove's own (spaCy's), for comparison. Sentences are spaCy's.
A decision is the filter's reason, or null for a document that stays.
"""

import json
import sys
from importlib.metadata import version

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)

FILTERS = {
    "gopher-quality": GopherQualityFilter(),
    "gopher-repetition": GopherRepetitionFilter(),
    "c4": C4QualityFilter(filter_no_terminal_punct=False),
    "fineweb": FineWebQualityFilter(),
}


def main():
    if "--tokenizer" not in sys.argv:
        for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
            module.split_into_words = lambda text, language: text.split()
    decisions = {}
    for line in sys.stdin:
        given = json.loads(line)
        row = []
        for rule in FILTERS.values():
            result = rule.filter(Document(text=given["text"], id=given["id"]))
            row.append(None if result is True else result[1])
        decisions[given["id"]] = row
    print(json.dumps({"datatrove": version("datatrove"), "filters": list(FILTERS), "decisions": decisions}))


if __name__ == "__main__":
    main()
