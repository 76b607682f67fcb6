"""Megatron-LM's pretrain_gpt.py as it is, with the job's sequences and LRs in place of its own. MEGATRON names its checkout."""

import os
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MEGATRON = Path(os.environ["MEGATRON"])
sys.path[:0] = [str(MEGATRON), str(HERE)]

from continuo_run.data import END_STEP, make_builder, make_get_lr  # noqa: E402
from continuo_run.job import Job  # noqa: E402
from megatron.core.datasets import blended_megatron_dataset_builder  # noqa: E402
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler  # noqa: E402

job = Job(HERE / "job", shards=HERE / "shards")
# pretrain_gpt.py takes both by these names when it is run.
blended_megatron_dataset_builder.BlendedMegatronDatasetBuilder = make_builder(job, int(os.environ[END_STEP]))
OptimizerParamScheduler.get_lr = make_get_lr(job)
runpy.run_path(str(MEGATRON / "pretrain_gpt.py"), run_name="__main__")
