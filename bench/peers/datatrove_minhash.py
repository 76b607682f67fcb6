"""datatrove's MinHash deduplication as bench/dedup.mjs calls it: signatures, buckets, clusters, in one process.

Arguments: a JSON lines file of {"text": ...}, an empty folder. The last line of stdout: seconds of each stage (wall and CPU), peak memory
and the numbers of the documents that it removes.
"""
import glob
import json
import resource
import struct
import sys
import time

from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
from loguru import logger

logger.remove()
source, folder = sys.argv[1:3]
config = MinhashConfig()  # 5-grams, 14 buckets of 8 hashes, 64 bits: FineWeb's
with open(source, encoding="utf-8") as file:
    texts = [json.loads(line)["text"] for line in file]
signatures = MinhashDedupSignature(f"{folder}/signatures", config=config, language="en")
# Loading the word tokenizer does not count.
signatures.get_shingles("warm up the word tokenizer with some words")

seconds, cpu = {}, {}


def timed(name, call):
    wall_start, cpu_start = time.perf_counter(), time.process_time()
    call()
    seconds[name] = time.perf_counter() - wall_start
    cpu[name] = time.process_time() - cpu_start


documents = (Document(text=text, id=str(i)) for i, text in enumerate(texts))
timed("signatures", lambda: signatures.run(documents, 0, 1))


def search():
    for rank in range(config.num_buckets):
        MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config).run(None, rank, config.num_buckets)
    MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=config).run(None, 0, 1)


timed("search", search)
removed = []
for name in glob.glob(f"{folder}/remove/*.remove"):
    with open(name, "rb") as file:
        removed += [index for (index,) in struct.iter_unpack("<I", file.read())]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "cpuSeconds": cpu, "peakBytes": peak, "removed": sorted(removed)}))
