"""Train, measure on the tune rows as it goes, keep the best: what finetune, distill and the recovery after prune share."""

import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from penjing.core.contracts import Example, Task
from penjing.core.model_dir import CHECKPOINTS
from penjing.core.progress import progress, say
from penjing.core.runtime import Runtime
from penjing.core.stopping import Stopped, stopping
from penjing.core.training import Training
from penjing.engine.augment import augmented
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.batches import Encoded
from penjing.engine.board import Board
from penjing.engine.checkpoints import Checkpoints, Files, num_bytes, training_key
from penjing.engine.corpus import Packed
from penjing.engine.curve import Curve
from penjing.engine.dropping import dropping
from penjing.engine.foreseen import Plan
from penjing.engine.heap import give_back
from penjing.engine.load import Loaded
from penjing.engine.measure import best_way
from penjing.engine.parallel import Group
from penjing.engine.room import choose_batch
from penjing.engine.sharding import ShardFiles
from penjing.engine.threads import fastest, next_threads, thread_counts, torch_threads, untried
from penjing.engine.train import Loss, State, Step, train
from penjing.engine.watch import Watch
from penjing.engine.words import amount, title
from penjing.methods.finetune import Learner, whole

MOST_MEASUREMENTS = 20
Weights = dict[str, torch.Tensor] | None


@dataclass
class Run:
    """What has been decided and noted of a training; with the state of the loop, what its checkpoints hold.

    precision              chosen where the training began, kept wherever it goes on
    batch                  as this: most rows and tokens of a batch
    counts, tried          thread counts to choose from; those of its first steps, and what these took for each unit of length
    losses                 of all steps so far
    curve                  a point for each time the tune rows were measured
    sum_loss, num_steps    of the steps since then
    waited                 times since they were measured best
    quality, decision      of that time: their primary metric, and how outputs became answers
    best_step, weights     after which step that was, and on rank 0 what the weights were
    seconds                that it has taken until it was saved
    """

    precision: str
    batch: tuple[int, int]
    counts: list[int]
    tried: list[tuple[int, float]] = field(default_factory=list)
    losses: Curve = field(default_factory=Curve)
    curve: list[dict[str, float]] = field(default_factory=list)
    sum_loss: float = 0.0
    num_steps: int = 0
    waited: int = 0
    quality: float = -math.inf
    decision: dict[str, float] = field(default_factory=dict)
    best_step: int = 0
    weights: Weights = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the weights, which have a file of their own, are left out."""
        return {**vars(self), "losses": vars(self.losses), "weights": None}

    @classmethod
    def from_dict(cls, saved: dict[str, Any], weights: Weights) -> "Run":
        """What `to_dict` gave, with the best weights."""
        losses = Curve()
        vars(losses).update(saved["losses"])
        return cls(**{**saved, "losses": losses, "weights": weights})

    def over(self, options: Training) -> bool:
        """Whether it has waited too long for something better."""
        return 0 < options.patience <= self.waited

    def note(self, step: Step) -> None:
        """One more step."""
        self.losses.note(step.number, step.seconds, step.loss)
        self.sum_loss, self.num_steps = self.sum_loss + step.loss, self.num_steps + 1
        if threads := untried(self.counts, self.tried):
            self.tried.append((threads, (step.seconds - step.waited) / step.length))

    def measured(self, step: Step, quality: float, decision: dict[str, float], whole: Callable[[], Weights]) -> None:
        """The tune rows were measured after this step; what does best is kept, of equals the last."""
        self.curve.append({"epoch": round(step.epoch, 3), "loss": self.sum_loss / self.num_steps, "tune": quality})
        self.sum_loss, self.num_steps, self.waited = 0.0, 0, self.waited + 1
        if quality >= self.quality:
            self.quality, self.decision, self.waited = quality, decision, 0
            self.best_step, self.weights = step.number, whole()


def fit(
    loaded: Loaded, loss: Loss, train_rows: Sequence[Example] | Packed, tune_rows: Sequence[Example], options: Training, runtime: Runtime,
    out: Path, repeats: int = 1, learner: Learner | None = None, strengths: Sequence[float] = (1.0,),
    looks: int | None = None, show: Callable[[PreTrainedModel], None] | None = None,
    teacher: PreTrainedModel | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train `loaded.model` and leave it with the weights that did best on the tune rows, in its own architecture.

    out       folder of the output that is being made; where it holds a checkpoint of this training, the training goes on from there
    repeats   how many times a batch holds its rows, as `loss` wants them
    learner   what a method of finetune made of the model; where None, every weight learns
    strengths of the augmentation, as shares of what was chosen: a batch holds its rows augmented by each, one copy after the other
    looks     how many times the tune rows are measured, evenly spread; where None, when epochs end
    show      is handed the model each time they have been
    teacher   whom `loss` asks about each batch, for the plan

    Returns the facts of the run for the report: curve, losses, best epoch, what learnt, precision, threads, seconds.

    Raises Stopped after an update where a signal asked for it, OptionError where the disk has no room for a checkpoint.
    """
    learner = learner or whole(loaded.model)
    task, processor = loaded.task if isinstance(train_rows, Packed) else loaded.task.learn_decision(train_rows), loaded.processor
    encoded = _read(train_rows, loaded, options, runtime, strengths)
    tuning = Encoded(tune_rows, task, processor)
    plan = Plan(runtime.device)
    state, run, kept = _begin(learner, loss, encoded, options, runtime, out, repeats)
    learnt = num_learning(state)
    after = f", going on after step {state.number:,}" if state.number else ""
    how = f"{run.precision}, {' or '.join(map(str, run.counts))} threads{after}"
    say(f"training {learnt:,} parameters on {len(encoded):,} {encoded.unit}, {state.steps:,} steps, {how}", runtime.quiet)
    first = state.group.rank == 0
    if first:
        plan.begin(state, run.batch, repeats * (len(strengths) if options.augment else 1), teacher)
    board = Board(out / CHECKPOINTS, state, task, tune_rows, runtime.quiet) if options.tensorboard and first else None
    with torch_threads(max(run.counts)):  # what the processor can do is what all its cores can
        watch = Watch(state, out / CHECKPOINTS, runtime.quiet, board)
    started = time.perf_counter() - run.seconds
    with dropping(state.model, options.dropout), progress("training", state.steps, runtime.quiet) as shown, stopping() as asked:
        shown.step(state.number)
        for step in () if run.over(options) else train(state, loss):
            run.note(step)
            torch.set_num_threads(next_threads(run.counts, run.tried))
            shown.step(**watch.note(step))
            if _due(step, state, looks):
                _measure(state, run, watch, step, task, tuning, tune_rows, show)
                said = amount(task.primary, run.curve[-1]["tune"])
                say(f"epoch {step.epoch:.3g}: {title(task.primary)} {said} on the tune rows", runtime.quiet or not first)
            stop, save = state.group.agreed(asked.number is not None, first and kept.due())
            if state.joins and (save or (stop and kept.due(asked=True))):
                watch.settle()
                run.seconds = time.perf_counter() - started
                kept.save(step.number, state.to_dict(), run.to_dict(), (run.best_step, run.weights))
            if stop:
                raise Stopped(
                    asked.number or signal.SIGTERM, f"after step {step.number:,} of {state.steps:,}; the same command {kept.outlook()}"
                )
            if run.over(options):
                break
    torch.set_num_threads(fastest(run.counts, run.tried))
    state.group.leave()
    watch.hand_over(out)
    planned = plan.kept(run.losses.points)
    state.release()
    if run.weights:
        learner.model.load_state_dict(run.weights)
        loaded.task = task.of(run.decision)
    loaded.model = learner.plain().eval()
    loaded.model.config.update(loaded.task.decision)
    facts = {"learnt": {"parameters": learnt, "share": learnt / loaded.parameters, "note": learner.note}, "hints": watch.hints}
    return {**facts, **_told(run, encoded, task), "plan": planned, "seconds": round(time.perf_counter() - started, 2)}


def _told(run: Run, encoded: Encoded | Packed, task: Task) -> dict[str, Any]:
    """What a report says of a run that is over."""
    return {
        "curve": run.curve,
        "losses": run.losses.points,
        "metric": task.primary,
        "best_epoch": max(run.curve, key=lambda point: (point["tune"], point["epoch"]))["epoch"] if run.curve else 0,
        "precision": run.precision,
        "threads": fastest(run.counts, run.tried),
        "batch": run.batch,
        "rows_at_limit": encoded.at_limit,
        "rows_at_limit_estimated": not encoded.known,
    }


def _read(
    rows: Sequence[Example] | Packed, loaded: Loaded, options: Training, runtime: Runtime, strengths: Sequence[float]
) -> Encoded | Packed:  # fmt: skip
    """What the training reads of its rows."""
    if isinstance(rows, Packed):
        return rows
    views = augmented(loaded.task, options, runtime.seed, strengths)
    return Encoded(rows, loaded.task, loaded.processor, quiet=runtime.quiet, views=views)


def _due(step: Step, state: State, looks: int | None) -> bool:
    """Whether the tune rows are measured after this step."""
    if looks:
        return step.number * looks // state.steps > (step.number - 1) * looks // state.steps
    every = max(1, round(state.options.epochs / MOST_MEASUREMENTS))
    return step.number == state.steps or (step.epoch_ends and round(step.epoch) % every == 0)


def _measure(
    state: State, run: Run, watch: Watch, step: Step, task: Task, tuning: Encoded, rows: Sequence[Example], show: Any
) -> None:  # fmt: skip
    """How well the tune rows are answered after a step, on all ranks the same; what does best is kept."""
    give_back()
    with state.settled():
        found = best_way(TorchBackend(state.model), task, tuning, rows) if state.joins else (task, 0.0, ())
        quality, decision = state.group.from_first((float(found[1]), found[0].decision))
        run.measured(step, quality, decision, state.whole)
        if show and state.joins:
            show(state.model)
    watch.measured(quality, found[2])


def _begin(
    learner: Learner, loss: Loss, encoded: Encoded | Packed, options: Training, runtime: Runtime, out: Path, repeats: int
) -> tuple[State, Run, Checkpoints]:  # fmt: skip
    """Where the training stands: at its beginning, or at the last checkpoint that can be used, with what was decided then."""
    key = training_key(learner, encoded, options, runtime, repeats)
    group, size = Group(runtime.device), num_bytes(learner.model.state_dict())
    folder, files = Path(group.from_first(str(out / CHECKPOINTS))), ShardFiles(group) if options.sharded else Files()
    kept = Checkpoints(folder, key, options.checkpoint_every, size, files)
    found = kept.latest() if group.rank == 0 else None
    if saved := group.from_first(found and {**found, "best": None}):
        run = Run.from_dict(saved["run"], found and found["best"])
        decided = replace(options, precision=run.precision)  # type: ignore[arg-type]  # it was one of them when it was saved
        state = State(learner, encoded, decided, runtime, repeats)
        state.cut(*run.batch)
        state.from_dict(files.filled(saved))
    else:
        state = State(learner, encoded, options, runtime, repeats)
        batch = choose_batch(state, loss)
        state.cut(*batch)
        run = Run(state.precision, batch, thread_counts(runtime.threads, group.size))
    torch.set_num_threads(next_threads(run.counts, run.tried))
    return state, run, kept


def num_learning(state: State) -> int:
    """How many numbers learn before the training is over: what would begin later does not count."""
    begun = [name for name, rate in state.learner.rates.items() if rate.begins * state.epoch_steps < state.steps]
    return sum(state.model.get_parameter(name).numel() for name in begun)
