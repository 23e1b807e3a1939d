"""The search of shrink: which shapes there are, which are worth a training, which are likely to pass.

is the floor provable -> drop tokens that no row uses -> time untrained shapes here -> train the promising -> screen on tune rows -> prove
on proof rows

What is made lies in the folder of the output until the search ends: the same command goes on with it after a stop.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from penjing.core.contracts import Prediction, Task
from penjing.core.data import Data
from penjing.core.durable import write_text
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.engine import appraise, load, relabel
from penjing.engine.anatomy import anatomy
from penjing.engine.baseline import measure_baseline
from penjing.engine.measure import quality
from penjing.engine.verdict import floor_share, verdict
from penjing.maths.proof import chance, prove, screen
from penjing.stages import distill, prune, quantize
from penjing.stages._clock import Clock
from penjing.stages._frame import plain_options, stage_flags, stage_options

KEPT = ("training", "removed", "parameters", "unlabelled", "quantized", "parity")  # of what a stage found out, for the card
STAGES: dict[str, Callable[..., tuple[ModelDir, Report]]] = {
    "distill": distill.distill,
    "prune": prune.prune,
    "quantize": quantize.quantize,
}
WORTH = 0.98  # of the bytes must be left at most, or the tokens are not worth it
SURE = 0.5  # chance of being proven from which on the search goes on to smaller shapes
LEVEL = 1.2  # shapes whose costs differ by less than this factor are rivals
LEAST_EPOCHS = 0.5  # which a training is cut down to at most where the budget is short
ASKED = 4  # times that the proof rows are answered, by the parent and its children, and that reasons take as much time
PROBED_ROWS = 1024  # learnt from to see how fast a training goes
PROBED_SHARE = 0.03  # of the time that is left, to see how fast that of one shape goes which must be cut down to fit
Step = tuple[str, dict[str, Any]]  # a stage and its words


@dataclass
class Candidate:
    """One shape of the search.

    steps     what makes it of `Search.whole`
    batch_ms  for many rows at once, measured where throughput is wanted
    work      numbers that are multiplied for each token or pixel, about: what its training takes
    status    what became of it: "not trained", "not tested", "failed", "proven"
    """

    name: str
    steps: tuple[Step, ...] = ()
    bytes: int = 0
    latency_ms: float = 0.0
    batch_ms: float = 0.0
    work: float = 0.0
    model: ModelDir | None = None
    made: tuple[Step, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    tuned: list[Prediction] | None = None
    verdict: Any = None
    proven: list[Prediction] | None = None
    status: str = "not trained"

    def cost(self, prefer: str) -> float:
        """What is wanted low."""
        both = self.bytes * self.latency_ms
        return {"both": both, "size": self.bytes, "latency": self.latency_ms, "throughput": self.batch_ms}[prefer]


class Search(NamedTuple):
    """What every part of the search needs.

    base    the parent
    whole   what is made smaller: the parent, or the parent without the tokens that no row uses
    first   the steps that made `whole` of `base`
    tuned   what the parent answers to the tune rows
    """

    base: ModelDir
    whole: ModelDir
    first: tuple[Step, ...]
    task: Task
    data: Data
    options: Any
    runtime: Runtime
    work: Path
    clock: Clock
    tuned: list[Prediction]

    @property
    def num_proof(self) -> int:
        """Rows, or groups, of the proof; of a cross-fit all."""
        return self.data.role("proof").units or self.data.examples.units


def begin(base: ModelDir, task: Task, data: Data, options: Any, work: Path, runtime: Runtime) -> Search:
    """Check that the proof rows are new to the parent, and ask it about the tune rows; about all rows where they have no labels."""
    data.check_unseen(base)
    clock = Clock(options.budget, work)
    if options.floor_agreement:
        data, options = relabel.by_parent(data, base, task, runtime), dataclasses.replace(options, floor=options.floor_agreement)
    started, tune = clock.spent(), data.role("tune")
    tuned = appraise.predict(base, task, tune, runtime)
    clock.aside = (clock.spent() - started) * (2 + ASKED * (data.role("proof").units or 0) / max(1, len(tune)))
    return Search(base, base, (), task, data, options, runtime, work, clock, tuned)


def make(search: Search, stage: str, base: ModelDir, words: dict[str, Any], folder: Path, quiet: bool = False) -> tuple[ModelDir, Report]:
    """What a stage makes of `base` in `folder`; what an earlier run of this search has made there is taken over."""
    if (folder / "report.json").exists():
        return ModelDir.open(folder), Report.read(folder)  # type: ignore[return-value]
    runtime = dataclasses.replace(search.runtime, quiet=search.runtime.quiet or quiet)
    options = stage_options(stage, words)
    model, report = STAGES[stage](base, search.task, search.data, options, out=folder, runtime=runtime)
    write_text(folder / "report.json", report.to_json())
    search.clock.note()
    return model, report


def trim(search: Search, floor: float) -> tuple[Search, dict[str, Any]]:
    """The search among smaller forms of the parent without the tokens that no row uses, where it has such and tune rows allow it; facts."""
    loaded = load.load(search.base, search.task, search.runtime)
    vocabulary = find(prune.METHODS, "vocabulary")
    if not vocabulary.fits(anatomy(loaded.model)) or vocabulary.unfit(loaded.model, loaded.processor):
        return search, {}
    words = {"method": "vocabulary"}
    model, report = make(search, "prune", search.base, words, search.work / "vocabulary", quiet=True)
    told = appraise.predict(model, search.task, search.data.role("tune"), search.runtime)
    found = verdict(search.task, search.data.role("tune"), search.tuned, told, floor, search.runtime.seed)
    if chance(found, search.num_proof) < SURE or model.bytes() > WORTH * search.base.bytes():
        return search, {}
    say(f"{report.facts['removed']['tokens']}; the others are left out", search.runtime.quiet)
    facts = {"vocabulary": report.facts["removed"], "parameters": report.facts["parameters"]}
    return search._replace(whole=model, first=(("prune", words),)), facts


def settle_engine(search: Search, engines: list[str]) -> tuple[Search, list[dict[str, Any]]]:
    """The search with one engine for every candidate, and what was measured to choose it: whatever runs the quantized parent fastest.

    engines   to choose from; none where nothing is quantized
    """
    if not engines:
        return search, []
    noted = search.work / "engine.json"
    if noted.exists():
        engine, tried = json.loads(noted.read_text("utf-8"))
    else:
        whole = load.load(search.whole, search.task, search.runtime)
        engine, tried = quantize.choose_engine(engines, search.whole, whole, search.data, quantizing(search.options), search.runtime)
        write_text(noted, json.dumps([engine, tried], default=vars))
    return search._replace(options=dataclasses.replace(search.options, engine=engine)), tried


def _bits(options: Any) -> dict[str, Any]:
    return {"engine": options.engine, "embedding_bits": options.embedding_bits}


def quantizing(options: Any, **words: Any) -> Any:
    """How candidates are quantized."""
    return stage_options("quantize", {**_bits(options), **words})


def train(shapes: list[Candidate], floor: float, search: Search) -> None:
    """Train where the floor is likely to lie: what needs no training and the students first, then level after level by halving.

    shapes    the most costly first: of the levels that are left the middle one is trained; where its tune rows say that it is likelier than
              not to be proven the search goes on among the cheaper, otherwise among the costlier. As long as nothing is likely to be proven
              it is the costliest that is left, for there must be something to deliver
    """
    named = [c for c in shapes if any("student" in words for _, words in c.steps)]
    likely = False

    def learn(candidate: Candidate) -> bool:
        nonlocal likely
        there = _train(candidate, floor, search)
        likely = likely or (there and chance(candidate.verdict, search.num_proof) >= SURE)
        return there

    for candidate in [c for c in shapes if not c.steps]:
        learn(candidate)
    levels = rivals([c for c in shapes if c.steps and c not in named], search.options.prefer)
    if search.options.budget and (levels or named):
        most = max((c for c in shapes if c.steps), key=lambda c: c.work)
        _learn_pace(most, min(1.0, PROBED_ROWS / len(search.data.role("train"))), search)
    for candidate in named:
        if not learn(candidate):
            return
    first, after = 0, len(levels)
    for _ in range(search.options.candidates):
        if first >= after:
            return
        middle = (first + after) // 2 if likely else first
        candidate = halve(levels[middle], search)
        if not learn(candidate):
            return
        if likely and chance(candidate.verdict, search.num_proof) < SURE:
            after = middle
        else:
            first = middle + 1


def rivals(shapes: Sequence[Candidate], prefer: str) -> list[list[Candidate]]:
    """Shapes of about the same cost together; the most costly first, as given."""
    levels: list[list[Candidate]] = []
    for candidate in shapes:
        if levels and levels[-1][0].cost(prefer) <= LEVEL * candidate.cost(prefer):
            levels[-1].append(candidate)
        else:
            levels.append([candidate])
    return levels


def halve(level: list[Candidate], search: Search) -> Candidate:
    """The shape of a level that learns best: all are trained for a part of the epochs, the better half for twice as many, to the last one.

    Source   Karnin, Koren, Somekh 2013, "Almost optimal exploration in multi-armed bandits", section 3 (sequential halving)
    """
    epochs = search.options.training.epochs / 2 ** (1 + math.ceil(math.log2(len(level))))
    while len(level) > 1:
        taken = sum(search.clock.foreseen(epochs, c.work) for c in level)
        if taken + search.clock.foreseen(search.options.training.epochs, level[0].work) > search.clock.left():
            wide = [c for c in level if not any(words.get("hidden") for _, words in c.steps)]  # the parent's tables and norms as they are
            first = max(wide or level, key=lambda c: c.work)
            say(f"no time to compare {', '.join(c.name for c in level)}: {first.name} is taken", search.runtime.quiet)
            return first
        told = []
        for candidate in level:
            (stage, words), *_ = candidate.steps
            folder = search.work / candidate.name / f"epochs-{epochs:g}"
            _, report = make(search, stage, search.whole, {**words, "epochs": epochs}, folder, quiet=True)
            told.append(report.after[search.task.primary].value)
            say(f"{candidate.name}: {told[-1]:.3f} after {epochs:g} epochs", search.runtime.quiet)
        best = sorted(range(len(level)), key=lambda i: -told[i])[: math.ceil(len(level) / 2)]
        level, epochs = [level[i] for i in sorted(best)], 2 * epochs
    return level[0]


def _learn_pace(candidate: Candidate, epochs: float, search: Search) -> None:
    """Let the clock see a short training, so that it can foresee others."""
    for stage, words in candidate.steps:
        folder = search.work / "pace" / candidate.name / f"epochs-{epochs:g}"
        _, report = make(search, stage, search.whole, {**words, "epochs": epochs}, folder, quiet=True)
        search.clock.measured(report.facts["training"]["losses"], epochs, candidate.work)


def _train(candidate: Candidate, floor: float, search: Search) -> bool:
    """Make a candidate as a user would by hand and judge it on the tune rows; False where the budget has no room for it."""
    clock, options, epochs = search.clock, search.options, search.options.training.epochs
    noted = search.work / candidate.name / "epochs.json"
    if noted.exists():  # decided before a stop
        epochs = json.loads(noted.read_text("utf-8"))
    elif candidate.steps and clock.foreseen(epochs, candidate.work) > clock.left():
        probed = clock.affordable(PROBED_SHARE * clock.left(), candidate.work)
        if probed * len(search.data.role("train")) >= PROBED_ROWS:
            _learn_pace(candidate, round(probed, 1), search)
        epochs = min(epochs, clock.affordable(clock.left(), candidate.work))
        if epochs < LEAST_EPOCHS:
            say("the budget is spent: other shapes are left untrained", search.runtime.quiet)
            return False
    say(f"{candidate.name}: {candidate.bytes:,} bytes", search.runtime.quiet)
    write_text(noted, json.dumps(epochs))
    model, started, learnt = search.whole, clock.spent(), 0.0
    steps = [(stage, {**words, **({"epochs": epochs} if "epochs" in words else {})}) for stage, words in candidate.steps]
    if options.quantize:
        steps.append(("quantize", _bits(options)))
    for stage, words in steps:
        folder = search.work / candidate.name / stage
        model, report = make(search, stage, model, words, folder, quiet=stage == "quantize")
        candidate.facts |= {key: report.facts[key] for key in KEPT if key in report.facts}
        if losses := report.facts.get("training", {}).get("losses"):
            learnt = losses[-1][1]
            clock.measured(losses, epochs, candidate.work)
    clock.overhead = max(clock.overhead, clock.spent() - started - learnt)
    candidate.model, candidate.bytes, candidate.made = model, model.bytes(), (*search.first, *steps)
    if model is not search.whole:
        candidate.latency_ms = report.after["latency_ms"].value
    tune = search.data.role("tune")
    candidate.tuned, candidate.status = appraise.predict(model, search.task, tune, search.runtime), "not tested"
    candidate.verdict = verdict(search.task, tune, search.tuned, candidate.tuned, floor, search.runtime.seed)
    return True


def choose(candidates: list[Candidate], search: Search) -> tuple[Candidate, list[dict[str, Any]]]:
    """Screen on the tune rows, prove on the proof rows in a fixed sequence; the cheapest proven, else the most likely.

    Returns it with the sequence as it was walked. In a cross-fit nothing is proven: the most likely.
    """
    base, task, data, options, runtime = search.base, search.task, search.data, search.options, search.runtime
    trained, proof = [c for c in candidates if c.model], data.role("proof")
    costs = [c.cost(options.prefer) for c in trained]
    finalists = [trained[i] for i in screen([c.verdict for c in trained], costs, search.num_proof)]
    if options.folds:
        return finalists[0], []
    said_proof = appraise.predict(base, task, proof, runtime)
    proof_floor = floor_share(options.floor, task.score(said_proof, list(proof))[task.primary])

    def measure(candidate: Candidate) -> Any:
        rows = data.proof("shrink", candidate.model.sha256())  # type: ignore[union-attr]
        candidate.proven = appraise.predict(candidate.model, task, rows, runtime)  # type: ignore[arg-type]
        found = verdict(task, rows, said_proof, candidate.proven, proof_floor, runtime.seed)
        candidate.status = "proven" if found.passed else "failed"
        say(f"{candidate.name}: loss {100 * found.loss:.2f} points, at most {100 * found.upper:.2f}: {candidate.status}", runtime.quiet)
        return found

    walked = prove(finalists, measure)
    sequence = [{"name": c.name, "loss": 100 * v.loss, "upper": 100 * v.upper, "passed": v.passed} for c, v in walked.verdicts]
    return walked.proven or finalists[0], sequence


def recipe(chosen: Candidate, search: Search) -> str:
    """What makes this candidate again, as `penjing run` takes it."""
    source = search.data.examples.name
    lines = [
        f"# {chosen.name}: what made this model; on as many threads it makes the same again",
        f"# penjing run recipe.toml --set data={source}",
        f"title = {json.dumps(f'{chosen.name} of {search.base}', ensure_ascii=False)}",
        f"model = {json.dumps(str(search.base), ensure_ascii=False)}",
    ]
    before, shared = "", {name: value for name, value in plain_options(search.options.data).items() if value}
    for number, (stage, words) in enumerate(chosen.made, 1):
        usual = {flag.name: flag.default for flag in stage_flags(stage, words.get("method"))}
        told = {name: value for name, value in {**words, **shared}.items() if name == "method" or value != usual[name]}
        lines += ["", f"[{(name := f'{number}-{stage}')}]", f'stage = "{stage}"', *([f'model = "{before}"'] if before else [])]
        lines += [f"{word} = {json.dumps(value, ensure_ascii=False)}" for word, value in told.items()]
        before = name
    return "\n".join(lines) + "\n"


def curve(candidates: list[Candidate], simplest: Any, search: Search) -> list[dict[str, Any]]:
    """Parent, baseline and every shape of the search as a point: size, time, and quality on the tune rows where it was trained."""
    base, task, data, runtime = search.base, search.task, search.data, search.runtime
    tune = data.role("tune")
    (times,), _ = appraise.compare_latency([base], task, tune, runtime)
    parent = Candidate("parent", bytes=base.bytes(), latency_ms=times["latency_ms"].value, tuned=search.tuned, status="parent")
    points = []
    for candidate in [parent, *candidates]:
        point: dict[str, Any] = {name: vars(candidate)[name] for name in ("name", "bytes", "latency_ms", "status")}
        if candidate.tuned:
            found = quality(task, candidate.tuned, tune, runtime.seed)[task.primary]
            point |= {"quality": found.value, "low": found.low, "high": found.high}
        if candidate.proven:
            point["proof_quality"] = task.score(candidate.proven, list(data.role("proof")))[task.primary]
        points.append(point)
    if simplest:
        measures = measure_baseline(simplest, task, tune)["measures"]
        found = measures[task.primary]
        size = {"bytes": measures["bytes"].value, "latency_ms": measures["latency_ms"].value}
        points.append({"name": simplest.name, "status": "baseline", **size, "quality": found.value, "low": found.low, "high": found.high})
    return points
