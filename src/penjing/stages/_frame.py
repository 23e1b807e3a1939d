"""What every call of a stage has around it: options, inputs opened and checked, output staged, the card written.

The command line, the Python functions and recipes all come through `call`, so that the same words mean the same everywhere.
"""

import dataclasses
import datetime
import functools
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from penjing.core.contracts import Task
from penjing.core.data import Data
from penjing.core.durable import write_text
from penjing.core.errors import ModelError, OptionError
from penjing.core.find import find, names
from penjing.core.model_dir import BEGUN, META, NEW, ModelDir, check_free, check_page, staged, write_page
from penjing.core.options import Flag, build, flags, spell
from penjing.core.progress import say, told
from penjing.core.report import Measure, Report
from penjing.core.roles import merge_sketches
from penjing.core.runtime import Runtime, environment, place_of_rank, versions
from penjing.core.unlabelled import add_unlabelled, sketches
from penjing.stages import _cross_fit
from penjing.stages._checks import ZERO_SHOT, head_of, require_possible, task_type

MAKERS = ("pretrain", "finetune", "cluster", "distill", "prune", "quantize", "shrink")
READERS = ("evaluate", "compare")
NEUTRAL = ("checkpoint_every", "ranks", "tensorboard")  # options on which no result depends; of ranks torchrun may have started more
ROUNDS = ".rounds"  # in the folder of an output while it is made: the models of a cross-fit
_AS_SAID = {"source": "code of penjing", "model": "weights of MODEL", "data": "rows of DATA", "unlabelled": "rows of --unlabelled"}


class Call(NamedTuple):
    """A stage with all that it works on, opened and checked, and nothing expensive done yet."""

    stage: str
    base: ModelDir | str
    task: Task
    data: Data
    options: Any
    runtime: Runtime

    def inputs(self) -> dict[str, Any]:
        """Everything the result depends on, in words; two calls with equal inputs make the same model."""
        student = vars(self.options).get("student")
        return {
            "stage": self.stage,
            "model": self.base if isinstance(self.base, str) else self.base.whole_sha256(),
            "student": ModelDir.open(student, self.runtime).whole_sha256() if student and not student.startswith(NEW) else student,
            "data": self.data.examples.fingerprint,
            "unlabelled": self.data.unlabelled and self.data.unlabelled.fingerprint,
            "options": {name: value for name, value in plain_options(self.options).items() if name not in NEUTRAL},
            "seed": self.runtime.seed,
            "device": self.runtime.device,
            "threads": self.runtime.threads,
            "ranks": self.ranks(),
            "versions": versions(),
            "source": source_hash(),
        }

    def ranks(self) -> int:
        """How many processes train together."""
        _, started = place_of_rank()
        asked = vars(self.options)["training"].ranks if "training" in vars(self.options) else 1
        return started if started > 1 else asked


def call(
    stage: str, model: str | Path | ModelDir, data: str | Path, *, out: str | Path | None = None, overwrite: bool = False,
    runtime: Runtime | None = None, **words: Any,
) -> tuple[ModelDir, Report] | Report:  # fmt: skip
    """Run a stage: a maker gives (ModelDir, Report) and has written `out`; a reader gives its Report, and `out` is a page of it, or None.

    Raises PenjingError before the first expensive second for whatever the user can mend.
    """
    if stage not in MAKERS:
        if out is not None:
            check_page(Path(out))
        report = read(prepare(stage, model, data, words, runtime or Runtime()))
        if out is not None:
            from penjing.engine import page

            name = Path(report.model["path"]).name
            write_page(Path(out), page.page([(name, report, ModelDir.open(report.model["path"]).meta)], name))
        return report
    if out is None:
        raise OptionError("--out must be given", wanted="a directory for the new model", fix="pass --out DIRECTORY")
    runtime, (rank, started) = runtime or Runtime(), place_of_rank()
    if rank == 0:
        check_free(Path(out), overwrite, or_ours=True)
    prepared = prepare(stage, model, data, words, dataclasses.replace(runtime, quiet=runtime.quiet or rank > 0))
    if prepared.ranks() > 1:
        from penjing.engine import parallel

        done = rank == 0 and already(Path(out), prepared.inputs(), overwrite) is not None
        if started > 1:
            done = parallel.Group(runtime.device).from_first(done)  # else the others would wait for a first that has nothing to do
            if rank and not done:
                _help(prepared)
            if rank:
                raise SystemExit(0)
            return make(prepared, Path(out), overwrite)
        if not done:
            parallel.start(
                prepared.ranks(), call_with, stage, str(model), str(data), {"out": out, "overwrite": overwrite, **words}, runtime
            )
        return ModelDir.open(out), Report.read(Path(out))  # type: ignore[return-value]  # the first rank has written it
    return make(prepared, Path(out), overwrite)


def call_with(stage: str, model: str, data: str, words: dict[str, Any], runtime: Runtime) -> None:
    """`call` for a process that cannot be handed keywords."""
    call(stage, model, data, runtime=runtime, **words)


def _help(prepared: Call) -> None:
    """Compute what a rank but the first has to, which leaves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        given = (prepared.base, prepared.task, prepared.data, prepared.options)
        _function(prepared.stage)(*given, out=Path(folder), runtime=prepared.runtime)


def prepare(stage: str, model: str | Path | ModelDir, data: str | Path, words: dict[str, Any], runtime: Runtime) -> Call:
    """Open and check what a stage needs, cheapest first."""
    options = stage_options(stage, words)
    base = str(model) if str(model).startswith(NEW) else ModelDir.open(model, runtime)
    asked = vars(options).get("labels")  # by their words, of a model that has not learnt any
    kind = task_type(base, ZERO_SHOT if asked else vars(options).get("task"), stage)
    require_possible(stage, base, options, kind, stage in MAKERS, runtime)
    salt = base.meta.get("roles", {}).get("salt") if isinstance(base, ModelDir) else None
    learns = stage == "finetune" and not kind.open_answers and (isinstance(base, str) or base.labels is None or options.new_head)
    folds, agrees = vars(options).get("folds") or 0, vars(options).get("floor_agreement") or (asked and stage in MAKERS)
    with told(runtime.quiet):
        head = head_of(kind, base, options, data, learns)
        task = kind(head=head)
        rows = Data.open(data, options.data, task, salt, folds, labelled=not agrees)
        if unlabelled := vars(options).get("unlabelled"):
            add_unlabelled(rows, unlabelled, options.data, task)
    checks = not (agrees or kind.open_answers)
    known = kind(asked).labels if asked else None if isinstance(base, str) else base.labels
    if checks:
        rows.settle_labels(task, options.data.alike_labels, None if learns else known)
    learnt = [target for target, _ in rows.targets(task, "train")] if learns else []
    labels = task.learn_labels(learnt) if learns else [] if kind.open_answers else asked or known or []
    task = kind(labels, head)
    if isinstance(base, ModelDir) and not learns:
        task = task.of(base.config)
    for role in ("train", "tune") if stage in MAKERS else ():
        rows.require_rows(role)
    if folds and isinstance(base, ModelDir) and stage == "shrink":
        _cross_fit.require_refittable(base, rows)
    if checks:
        rows.check_labels(task, learns)
    rows.require_few_bad()
    return Call(stage, base, task, rows, options, runtime)


def make(prepared: Call, out: Path, overwrite: bool) -> tuple[ModelDir, Report]:
    """Run a maker; the same call again finds its output and does nothing, or goes on with what it was stopped at."""
    inputs = prepared.inputs()
    if done := already(out, inputs, overwrite):
        say(f"{out} is already done", prepared.runtime.quiet)
        return done
    started = time.perf_counter()
    with staged(out, overwrite) as folder:
        _begin(folder, out, inputs, overwrite)
        stage, given = _function(prepared.stage), (prepared.base, prepared.task, prepared.data, prepared.options)
        model, report = stage(*given, out=folder, runtime=prepared.runtime)
        if prepared.data.rounds:
            report.facts["estimate"] = _cross_fit.cross_fit(stage, *given, folder / ROUNDS, prepared.runtime)
            shutil.rmtree(folder / ROUNDS)
        _complete(report, prepared, model, started)
        report.model["path"] = str(out)
        _write(model, report, prepared, inputs)
    return ModelDir.open(out), report


def read(prepared: Call) -> Report:
    """Run a reader."""
    started = time.perf_counter()
    report = _function(prepared.stage)(prepared.base, prepared.task, prepared.data, prepared.options, runtime=prepared.runtime)
    _complete(report, prepared, prepared.base, started)  # type: ignore[arg-type]
    return report


def stage_options(stage: str, words: dict[str, Any]) -> Any:
    """The stage's frozen Options, with those of its chosen method inside.

    Raises OptionError for a word that can do nothing with this method, as for any that it does not have.
    """
    module = find("stages", stage)
    require_useful(stage, words.get("method"), words)
    return build(module.Options, words, _method_options(stage, words.get("method")))


def stage_flags(stage: str, method: str | None = None) -> list[Flag]:
    """Every flag of a stage that can do something with the chosen method (or the usual one), those of the method last."""
    settings, nothing = _method_options(stage, method), idle(stage, method)
    known = [*flags(find("stages", stage).Options), *(flags(settings, ("settings",)) if settings else ())]
    return [flag for flag in known if flag.name not in nothing]


def idle(stage: str, method: str | None) -> dict[str, str]:
    """Flags of a stage that can do nothing with the chosen method (or the usual one), and why."""
    module = find("stages", stage)
    return module.idle(method or module.Options.method) if "idle" in vars(module) else {}


def require_useful(stage: str, method: str | None, words: Iterable[str]) -> None:
    """Raise OptionError for an option that can do nothing with the chosen method."""
    nothing = idle(stage, method)
    for word in words:
        if word in nothing:
            raise OptionError(
                f"{spell(word)} does nothing here: --method {method} {nothing[word]}", wanted="none", fix=f"leave {spell(word)} out"
            )


def method_names(stage: str) -> list[str]:
    """What --method can be; empty for a stage without methods."""
    module = find("stages", stage)
    return names(module.METHODS) if "METHODS" in vars(module) else []


def _method_options(stage: str, method: str | None) -> type | None:
    module = find("stages", stage)
    return find(module.METHODS, method or module.Options.method).Options if "METHODS" in vars(module) else None


def plain_options(options: Any) -> dict[str, Any]:
    """Options as one flat dict of plain values, by the names of their flags."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = vars(options)[field.name]
        flat |= plain_options(value) if dataclasses.is_dataclass(value) else {} if field.name == "settings" else {field.name: value}
    return flat


def _chosen(prepared: Call) -> dict[str, Any]:
    """The options that are not as they usually are."""
    usual = {flag.name: flag.default for flag in stage_flags(prepared.stage, vars(prepared.options).get("method"))}
    return {name: value for name, value in plain_options(prepared.options).items() if name in usual and value != usual[name]}


@functools.cache
def source_hash() -> str:
    """Hash of penjing's own code as this process found it: a changed line may change a result."""
    root = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        whole.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return whole.hexdigest()


def _function(stage: str) -> Any:
    return vars(find("stages", stage))[stage]


def key_of(inputs: dict[str, Any]) -> str:
    """What a call with these inputs is known by."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def already(out: Path, inputs: dict[str, Any], overwrite: bool) -> tuple[ModelDir, Report] | None:
    """What an earlier call with the same inputs left in `out`.

    Raises OptionError, naming what differs, where `out` holds anything else.
    """
    try:
        there = ModelDir.open(out) if (out / META).exists() else None
    except ModelError:
        if not overwrite:
            raise
        there = None
    if there and there.meta.get("key") == key_of(inputs) and (report := Report.read(out)):
        return there, report
    if there and "inputs" in there.meta and not overwrite:
        raise OptionError(
            f"{out} exists and was made otherwise: {_difference(there.meta['inputs'], inputs)}",
            wanted="the same options for the same output",
            fix="choose another --out, or pass --overwrite",
        )
    check_free(out, overwrite)
    return None


def require_alike(folder: Path, out: Path, inputs: dict[str, Any], overwrite: bool) -> bool:
    """Whether what an unfinished call for `out` left in `folder`, if it left anything, was begun with these inputs.

    Raises OptionError, naming what differs, where it was not and may not be overwritten.
    """
    if not (folder / BEGUN).exists():
        return True
    was = json.loads((folder / BEGUN).read_text("utf-8"))
    if key_of(was) == key_of(inputs):
        return True
    if not overwrite:
        raise OptionError(
            f"{out} was begun otherwise and is not finished: {_difference(was, inputs)}",
            wanted="the same options, to go on with it",
            fix="choose another --out, or pass --overwrite to begin anew",
        )
    return False


def _begin(folder: Path, out: Path, inputs: dict[str, Any], overwrite: bool) -> None:
    """Keep the checkpoints in `folder` for the call to go on with, if they are its own; note whose they will be."""
    if not require_alike(folder, out, inputs, overwrite):
        for child in folder.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    write_text(folder / BEGUN, json.dumps(inputs, default=str))


def _difference(was: dict[str, Any], now: dict[str, Any]) -> str:
    """The first things that differ, with both values where they are short."""
    now = json.loads(json.dumps(now, default=str))
    pairs = [(name, was.get(name), value) for name, value in now.items() if name not in ("options", "versions")]
    pairs += [(name, was.get(part, {}).get(name), value) for part in ("options", "versions") for name, value in now[part].items()]
    changed = [(name, a, b) for name, a, b in pairs if a != b]
    said = ", ".join(f"{_AS_SAID.get(name, name)} {str(a)[:12]}, now {str(b)[:12]}" for name, a, b in changed[:3])
    return said or "by another version of penjing"


def _complete(report: Report, prepared: Call, model: ModelDir, started: float) -> None:
    """What every report holds: data, options, baseline, cost, environment."""
    from penjing.engine.baseline import fit_baseline, measure_baseline

    data, task = prepared.data, prepared.task
    if report.parent is None and prepared.stage in MAKERS and isinstance(prepared.base, ModelDir):
        report.parent = prepared.base.describe()
    report.data, report.options = data.describe(), {**plain_options(prepared.options), "seed": prepared.runtime.seed}
    role = report.facts["measured_on"]
    rows = data.role(role)
    if len(data.role("train")) and report.baseline is None:
        fitted = fit_baseline(task, data.role("train"), model, prepared.runtime.quiet)
        report.baseline = fitted and measure_baseline(fitted, task, rows)
    if "parity" in report.facts:
        report.after["peak_memory_bytes"] = Measure(report.facts["parity"]["memory_bytes"], "bytes", better="lower")
    if "parameters" in report.facts:
        report.after["parameters"] = Measure(report.facts["parameters"], "", better="lower")
    report.notes += [*data.notes, *filter(None, [data.left_out(role)])]
    training = report.facts.get("training", {})
    report.notes += training.get("hints", [])
    if cut := training.get("rows_at_limit"):
        about = "about " if training["rows_at_limit_estimated"] else ""
        report.notes.append(f"{about}{cut:,} training rows fill the model's window; {task.at_limit}")
    report.cost = {"seconds": round(time.perf_counter() - started, 1)}
    report.environment = environment()


def _write(model: ModelDir, report: Report, prepared: Call, inputs: dict[str, Any]) -> None:
    """penjing.json with the lineage, the card, the page."""
    base, data = prepared.base, report.data
    parents = base.meta if isinstance(base, ModelDir) else {}
    step = {
        "stage": prepared.stage,
        "key": key_of(inputs),
        "parent": base.identity() if isinstance(base, ModelDir) else {"path": base},
        "data": {name: data[name] for name in ("name", "fingerprint", "licence")},
        "options": _chosen(prepared),
        "seed": prepared.runtime.seed,
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    roles = prepared.data.roles
    sketch = merge_sketches(*sketches(prepared.data), parents.get("roles", {}).get("sketch", []))
    model = model.record(
        key=key_of(inputs),
        inputs=inputs,
        lineage=[*parents.get("lineage", []), step],
        roles={"salt": roles.salt, "how": roles.how, "sketch": sketch},
    )
    report.model |= {"sha256": model.sha256(), "bytes": model.bytes()}
    tell(model, report)


def tell(model: ModelDir, report: Report) -> None:
    """Write what is known of a model into its directory: report.json, card and page."""
    from penjing.engine import card, page

    name = Path(report.model["path"]).name
    (model.path / "report.json").write_text(report.to_json(), "utf-8")
    (model.path / "README.md").write_text(card.card(report, {**model.meta, "config": model.config}), "utf-8")
    (model.path / "report.html").write_text(page.page([(name, report, model.meta)], name), "utf-8")
