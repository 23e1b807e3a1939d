"""Set a child beside its parent on the same rows, and say whether it is proven not to be worse than a floor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.errors import OptionError
from penjing.core.generation import OWN, Generation
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between, Floor
from penjing.core.report import Report
from penjing.core.runtime import Runtime


@dataclass(frozen=True)
class Options:
    """With whom, on which rows, against which floor."""

    child: Annotated[Path | None, "the model directory that is compared with MODEL"] = None
    floor: Annotated[Floor, "how much quality may be lost: points (1.0) or a share (3%)"] = Floor("1.0")
    rows: Annotated[Literal["auto", "proof", "tune", "all"], "auto: proof rows, or all of a file new to the models"] = "auto"
    reasons: Annotated[bool, "also whether the child has the parent's reasons, and how far its distributions are from the parent's"] = False
    noise_floor: Annotated[Path | None, "a model trained as the parent with another seed: how alike its reasons are, for --reasons"] = None
    threads_timed: Annotated[int, "threads at which latency is measured", Between(1, 1024)] = 1
    generation: Generation = OWN
    data: DataOptions = DataOptions()


def compare(base: ModelDir, task: Task, data: Data, options: Options, *, runtime: Runtime) -> Report:
    """Quality of both, flips, bytes, interleaved latency, the paired test of the plan; the reasons of both where asked for."""
    from penjing.engine import appraise, words

    if options.child is None:
        raise OptionError("no child to compare with", fix="penjing compare PARENT CHILD DATA")
    child = ModelDir.open(options.child, runtime)
    role, rows = data.measuring_rows(options.rows, [base, child], "compare")
    report = appraise.appraise(
        "compare", child, task, rows, role, runtime,
        parent=base, threads=options.threads_timed, floor=options.floor, generation=options.generation,
    )  # fmt: skip
    if options.reasons:
        from penjing.engine.reasons import opened
        from penjing.engine.reasons_kept import divergence, reasons_kept

        others = [ModelDir.open(options.noise_floor, runtime)] if options.noise_floor else []
        models = [opened(each, task, runtime) for each in (base, child, *others)]
        report.facts["reasons"] = reasons_kept(models, rows, runtime)
        report.facts["divergence"] = divergence(models[:2], rows, runtime)
    plain = words.plain(report)
    report.notes += [*words.group_sentences(plain), *words.reasons_sentences(plain)]
    return report
