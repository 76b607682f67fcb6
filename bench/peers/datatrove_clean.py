"""datatrove's filters as bench/clean.mjs calls them: FineWeb's, in its order, in one process.

Arguments: a JSON lines file of {"text": ...}; "spaces" for words between white space, "tokenizer" for datatrove's own. The last line of
stdout: CPU seconds, and the numbers of the documents that stay.
"""
import json
import sys
import time

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

source, words = sys.argv[1:3]
if words == "spaces":
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = lambda text, language: text.split()
filters = [
    GopherRepetitionFilter(),
    GopherQualityFilter(),
    C4QualityFilter(filter_no_terminal_punct=False),
    FineWebQualityFilter(),
]
with open(source, encoding="utf-8") as file:
    documents = [Document(text=json.loads(line)["text"], id=str(i)) for i, line in enumerate(file)]
# Loading the tokenizers does not count.
for rule in filters:
    rule.filter(Document(text="Warm up the word tokenizer. Then the sentences.", id="warm"))
start = time.process_time()
kept = [i for i, document in enumerate(documents) if all(rule.filter(document) is True for rule in filters)]
print(json.dumps({"cpuSeconds": time.process_time() - start, "kept": kept}))
