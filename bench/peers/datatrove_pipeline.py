"""datatrove's pipeline as bench/corpus.mjs calls it, after examples/fineweb.py and examples/tokenize_c4.py: filters, MinHash in four stages, tokens.

Arguments: a folder of JSON lines {"id", "text"}, an empty folder, a tokenizer.json, the number of workers; "spaces" for filters that count
words between white space, "tokenizer" for datatrove's own. The last line of stdout: wall and CPU seconds of each stage, of all its processes.
"""
import json
import resource
import sys
import time


def cpu_seconds():
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def count_words_between_spaces(data, rank, world_size):
    """A step of the pipeline, since each worker process has modules of its own."""
    from datatrove.pipeline.filters import fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter

    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = lambda text, language: text.split()
    return data


def main():
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter
    from loguru import logger

    logger.remove()
    source, work, tokenizer, number, words = sys.argv[1:6]
    workers = int(number)
    config = MinhashConfig()
    seconds, cpu = {}, {}

    def stage(name, pipeline, tasks=workers):
        wall_start, cpu_start = time.perf_counter(), cpu_seconds()
        # Not the forkserver: its children's seconds are counted when it ends.
        LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=workers, logging_dir=f"{work}/logs/{name}", start_method="spawn"
        ).run()
        seconds[name] = time.perf_counter() - wall_start
        cpu[name] = cpu_seconds() - cpu_start

    stage(
        "clean",
        [
            JsonlReader(source, glob_pattern="*.jsonl"),
            *([count_words_between_spaces] if words == "spaces" else []),
            # The cheap before the dear, as the other side does; the same documents pass.
            GopherQualityFilter(),
            GopherRepetitionFilter(),
            C4QualityFilter(filter_no_terminal_punct=False),
            FineWebQualityFilter(),
            JsonlWriter(f"{work}/cleaned", compression=None),
        ],
    )
    stage("signatures", [JsonlReader(f"{work}/cleaned"), MinhashDedupSignature(f"{work}/signatures", config=config)])
    stage(
        "buckets",
        [MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)],
        tasks=config.num_buckets,
    )
    stage("cluster", [MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)], tasks=1)
    stage(
        "filter",
        [
            JsonlReader(f"{work}/cleaned"),
            MinhashDedupFilter(f"{work}/remove"),
            JsonlWriter(f"{work}/kept", compression=None),
        ],
    )
    stage(
        "tokenize",
        [
            JsonlReader(f"{work}/kept"),
            DocumentTokenizer(
                f"{work}/tokens",
                tokenizer_name_or_path=tokenizer,
                eos_token="<|endoftext|>",
                shuffle_documents=False,
            ),
        ],
    )
    print(json.dumps({"seconds": seconds, "cpuSeconds": cpu}))


if __name__ == "__main__":
    main()
