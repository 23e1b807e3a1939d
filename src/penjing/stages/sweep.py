"""Train a model in several ways, on the same rows for as long, and set the ways beside each other.

    vary = {"optimizer": ["adamw", "muon"], "dropout": [0, 0.1]}        each with each: 4 variants
    vary = {"optimizer:momentum": ["sgd:0", "sgd:0.9", "adamw:none"]}   values that belong together: 3 variants

A variant is a finetune; what is done already is not done again. Outputs: OUT/best/, a model directory; OUT/report.html; OUT/sweep.json
with every number; OUT/runs/, the report of each run by its key. All are measured on the tune rows: proof rows stay unopened.
"""

import dataclasses
import itertools
import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from penjing.core.durable import write_text
from penjing.core.errors import ModelError, OptionError, nearest
from penjing.core.model_dir import META, ModelDir, check_free
from penjing.core.options import Between, Flag, parse, spell
from penjing.core.progress import say
from penjing.core.report import Measure, Report
from penjing.core.runtime import Runtime
from penjing.stages import _frame

STAGE, BEST, FOUND, RUNS, PAGE, SWEPT = "finetune", "best", "sweep.json", "runs", "report.html", ".sweep"
OWN = {BEST, FOUND, RUNS, PAGE, SWEPT, *(f"{name}.tmp" for name in (FOUND, PAGE, SWEPT)), f".{BEST}.partial", f".{BEST}.old"}
MOST_VARIANTS = 50
SEEDS = Flag("seeds", int, "runs of each variant, each with a seed of its own", 1, Between(1, 20), ())
SAME = ("task", "head", "new_head", "folds")  # which rows answer and how: variants that differ in it could not be compared


class Run(NamedTuple):
    """One training of a sweep; equal keys make equal models."""

    call: _frame.Call
    key: str
    report: Report


class Variant(NamedTuple):
    """One way of training: the values that make it up, and a run for each seed."""

    words: dict[str, Any]
    runs: list[Run]

    @property
    def values(self) -> list[float]:
        """The primary metric on the tune rows, of each seed."""
        return [_measured(run.report).value for run in self.runs]

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better: by the mean over seeds, of equals by less time."""
        return sum(self.values) / len(self.runs), -self.seconds

    @property
    def seconds(self) -> float:
        """In which it was trained, without measuring; the mean over seeds."""
        losses = [run.report.facts["training"]["losses"] for run in self.runs]
        return sum(points[-1][1] for points in losses if points) / len(self.runs)


def sweep(
    model: str | Path, data: str | Path, *, vary: Mapping[str, Any], out: str | Path, seeds: int | str = 1, runtime: Runtime | None = None,
    **words: Any,
) -> tuple[ModelDir, dict[str, Any]]:  # fmt: skip
    """Finetune `model` in every combination of the values of `vary`, all other options alike; the best model, and what was found.

    vary    option -> its values, a list or text parted by commas; names joined by ":" have values joined in the same way
    out     folder of the outputs; what an earlier sweep did there and is wanted again is taken over
    seeds   runs of each variant: its quality is their mean, its model that of the first
    words   options of finetune that all variants share

    What was found is as in sweep.json: engine/variants.py says how. A variant that cannot be trained, because its loss is not finite, is
    listed with the reason.

    Raises OptionError for an option or a value that will not do, before the first run; ModelError where no variant can be trained.
    """
    runtime, folder = runtime or Runtime(), Path(out)
    _require_own(folder)
    ways = combined(vary)
    num_seeds = parse(SEEDS, seeds)
    planned = prepared(model, data, ways, words, num_seeds, runtime)
    write_text(folder / SWEPT, "what a sweep of penjing left; it may replace all of it\n")
    done, failed, first = list[Variant](), list[dict[str, Any]](), None
    for number, (way, calls) in enumerate(zip(ways, planned), 1):
        say(f"[{number} of {len(ways)}] {said(way)}", runtime.quiet)
        runs = list[Run]()
        try:
            for call in calls:
                runs.append(_run(_as_first(call, first), folder, keep=not runs))
                first = first or runs[0].report
        except ModelError as error:
            if number == len(ways) and not done:
                raise
            failed.append({"words": way, "why": error.problem})
            for run in runs[:1]:
                _settle_model(folder, run.key, best=False)
            continue
        done.append(Variant(way, runs))
        done.sort(key=lambda variant: variant.rank, reverse=True)
        _settle_model(folder, runs[0].key, best=done[0].runs is runs)
    found = _found(done, failed)
    return _finish(folder, done[0].runs[0], found), found


def split(given: Sequence[str]) -> dict[str, str]:
    """What --vary said, each time it was given: option -> values.

    Raises OptionError for text that is not of its form.
    """
    for item in given:
        if "=" not in item:
            raise OptionError(f"--vary cannot be {item!r}", wanted="OPTION=VALUE,VALUE", fix="--vary optimizer=adamw,sgd,muon")
    pairs = [item.partition("=") for item in given]
    names = [name for name, _, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _twice(twice)
    return {name: values for name, _, values in pairs}


def _twice(name: str) -> OptionError:
    return OptionError(f"--vary has {name} twice", wanted="each option once", fix="put all its values behind one --vary")


def combined(vary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of the values, as the words of a variant.

    Raises OptionError where there is nothing to vary, or too many combinations.

    >>> combined({"optimizer:momentum": "sgd:0,muon:none", "epochs": [1, 2]})[1]
    {'optimizer': 'sgd', 'momentum': '0', 'epochs': 2}
    """
    axes = [_axis(names, values) for names, values in vary.items()]
    names = [name for axis in axes for name in axis[0]]
    if not names:
        raise OptionError("--vary must be given", wanted="--vary OPTION=VALUE,VALUE", fix="--vary optimizer=adamw,sgd,muon")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _twice(twice)
    ways = [{name: value for part in parts for name, value in part.items()} for parts in itertools.product(*axes)]
    if len(ways) > MOST_VARIANTS:
        raise OptionError(f"--vary makes {len(ways)} variants", wanted=f"at most {MOST_VARIANTS}", fix="give fewer values")
    return ways


def _axis(joined: str, values: Any) -> list[dict[str, Any]]:
    """What one --vary says, a dict for each of its values."""
    names = [name.strip().replace("-", "_") for name in joined.split(":")]
    listed = values.split(",") if isinstance(values, str) else list(values)
    parted = [value.split(":") if isinstance(value, str) else list(value) if len(names) > 1 else [value] for value in listed]
    for value, parts in zip(listed, parted):
        if len(parts) != len(names) or "" in parts:
            raise OptionError(
                f"--vary {joined} cannot be {value!r}", wanted=":".join(name.upper() for name in names), fix="part values by commas"
            )
    return [dict(zip(names, parts)) for parts in parted]


def prepared(
    model: str | Path, data: str | Path, ways: list[dict[str, Any]], words: dict[str, Any], seeds: int, runtime: Runtime
) -> list[list[_frame.Call]]:
    """The calls of each variant, one for each seed, opened and checked.

    Raises OptionError naming the variant that will not do.
    """
    flags = {flag.name: flag for flag in _frame.stage_flags(STAGE, words.get("method"))}
    for name in ways[0]:
        if name in words:
            raise OptionError(f"{spell(name)} is varied and given too", wanted="one of the two", fix=f"leave {spell(name)} out")
        if name in SAME or (name in flags and flags[name].path == ("data",)):
            may = [flag.name for flag in flags.values() if flag.name not in SAME and flag.path != ("data",)]
            wanted = f"an option of the training: {nearest(name, may)}"
            raise OptionError(f"{name} cannot be varied: all must answer the same rows alike", wanted=wanted, fix="correct --vary")
    if "folds" in words:
        raise OptionError("--folds is not for a sweep, which compares on tune rows", wanted="none", fix="leave --folds out")
    calls = [_prepared(model, data, way, words, runtime) for way in ways]
    for i, call in enumerate(calls):
        if call.options in [other.options for other in calls[:i]]:
            raise OptionError(f"two variants are the same: {said(ways[i])}", wanted="values that differ", fix="correct --vary")
    return [[call._replace(runtime=dataclasses.replace(runtime, seed=runtime.seed + i)) for i in range(seeds)] for call in calls]


def _prepared(model: str | Path, data: str | Path, way: dict[str, Any], words: dict[str, Any], runtime: Runtime) -> _frame.Call:
    try:
        return _frame.prepare(STAGE, model, data, {**words, **way}, runtime)
    except OptionError as error:
        raise OptionError(f"{error.problem} (variant {said(way)})", wanted=error.wanted, fix=error.fix) from None


def said(way: Mapping[str, Any]) -> str:
    """A variant in words: optimizer sgd, momentum 0.9."""
    return ", ".join(f"{name.replace('_', '-')} {value}" for name, value in way.items())


def _require_own(folder: Path) -> None:
    """Raise OptionError unless the folder can be written, and is new, empty or nothing but what a sweep left: that will be replaced."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.is_file() or (there and (SWEPT not in there or there - OWN)):
        raise OptionError(f"{folder} exists and is not that of a sweep alone", wanted="a new name", fix="choose another --out")
    check_free(folder / BEST, overwrite=True)


def _as_first(call: _frame.Call, first: Report | None) -> _frame.Call:
    """The call on as many threads as the first run chose: else their times could not be compared."""
    if first is None or call.runtime.threads:
        return call
    return call._replace(runtime=dataclasses.replace(call.runtime, threads=first.facts["training"]["threads"]))


def _run(call: _frame.Call, folder: Path, keep: bool) -> Run:
    """The report of one run, from an earlier sweep where that made it; if it is made now, `keep` leaves its model in the folder of runs."""
    key = _frame.key_of(call.inputs())
    path, made = folder / RUNS / f"{key[:16]}.json", folder / RUNS / key[:16]
    if path.exists():
        return Run(call, key, Report.from_json(path.read_text("utf-8")))
    _, report = _frame.make(call, made, overwrite=True)
    write_text(path, report.to_json())
    if not keep:
        shutil.rmtree(made)
    return Run(call, key, report)


def _settle_model(folder: Path, key: str, best: bool) -> None:
    """Let the model of a run that has just been made take the place of the best so far, or vanish."""
    made = folder / RUNS / key[:16]
    if best and made.exists():
        shutil.rmtree(folder / BEST, ignore_errors=True)
        made.rename(folder / BEST)
    shutil.rmtree(made, ignore_errors=True)


def _found(done: list[Variant], failed: list[dict[str, Any]]) -> dict[str, Any]:
    """What sweep.json says of the variants, best first."""
    first = done[0].runs
    metric = first[0].report.facts["metric"]
    return {"metric": metric, "seeds": len(first), "varied": list(done[0].words), "variants": list(map(_entry, done)), "failed": failed}


def _entry(variant: Variant) -> dict[str, Any]:
    """Ends of the interval are means over seeds too: they say how far the rows can be trusted, not the seeds."""
    measured, training = [_measured(run.report) for run in variant.runs], variant.runs[0].report.facts["training"]
    low, high = (
        None if None in ends else statistics.fmean(ends)  # type: ignore[arg-type]
        for ends in ([each.low for each in measured], [each.high for each in measured])
    )
    quality = dataclasses.replace(measured[0], value=statistics.fmean(variant.values), low=low, high=high)
    return {
        "words": variant.words,
        "quality": dataclasses.asdict(quality),
        "by_seed": variant.values,
        "loss": training["curve"][-1]["loss"] if training["curve"] else None,
        "seconds": variant.seconds,
        "losses": training["losses"],
    }


def _finish(folder: Path, run: Run, found: dict[str, Any]) -> ModelDir:
    """Write what was found; the best model, whose card says how it was chosen, is trained again if it is not there any more."""
    from penjing.engine import page, variants

    best = folder / BEST
    if not (best / META).exists() or ModelDir.open(best).meta["key"] != run.key:
        shutil.rmtree(best, ignore_errors=True)
        _frame.make(run.call, best, overwrite=True)
    for unfinished in (path for path in (folder / RUNS).iterdir() if path.is_dir()):
        shutil.rmtree(unfinished)
    model, report = ModelDir.open(best), dataclasses.replace(run.report, notes=[*run.report.notes, *variants.caveats(found)])
    report.model = {**report.model, "path": str(best)}
    _frame.tell(model, report)
    above = variants.section(found)
    write_text(folder / PAGE, page.page([(BEST, report, model.meta)], folder.name, above))
    write_text(folder / FOUND, json.dumps(found, ensure_ascii=False, indent=1, default=str))
    return model


def _measured(report: Report) -> Measure:
    return report.after[report.facts["metric"]]
