"""NeMo Automodel's training by config.yaml, with the LR of each step from the job in place of `lr_scheduler`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from nemo_automodel.components.config._arg_parser import parse_args_and_load_config  # noqa: E402
from nemo_automodel.components.config.loader import set_enable_user_modules  # noqa: E402
from nemo_automodel.components.optim.scheduler import OptimizerParamScheduler  # noqa: E402
from nemo_automodel.recipes.llm.train_ft import TrainFinetuneRecipeForNextTokenPrediction  # noqa: E402

from continuo_run.data import make_get_lr  # noqa: E402
from continuo_run.job import Job  # noqa: E402

# The dataset of config.yaml is continuo_run.data.JobDataset.
set_enable_user_modules(True)
OptimizerParamScheduler.get_lr = make_get_lr(Job(HERE / "job", shards=HERE / "shards"))
recipe = TrainFinetuneRecipeForNextTokenPrediction(parse_args_and_load_config(str(HERE / "config.yaml")))
recipe.setup()
recipe.run_train_validation_loop()
