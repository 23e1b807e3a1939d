"""Which engine serves a model best on this machine: the artefact of each beside its parent, on the same rows and in turn."""

from collections.abc import Sequence
from typing import Any

from penjing.core.examples import Examples
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import appraise
from penjing.engine.backends import open_backend
from penjing.engine.deliver import logits_apart
from penjing.engine.load import Loaded
from penjing.maths.flips import sign_test

SURE = 0.05  # chance of calling two engines different in flips where they are not


def contest(
    base: ModelDir, whole: Loaded, artefacts: Sequence[ModelDir], rows: Examples, runtime: Runtime, threads: int = 1
) -> list[dict[str, Any]]:
    """One entry for each artefact of `base`, which `whole` holds: what it costs, how it differs from its parent, and its `status`."""
    task = whole.task
    answers = [[p.value for p in appraise.predict(each, task, rows, runtime)] for each in (base, *artefacts)]
    times, _ = appraise.compare_latency([base, *artefacts], task, rows, runtime, threads)
    entries = []
    for artefact, taken in zip(artefacts, times[1:]):
        backend = open_backend(artefact, task, runtime)
        costs = {"engine": backend.name, "latency_ms": taken["latency_ms"], "bytes": artefact.bytes(), "threads": threads}
        entries.append({**costs, "logits": logits_apart(whole, backend, rows)})
    if task.scale(rows) is not None:  # of numbers nearly every one changes a little
        return judge(entries, [[False] * len(rows) for _ in artefacts])
    changed = [[now != was for now, was in zip(said, answers[0])] for said in answers[1:]]
    return judge([{**entry, "flips": sum(rows_changed), "rows": len(rows)} for entry, rows_changed in zip(entries, changed)], changed)


def judge(entries: Sequence[dict[str, Any]], changed: Sequence[Sequence[bool]]) -> list[dict[str, Any]]:
    """The entries with their `status`.

    changed   for each entry and row, whether it answers otherwise than the parent

    "flips more" are those that change more answers than another by more than chance, however fast they are; of the rest the fastest is
    "chosen" and the others are "slower".
    """
    worse = [any(sign_test(mine, theirs) < SURE for theirs in changed) for mine in changed]
    fastest = min((i for i, dropped in enumerate(worse) if not dropped), key=lambda i: entries[i]["latency_ms"].value)
    told = ["flips more" if dropped else "chosen" if i == fastest else "slower" for i, dropped in enumerate(worse)]
    return [{**entry, "status": status} for entry, status in zip(entries, told)]
