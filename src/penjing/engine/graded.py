"""Plans held against runs that really happened: each is told by all others, and the errors must stay within bars.

The table is `tables/graded_runs.csv`. Time is `maths.roofline`, memory `maths.layout`; nothing in either knows of a row.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from penjing.core.model_dir import NEW
from penjing.core.runtime import Runtime
from penjing.core.tables import Device, Run, device, runs
from penjing.engine import counted, create
from penjing.maths import cost, layout, roofline
from penjing.maths.cost import PRECISIONS, Shape
from penjing.maths.layout import Layout
from penjing.maths.roofline import Work

LEVEL = 0.8  # of the prediction interval
TIME_MEDIAN, COVERED, MEMORY_MEDIAN, MEMORY_WORST = 0.15, (0.75, 0.90), 0.07, 0.20
LEARNT = {"full": 1.0, "lora": 0.0}  # share of the weights


class Row(NamedTuple):
    """A run, and what is told of it by the others: seconds a step with an interval, and bytes of the fullest rank where it states them."""

    run: Run
    seconds: float
    told_s: float
    low_s: float
    high_s: float
    told_bytes: float | None

    @property
    def time_error(self) -> float:
        """As a share of what happened, above 0 where too much was told."""
        return self.told_s / self.seconds - 1

    @property
    def memory_error(self) -> float | None:
        """The same of memory; None where the source states none."""
        if self.run.memory_gib is None or self.told_bytes is None:
            return None
        return self.told_bytes / (self.run.memory_gib * 2**30) - 1


class Bar(NamedTuple):
    """A number that must hold."""

    name: str
    value: float
    low: float
    high: float
    rows: int

    @property
    def held(self) -> bool:
        """Whether it does."""
        return self.low <= self.value <= self.high


@functools.cache
def _model(name: str, image: str) -> counted.Counted:
    if not image:
        return counted.counted(name, Runtime())
    height, width, channels = map(int, image.split("x"))
    return counted.counted_config(create.of_size(name.removeprefix(NEW), image_size=(height, width), channels=channels))


def shape(run: Run) -> Shape | None:
    """The numbers of a run's model; None for a network that is no Transformer."""
    if run.layers is None:
        found = _model(run.model, run.image).shape
        return found and dataclasses.replace(found, head=run.stage == "pretrain")  # what is finetuned has a head of labels
    return Shape(
        run.layers, run.hidden or 0, run.heads or 0, run.feed_forward or 0, run.vocabulary or 0, kv_heads=run.kv_heads or 0,
        head_size=run.head_size or 0, gated=run.gated, tied=run.tied,
    )  # fmt: skip


def laid_out(run: Run) -> Layout:
    """How its ranks shared model and rows."""
    data = run.ranks // (run.tensor * run.pipeline * run.context)
    return Layout(
        data=data, sharded=run.sharded, tensor=run.tensor, pipeline=run.pipeline, interleaved=run.interleaved, context=run.context,
        part_rows=run.part_rows, parts=run.batch_rows // (data * run.part_rows), checkpointing=run.checkpointing,
        fused=run.attention == "flash",
    )  # fmt: skip


def work(run: Run) -> Work:
    """What a rank did in a step."""
    found, precision, learnt = shape(run), PRECISIONS[run.states], LEARNT[run.method]
    if found:
        return roofline.work(found, laid_out(run), run.length, precision, learnt=learnt)
    model = _model(run.model, run.image)
    once, again = counted.forward(model.model, run.part_rows), run.checkpointing == "full"
    numbers = model.parameters.total * (precision.weight + precision.gradient + precision.optimizer)
    return Work(once.flops * (2 + learnt + again), 0.0, 0.0, once.kept * (3 + again) + roofline.OPTIMIZER_PASSES * numbers)


def seconds(run: Run) -> float:
    """Of a step, from what was published.

    Operations are counted as the source does: three forward passes, all scores, and with recomputation where it says so.
    """
    tokens = run.batch_rows * run.length / run.ranks
    if run.measure == "s/step":
        return run.value
    if run.measure == "tokens/s/device":
        return tokens / run.value
    found = shape(run)
    assert found is not None, f"{run.name} states operations of a network that is no Transformer"
    counts = run.measure.endswith("recomputation")
    return cost.training_flops(found, run.length, run.checkpointing if counts else "none") * tokens / run.value / 1e12


class Pace(NamedTuple):
    """Seconds of a step that is planned, with the ends of an interval around them.

    unseen   of what is sent beside the computing the seconds beyond what any graded run sends in a second of computing: `high_s` takes them
             as waited for, because no run has shown that they can be hidden
    """

    low_s: float
    told_s: float
    high_s: float
    unseen_s: float


class _Fitted(NamedTuple):
    """All rows, each told by others; `ends` of the interval as logarithms, and the most seconds sent beside a second of computing."""

    rows: tuple[Run, ...]
    seconds: np.ndarray
    graded: roofline.Graded
    ends: tuple[float, float]
    beside: float


@functools.cache
def _fitted() -> _Fitted:
    rows = runs()
    true = np.array([seconds(run) for run in rows])
    ideals = np.array([roofline.ideal(work(run), device(run.hardware), run.precision) for run in rows])
    graded = roofline.grade(ideals, true, [run.family for run in rows], LEVEL)
    ends = roofline.interval(np.log(true / graded.told), LEVEL)
    sure = np.array([run.sharded != "gradients" for run in rows])  # of those no source says whether they were summed for each part
    return _Fitted(rows, true, graded, ends, float(np.max((ideals[:, -1] / (ideals[:, :-1] @ graded.factors[:-1]))[sure])))


def step(done: Work, on: Device, precision: str) -> Pace:
    """Seconds of a step that is planned, with the 80 % interval that graded runs give; wider above where it sends more than they do."""
    fitted = _fitted()
    *_, sent = ideal = roofline.ideal(done, on, precision)
    *_, shown = factors = fitted.graded.factors
    low, high = np.exp(fitted.ends).tolist()
    unseen = max(0.0, float(sent - fitted.beside * (ideal[:-1] @ factors[:-1])))
    told = max(float(ideal @ factors), float(sent))
    return Pace(told * low, told, (told + max(0.0, 1 - float(shown)) * unseen) * high, unseen)


def check() -> list[Row]:
    """Every graded run, told by those of other families."""
    rows, true, graded, *_ = _fitted()
    times = zip(true.tolist(), graded.told.tolist(), graded.low.tolist(), graded.high.tolist())
    return [Row(run, *time, _memory(run)) for run, time in zip(rows, times)]


def _memory(run: Run) -> float | None:
    if run.memory_gib is None:
        return None
    found, precision, learnt, heap = shape(run), PRECISIONS[run.states], LEARNT[run.method], run.memory_of == "resident"
    if found is None:
        model = _model(run.model, run.image)
        held = counted.most_held(model.model, counted.inputs(model.model, run.part_rows, run.length), run.checkpointing == "full")
        return model.parameters.total * (precision.weight + precision.optimizer) + held
    return layout.memory(found, laid_out(run), run.length, precision, learnt=learnt, loss=run.loss, heap=heap).total


def bars(rows: list[Row]) -> list[Bar]:
    """What must hold over all of them."""
    times, memories = [abs(row.time_error) for row in rows], [abs(row.memory_error) for row in rows if row.memory_error is not None]
    covered = float(np.mean([row.low_s <= row.seconds <= row.high_s for row in rows]))
    return [
        Bar("time, median error", float(np.median(times)), 0.0, TIME_MEDIAN, len(times)),
        Bar(f"time, in the {LEVEL:.0%} interval", covered, *COVERED, len(times)),
        Bar("memory, median error", float(np.median(memories)), 0.0, MEMORY_MEDIAN, len(memories)),
        Bar("memory, worst error", max(memories), 0.0, MEMORY_WORST, len(memories)),
    ]


def told(rows: list[Row]) -> str:
    """A table of all rows, and the bars, for a terminal."""
    lines = [f"{'run':<38}{'on':<20}{'seconds a step':>15}{'told':>10}{'error':>8}{'80 % interval':>20}{'GiB':>8}{'error':>8}"]
    for row in rows:
        run, memory = row.run, row.memory_error
        mark = "" if row.low_s <= row.seconds <= row.high_s else " *"
        said = "" if memory is None else f"{run.memory_gib:>8.4g}{memory:>+8.0%}"
        between = f"{row.low_s:.4g}-{row.high_s:.4g}"
        on = f"{run.ranks}x{run.hardware}"
        lines.append(f"{run.name:<38}{on:<20}{row.seconds:>15.4g}{row.told_s:>10.4g}{row.time_error:>+8.0%}{between:>20}{said}{mark}")
    lines.append("* outside of the interval; each run is told without the runs of its own source")
    for bar in bars(rows):
        wanted = f"at most {bar.high:.0%}" if not bar.low else f"{bar.low:.0%} to {bar.high:.0%}"
        lines.append(f"{bar.name:<30}{bar.value:>7.1%}   {wanted:<14}{'held' if bar.held else 'missed':<8}{bar.rows} rows")
    return "\n".join(lines)
