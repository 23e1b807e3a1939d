"""Measure a model on rows that it has not been trained on."""

from dataclasses import dataclass
from typing import Annotated, Literal

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.generation import OWN, Generation
from penjing.core.model_dir import ModelDir
from penjing.core.report import Report
from penjing.core.runtime import Runtime


@dataclass(frozen=True)
class Options:
    """On which rows."""

    rows: Annotated[Literal["auto", "proof", "tune", "all"], "auto: proof rows, or all of a file new to the model"] = "auto"
    generation: Generation = OWN
    labels: Annotated[
        list[str] | None,
        "for a model that has learnt none (an encoder, of entailment, of language): their words, each a word or label=sentence",
    ] = None
    data: DataOptions = DataOptions()


def evaluate(base: ModelDir, task: Task, data: Data, options: Options, *, runtime: Runtime) -> Report:
    """Quality with intervals, bytes and latency; opening proof rows is counted."""
    from penjing.engine import appraise

    role, rows = data.measuring_rows(options.rows, [base], "evaluate")
    return appraise.appraise("evaluate", base, task, rows, role, runtime, generation=options.generation)
