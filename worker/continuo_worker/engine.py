"""The training loop of a job, on each rank."""

import contextlib
import json
import math
import os
import resource
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from . import PROTOCOL_VERSION
from .adapters import is_of_adapter
from .checkpoint import (
    Average,
    Checkpoints,
    Progress,
    Saved,
    keep_checkpoint,
    list_checkpoints,
    local,
    name_of,
    remove_leftovers,
    restore_checkpoint,
)
from .distillation import Distillation
from .errors import ConfigError, NonFiniteError, UserError
from .evaluate import score_set
from .job import Job, Sequence
from .model import load_model
from .penalty import Penalty
from .protocol import EXIT_FINISHED, EXIT_STOPPED, Control, LineLog, now, send, warn
from .ranks import Ranks
from .selection import TokenSelection
from .speed import Utilisation
from .storage import describe, free_bytes, free_memory, gigabytes

# Of job.json; a method that is not in here would silently not be applied.
KNOWN_KEYS = set(
    "formatVersion fingerprint model precision seed numSteps batch optimizer lora freeze ema routers guard selectTokens phases shards "
    "packing order numOrderedSteps heldOutElsewhere schedule checkpoint evaluation digests record recordAtEnd name".split()
)
ON_DIVERGENCE = (
    "Most often the LR is too high: lower recipe.peakLr (a third is a good first try) and run under another name; "
    "or try training.precision: f32."
)


ANSWER_SECONDS = 10
# Until a shared folder shows on this machine what was written on another one; NFS looks again after a minute at most.
ORDER_SECONDS = 60


class Interrupted(Exception):
    """Leaves an evaluation that a signal cut short: it is made again when the run goes on."""


class Training:
    def __init__(self, job_folder: Path, ranks: Ranks, recompute: str, attended: bool, unattended: bool) -> None:
        """`attended`: somebody judges every step. `unattended`: nobody is there at all, whatever the job would ask."""
        self.ranks = ranks
        self.attended = attended
        self.unattended = unattended
        self.run_folder = job_folder.parent
        self.control = Control(reads_stdin=ranks.is_first and not unattended, patient=unattended)
        self.say(
            type="hello",
            protocol=PROTOCOL_VERSION,
            engine="torch",
            kernels=f"torch {torch.__version__}, {torch.cuda.get_device_name() if ranks.uses_gpu else 'cpu'}",
            threads=torch.get_num_threads(),
            pid=os.getpid(),
        )
        self.job = Job(job_folder)
        self._check()
        self.model = load_model(self.job.data, ranks, recompute)
        self.job.num_rows = self.model.num_rows()
        self.optimizer = self._make_optimizer()
        self.average = Average(self.model, self.job.data["ema"]) if "ema" in self.job.data else None
        distills = "distill" in self.job.data.get("guard", {})
        self.distillation = Distillation(self.job, self.model, ranks, self._stack) if distills else None
        selects = "selectTokens" in self.job.data
        self.selection = TokenSelection(self.job, self.model, ranks, self._stack) if selects else None
        measures = ranks.uses_gpu and self.job.data["precision"] == "bf16"
        self.utilisation = Utilisation(self.model, self.job.data, ranks) if measures else None
        has_penalty = {"ewc", "l2"} & self.job.data.get("guard", {}).keys()
        self.penalty = Penalty(self.job, self.model, ranks) if has_penalty else None
        self.checkpoints = Checkpoints(
            self.job, self.run_folder, ranks, self.model, self.optimizer, self.average, self._kept
        )
        self.saves_beside = os.environ.get("CONTINUO_ASYNC_CHECKPOINTS", str(int(ranks.uses_gpu))) == "1"
        self.progress = Progress(0, 0)
        self.metrics, self.events = (
            (LineLog(self.run_folder / name) if ranks.is_first else None) for name in ("metrics.jsonl", "events.jsonl")
        )
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future[list[Sequence]]] | None = None

    def say(self, **message: Any) -> None:
        if self.ranks.is_first:
            send(message)

    def event(self, kind: str, **fields: Any) -> None:
        self._log(self.events, {"time": now(), "type": kind, **fields})

    def _log(self, log: LineLog | None, line: dict[str, Any]) -> None:
        if log is None:
            return
        waited = log.waits
        if (refused := log.append(line)) and not waited:
            warn(f"{log.name}: {describe(refused)}. Its lines wait in memory until they can be written.")

    def warn(self, message: str) -> None:
        """Kept in the run's events and, by way of stderr, said to the user."""
        self.event("warning", message=message)
        if self.ranks.is_first:
            warn(message)

    def _check(self) -> None:
        data, world = self.job.data, self.ranks.world
        guard = data.get("guard", {})
        unknown = sorted(set(data) - KNOWN_KEYS)
        unknown += [f"guard.{key}" for key in sorted(set(guard) - {"ewc", "l2", "distill"})]
        if guard.get("l2", {}).get("toward") == "init":
            unknown.append("guard.l2.toward: init")
        if unknown:
            raise ConfigError(f"the engine torch does not do this yet: {', '.join(unknown)}. Take engine: native.")
        for batch in [self.job.batch, *(self.job.batch_at(p["firstStep"]) for p in data["phases"])]:
            if batch.sequences_per_step % world:
                raise ConfigError(
                    f"a step of {batch.sequences_per_step} sequences cannot be divided among {world} ranks. "
                    f"Set training.batchTokens to a multiple of {world * batch.seq_len}, or take another number of ranks."
                )
        versions = self.ranks.gather(
            f"torch {torch.__version__}, protocol {PROTOCOL_VERSION}, job {self.job.fingerprint_at(self.job.num_steps)}"
        )
        if len(set(versions)) > 1:
            raise ConfigError(
                "the ranks differ: "
                + "; ".join(f"rank {i}: {text}" for i, text in enumerate(versions))
                + ". Install the same versions everywhere, and let all machines see the same job folder."
            )

    def _make_optimizer(self) -> torch.optim.Optimizer:
        """Matrices decay, vectors do not; embeddings and adapters may have a share of the LR of their own."""
        settings = self.job.data["optimizer"]
        tables = self.model.embeddings()
        of_adapters = self.job.data.get("lora", {}).get("lrFactor", 1)
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for name, parameter in self.model.trained().items():
            of_tables = settings.get("embeddingLrFactor", 1) if parameter in tables else 1
            factor = of_adapters if is_of_adapter(name) else of_tables
            # Biases of experts are stacked.
            decay = settings["weightDecay"] if parameter.ndim > 1 and not name.endswith("bias") else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
        if not groups:
            raise ConfigError("training.freeze: all of the model's tensors are frozen, so nothing would be trained.")
        return torch.optim.AdamW(
            [{"params": ps, "lr_factor": factor, "weight_decay": decay} for (factor, decay), ps in groups.items()],
            lr=0.0,
            betas=(settings["beta1"], settings["beta2"]),
            eps=settings["eps"],
            fused=True,
        )

    # --- the loop

    def run(self) -> int:
        job = self.job
        if self.ranks.is_first:
            remove_leftovers(self.run_folder)
        self.ranks.wait()
        newest = self.ranks.from_first((list_checkpoints(self.run_folder) or [None])[-1])
        if newest:
            self.progress = restore_checkpoint(job, newest[1], self.model, self.optimizer, self.average)
        if job.data["evaluation"].get("samples"):
            self.event("warning", message="the engine torch writes no samples: the alarm `writing` hears nothing.")
        for message in self.model.warnings:
            self.warn(message)
        kind = "resume" if newest else "start"
        peak = {"peak": self.utilisation.record} if self.utilisation else {}
        where = {"worldSize": self.ranks.world, "machine": socket.gethostname(), **peak}
        self.event(kind, step=self.progress.step, engine="torch", **where)
        self.say(type=kind, step=self.progress.step, numSteps=job.num_steps)
        self._check_room()
        self.evaluate()
        while self.progress.step < job.num_steps and not self.stopping() and self.has_order():
            self.announce_phase()
            metrics = self.step()
            self._log(self.metrics, metrics)
            self._tell({"type": "step", **metrics}, waits=self.attended)
            self.settle(wait=False)
            if self.is_checkpoint_due():
                self.checkpoint(needed=self.progress.step == job.num_steps or self.is_pause_due())
            self.evaluate()
            self.pause()
        if self.progress.step < job.num_steps or self.is_evaluation_due():
            if self.progress.step > 0:
                self.checkpoint()
            self.event("stop", step=self.progress.step, **self.memory())
            self.say(type="stopped", step=self.progress.step)
            return EXIT_STOPPED
        self.event("finish", step=self.progress.step, **self.memory())
        folder = self.run_folder / "checkpoints" / name_of(job.num_steps)
        self.say(type="finished", step=self.progress.step, folder=str(folder))
        return EXIT_FINISHED

    def _check_room(self) -> None:
        """Warns of what would go wrong at the first checkpoint."""
        needed, free = self.checkpoints.num_bytes, free_bytes(self.run_folder)
        if free is not None and free < needed:
            self.warn(
                f"{self.run_folder} lies on a disk with {gigabytes(free)} free, and a checkpoint takes about {gigabytes(needed)}: "
                "none can be written until there is more room."
            )
        local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        needed, memory = needed * local_world // self.ranks.world, free_memory()
        lacks = self.saves_beside and memory is not None and memory < needed
        if self.ranks.any(lacks):
            self.saves_beside = False
            self.warn(
                f"training stands still while a checkpoint is written: to write it beside the training takes about {gigabytes(needed)} "
                "of each machine's main memory, and a machine has less."
            )

    def stopping(self) -> bool:
        """The same answer on all ranks."""
        return self.ranks.any(self.control.stop_requested)

    def memory(self) -> dict[str, int]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        gpu = {"peakDeviceBytes": torch.cuda.max_memory_allocated()} if self.ranks.uses_gpu else {}
        return {"peakRssBytes": peak, **gpu}

    def announce_phase(self) -> None:
        phase = self.job.phase_at(self.progress.step)
        if phase["firstStep"] == self.progress.step:
            self.event("phase", step=self.progress.step, name=phase["name"], blend=phase["blend"])

    def has_order(self) -> bool:
        step = self.progress.step
        if self.job.is_ordered(step):
            return True
        self._tell({"type": "orderWanted", "step": step}, waits=not self.unattended)
        if self.stopping():
            return False
        if not self.job.is_ordered(step):
            raise UserError(
                f"the order of samples ends before step {step}, and none was decided when it was asked for."
            )
        return True

    def pause(self) -> None:
        if self.is_pause_due() and not self.stopping():
            folder = self.run_folder / "checkpoints" / name_of(self.progress.step)
            message = {"type": "paused", "step": self.progress.step, "folder": str(folder)}
            self._tell(message, waits=not self.unattended)

    def _tell(self, message: dict[str, Any], waits: bool) -> None:
        """Says what was recorded; where somebody attends the run, waits for what is to be done about it."""
        self.say(**message)
        if not waits:
            return
        while (answer := self._answer()) == "checkpoint":
            self.checkpoint()
            if self.ranks.is_first:
                keep_checkpoint(self.run_folder, self.progress.step)
        if answer == "stop":
            self.control.stop_requested = True
        self._take_amendments(wants_order=message["type"] == "orderWanted" and answer == "continue")

    def _take_amendments(self, wants_order: bool) -> None:
        """As rank 0 reads them: machines that share a folder may see a change of it at different moments."""
        added = b""
        if self.ranks.is_first:
            until = time.monotonic() + (ORDER_SECONDS if wants_order else 0)
            while not (added := self.job.unread()) and time.monotonic() < until:
                time.sleep(0.2)
        if self.job.amend(self.ranks.from_first(added)):
            # What was read ahead may be of an order that no longer holds.
            self._ahead = None

    def _answer(self) -> str:
        while True:
            # However long nobody answers, no rank waits longer than this for another one.
            answer = self.ranks.from_first(self.control.answer(ANSWER_SECONDS) if self.ranks.is_first else None)
            if answer is not None:
                return str(answer)
            self.ranks.beat("the wait for an answer")

    # --- a step

    def _read(self, step: int) -> list[Sequence]:
        count, world = self.job.batch_at(step).sequences_per_step, self.ranks.world
        return self.job.sequences(step, range(self.ranks.rank * count // world, (self.ranks.rank + 1) * count // world))

    def _sequences(self, step: int) -> list[Sequence]:
        """Of this rank; the next step's are read meanwhile, so that a step waits for none but the first."""
        ready = self._ahead[1].result() if self._ahead and self._ahead[0] == step else self._read(step)
        following = step + 1
        self._ahead = None
        if following < self.job.num_steps and self.job.is_ordered(following):
            self._ahead = (following, self._reader.submit(self._read, following))
        return ready

    def step(self) -> dict[str, Any]:
        job, step, start = self.job, self.progress.step, time.perf_counter()
        sequences = self._sequences(step)
        waited = time.perf_counter() - start
        size = _largest_divisor(len(sequences), job.batch_at(step).sequences_per_micro_batch)
        passes = [sequences[first : first + size] for first in range(0, len(sequences), size)]
        counts = [sum(int((sequence.targets >= 0).sum()) for sequence in micro) for micro in passes]
        kept = [self.selection.num_kept(count) for count in counts] if self.selection else counts
        num_targets, num_kept = self.ranks.sum(torch.tensor([sum(counts), sum(kept)])).tolist()
        if num_targets == 0:
            raise UserError(
                f"step {step} has no token that bears loss: its sequences hold no part of an answer. "
                "Raise training.seqLen or training.batchTokens, or let every token bear loss (objective: all)."
            )
        # FSDP averages gradients over the ranks, of which each has its part of the sum.
        # Of each pass at once: to add up whole gradients of several passes first would keep 4 bytes a parameter on every rank.
        share = self.ranks.world if isinstance(self.model, FSDPModule) else 1
        each, of_all = share / num_kept, share / num_targets
        corpora = sorted({shard.corpus for shard in job.shards})
        sums = torch.zeros(len(corpora), 2, dtype=torch.float64)
        self.model.train()
        found: list[torch.Tensor] = []
        for micro in passes:
            self.ranks.beat(f"step {step}")
            teacher = self.distillation.teach(micro, of_all) if self.distillation else None
            choose = self.selection.chooser(micro, each) if self.selection else None
            # Routers weigh their losses by these, too; where tokens are chosen, theirs come later.
            total, losses, divergences = self.model(*self._batch(micro, of_all), teacher, choose)
            total.backward()
            if self.distillation:
                self.distillation.add(divergences)
            found.append(losses)
        # Not before all passes are under way: to fetch a value, a GPU has to come to its end.
        for micro, losses in zip(passes, found, strict=True):
            _add_losses(sums, losses.cpu().double().view(size, -1), micro, corpora, job)
        self.ranks.sum(sums)
        loss = float(sums[:, 0].sum()) / num_targets
        norm = self._grad_norm()
        lr = job.lr_at(step)
        self._check_finite(step, loss, norm, lr)
        penalty = self._update(lr, norm)
        self.progress = Progress(step + 1, self.progress.tokens + num_targets)
        seconds = time.perf_counter() - start
        return {
            "step": step,
            "loss": loss,
            "lossByCorpus": {c: float(s / n) for c, (s, n) in zip(corpora, sums.tolist(), strict=True) if n > 0},
            "lr": lr,
            "gradNorm": norm,
            **({"penalty": penalty} if self.penalty else {}),
            "tokens": self.progress.tokens,
            "tokensPerSecond": num_targets / seconds,
            "stepMs": seconds * 1000,
            "dataMs": waited * 1000,
            **({"mfu": self._utilisation(step, seconds)} if self.utilisation else {}),
            "rssBytes": _rss_bytes(),
            "phase": job.phase_at(step)["name"],
            **(self.selection.take_means() if self.selection else {}),
            **(self.distillation.take_mean() if self.distillation else {}),
            **({"experts": self.model.routing.take_summary(self.ranks, share)} if self.model.routing else {}),
            **({"deviceBytes": torch.cuda.memory_allocated()} if self.ranks.uses_gpu else {}),
        }

    def _utilisation(self, step: int, seconds: float) -> float:
        batch = self.job.batch_at(step)
        return self.utilisation.of(batch.sequences_per_step * batch.seq_len, batch.seq_len, seconds)

    def _batch(self, sequences: list[Sequence], weight: float) -> tuple[torch.Tensor, ...]:
        """Inputs, positions, targets and weights, [sequences, seq_len]."""
        inputs, positions, targets = self._stack(sequences)
        weights = torch.full(targets.shape, weight, dtype=torch.float32, device=self.ranks.device)
        return inputs, positions, targets, weights

    def _stack(self, sequences: list[Sequence]) -> list[torch.Tensor]:
        """Inputs, positions and targets, [sequences, seq_len]."""
        stacked = (
            np.stack([getattr(sequence, name) for sequence in sequences]) for name in ("inputs", "positions", "targets")
        )
        values = (torch.from_numpy(one) for one in stacked)
        if self.ranks.uses_gpu:
            # From memory that stays where it is a copy goes on beside the computing, and half as many bytes go.
            values = (one.pin_memory().to(self.ranks.device, non_blocking=True) for one in values)
        return [one.long() for one in values]

    def _grad_norm(self) -> float:
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    @torch.no_grad()
    def _update(self, lr: float, norm: float) -> float:
        """The penalty's gradient comes after clipping, which is the data's alone. Returns the penalty before the step, nats."""
        clip = self.job.data["optimizer"]["clipNorm"]
        scale = min(1.0, clip / (norm + 1e-6)) if clip > 0 else 1.0
        if scale < 1:
            torch._foreach_mul_([local(p.grad) for p in self.model.parameters() if p.grad is not None], scale)
        penalty = self.penalty.add() if self.penalty else 0.0
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update()
        return penalty

    def _newest(self) -> str:
        checkpoints = list_checkpoints(self.run_folder)
        return str(checkpoints[-1][1]) if checkpoints else "the model that the run began with"

    def _check_finite(self, step: int, loss: float, norm: float, lr: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        self.settle(wait=True)
        what = "gradient norm" if math.isfinite(loss) else "loss"
        raise NonFiniteError(
            step,
            f"training stopped at step {step}: the {what} is not a number (loss {loss}, gradient norm {norm}, LR {lr:.2e}). "
            f"The weights were not touched by this step; the newest checkpoint is {self._newest()}. {ON_DIVERGENCE}",
        )

    # --- checkpoints and evaluations

    def is_checkpoint_due(self) -> bool:
        step, rule = self.progress.step, self.job.data["checkpoint"]
        return (
            step == self.job.num_steps
            or step % rule["everySteps"] == 0
            or step in rule.get("always", [])
            or self.is_pause_due()
            # Any step that is measured may turn out to be the best.
            or ("best" in rule and self.is_evaluation_due())
        )

    def is_pause_due(self) -> bool:
        step = self.progress.step
        measured = self.run_folder / "evals" / f"tasks-{name_of(step)}.json"
        due = step in self.job.data["evaluation"].get("pauses", []) and not measured.exists()
        return bool(self.ranks.from_first(due))

    def checkpoint(self, needed: bool = True) -> None:
        """`needed`: a run cannot go on without it. Others may be written beside the training, and are tried again at the next due step."""
        self.settle(wait=True)
        newest = self.ranks.from_first((list_checkpoints(self.run_folder) or [(0, None)])[-1])
        if newest[0] == self.progress.step:
            return
        self._check_weights()
        saved = self.checkpoints.save(self.progress, beside=self.saves_beside and not needed)
        if saved:
            self._conclude(saved, needed)

    def settle(self, wait: bool) -> None:
        """Looks whether a checkpoint that is written beside the training is there."""
        if saved := self.checkpoints.settle(wait):
            self._conclude(saved, needed=False)

    def _conclude(self, saved: Saved, needed: bool) -> None:
        step, folder = saved.step, saved.folder
        if saved.failure is None:
            seconds = {"seconds": saved.stood_still, "secondsUntilSafe": saved.until_safe}
            self.event("checkpoint", step=step, folder=str(folder.relative_to(self.run_folder)), **seconds)
            self.say(type="checkpoint", step=step, folder=str(folder), **seconds)
            return
        kept = f"The newest checkpoint is {self._newest()}."
        if needed:
            raise UserError(
                f"{saved.failure} {kept} Nothing that was complete is lost: free some space and run the same command again."
            )
        self.warn(f"the checkpoint of step {step} was not written: {saved.failure} {kept} The next one is tried when it is due.")

    def _kept(self) -> set[int]:
        """Which of the measured steps is the best one is judged elsewhere: until then all of them stay."""
        rule = self.job.data["checkpoint"]
        measured = (self.run_folder / "evals").glob("step-*.json") if "best" in rule else []
        return {*rule.get("always", []), *(int(file.stem.removeprefix("step-")) for file in measured)}

    def _check_weights(self) -> None:
        """A checkpoint that holds an infinity or NaN would push the good ones out."""
        names, sound = [], []
        for name, parameter in self.model.named_parameters():
            names.append(name.removeprefix("model."))
            sound.append(torch.isfinite(local(parameter)).all())
        broken = self.ranks.sum((~torch.stack(sound)).cpu().long()).nonzero().flatten().tolist()
        if broken:
            raise UserError(
                f"training stopped after {self.progress.step} steps: {names[broken[0]]} holds values that are "
                f"not numbers, so no checkpoint was written. The newest one is {self._newest()}. {ON_DIVERGENCE}"
            )

    def _evaluation_file(self, prefix: str = "") -> Path:
        return self.run_folder / "evals" / f"{prefix}{name_of(self.progress.step)}.json"

    def is_evaluation_due(self) -> bool:
        """Before, every so many steps, and after; a result that exists already (before a resume) is kept."""
        step, rule = self.progress.step, self.job.data["evaluation"]
        due = step in (0, self.job.num_steps) or step % rule["everySteps"] == 0
        return bool(self.ranks.from_first(due and len(rule["sets"]) > 0 and not self._evaluation_file().exists()))

    def evaluate(self) -> None:
        if not self.is_evaluation_due():
            return
        try:
            with contextlib.suppress(Interrupted):
                self._score_sets()
        finally:
            # A checkpoint may follow at once.
            self._reshard()

    @torch.no_grad()
    def _losses_of(self, sequences: list[Sequence]) -> torch.Tensor:
        if self.stopping():
            raise Interrupted
        losses = self.model(*self._batch(sequences, 0.0))[1]
        return losses.cpu().double().view(len(sequences), -1)

    def _score_sets(self) -> None:
        sets, step = self.job.data["evaluation"]["sets"], self.progress.step
        # Before the first step the average is the weights.
        scores_average = self.average is not None and step > 0
        total = sum(s["order"]["numSequences"] for s in sets) * (2 if scores_average else 1)
        done = 0
        documents: dict[str, Any] = {}

        def score() -> dict[str, Any]:
            nonlocal done
            results = {}
            for one in sets:

                def tick(in_set: int, before: int = done) -> None:
                    self.ranks.beat(f"the evaluation after step {step - 1}" if step else "the evaluation before step 0")
                    self.say(type="evalProgress", step=step, done=before + in_set, total=total)

                results[one["name"]], nats = score_set(self.job, self.ranks, one, self._losses_of, tick)
                done += one["order"]["numSequences"]
                documents.setdefault(one["name"], {"bytes": self.job.eval_bytes(one).tolist(), "nats": nats})
            return results

        self.model.eval()
        result: dict[str, Any] = {"step": step, "time": now(), "sets": score()}
        if scores_average:
            self._reshard()
            self.average.exchange()
            try:
                result["ema"] = score()
            finally:
                self._reshard()
                self.average.exchange()
        if self.ranks.is_first:
            _write_json(self._evaluation_file("documents-"), {"step": step, "sets": documents})
            _write_json(self._evaluation_file(), result)
        bits = {key: {n: s["bitsPerByte"] for n, s in result[key].items()} for key in ("sets", "ema") if key in result}
        self.event(
            "eval", step=step, bitsPerByte=bits["sets"], **({"emaBitsPerByte": bits["ema"]} if "ema" in bits else {})
        )
        self.ranks.wait()
        self._tell({"type": "eval", **result}, waits=self.attended)

    def _reshard(self) -> None:
        """A pass without gradients leaves the outermost weights gathered."""
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def _add_losses(
    sums: torch.Tensor, losses: torch.Tensor, sequences: list[Sequence], corpora: list[str], job: Job
) -> None:
    """Nats and tokens by corpus; `losses` [sequences, seq_len]."""
    place = torch.tensor([corpora.index(shard.corpus) for shard in job.shards])
    for row, sequence in enumerate(sequences):
        bears = torch.from_numpy(sequence.targets >= 0)
        corpus = place[torch.from_numpy(sequence.shard)[bears].long()]
        sums[:, 0].index_add_(0, corpus, losses[row][bears])
        sums[:, 1].index_add_(0, corpus, torch.ones(len(corpus), dtype=torch.float64))


def _largest_divisor(count: int, limit: int) -> int:
    return next(size for size in range(min(count, limit), 0, -1) if count % size == 0)


def _rss_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def _write_json(file: Path, value: object) -> None:
    temporary = file.with_name(f"{file.name}.tmp")
    try:
        file.parent.mkdir(exist_ok=True)
        with temporary.open("w") as stream:
            stream.write(json.dumps(value, indent=2) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        # Of a write that is refused the system does not say the name.
        raise OSError(error.errno, error.strerror, str(file)) from error
