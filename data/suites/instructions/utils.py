# For lm-evaluation-harness itself, which scores these prompts with its own IFEval; Continuo uses src/eval/instructions.
from lm_eval.tasks.ifeval.utils import agg_inst_level_acc, process_results  # noqa: F401
