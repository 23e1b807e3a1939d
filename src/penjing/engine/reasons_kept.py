"""Whether two models that answer the same rows do so for the same reasons, and how far apart their distributions are.

Both are asked why they say what the parent says. Their scores are set side by side word by word: how alike in rank, and how many of the
most important ones are the same. Two models that were trained alike but for the seed do not agree wholly either: that is the noise floor.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy
import torch

from penjing.core.examples import Examples, spread
from penjing.core.find import find
from penjing.core.progress import progress
from penjing.core.report import Measure
from penjing.core.runtime import Runtime
from penjing.engine.asked import Row, asked, row
from penjing.engine.batches import Encoded
from penjing.engine.load import Loaded
from penjing.engine.measure import answer
from penjing.engine.reasons import METHODS, answering
from penjing.engine.threads import torch_threads
from penjing.maths.faithfulness import overlap, rank_correlation
from penjing.maths.intervals import bootstrap

MOST_ROWS, MOST_COMPARED = 50, 200  # that are explained; whose distributions are compared
MOST_S = 120.0  # after which no other row is explained: one of 400 tokens takes two models of a language 12 s
TOP = 5  # units that count as the most important
MOST_LISTED = 5  # rows with the least agreement


def reasons_kept(models: Sequence[Loaded], rows: Examples, runtime: Runtime) -> dict[str, Any]:
    """For the report: how far the reasons of two models agree, and the rows on which they agree least.

    models   parent and child; maybe a third, trained as the parent with another seed: how far the parent agrees with it is the noise floor
    rows     evenly spread ones are asked about, in an order drawn once, as far as the time for it goes
    """
    method = "integrated-gradients" if all(isinstance(each.model, torch.nn.Module) for each in models) else "occlusion"
    evenly = spread(len(rows), min(MOST_ROWS, len(rows)))
    chosen = rows.take([int(i) for i in numpy.random.default_rng(0).permutation(evenly)])
    found = [*_explained(models, chosen, method, runtime)]
    pairs = [(i, one, scores) for i, one, scores in found if len({len(each) for each in scores}) == 1 and len(scores[0]) > 1]
    facts: dict[str, Any] = {"method": method, "n": len(pairs), "asked": len(found), **_agreement([s[:2] for _, _, s in pairs], runtime)}
    if models[2:]:
        facts["floor"] = {"other": str(models[2].base), **_agreement([[s[0], s[2]] for _, _, s in pairs], runtime)}
    least = sorted(pairs, key=lambda pair: rank_correlation(*pair[2][:2]))[:MOST_LISTED]
    facts["least"] = [
        {
            "row": chosen.place(i),
            "correlation": round(rank_correlation(*scores[:2]), 3),
            "parent": _top(one, scores[0]),
            "child": _top(one, scores[1]),
        }
        for i, one, scores in least
    ]
    return facts


def _explained(models: Sequence[Loaded], rows: Examples, method: str, runtime: Runtime) -> Any:
    """(row, how the parent was asked, scores of each model) for each row."""
    task, module = models[0].task, find(METHODS, method)
    questions = [task.asked(rows[i]) for i in range(len(rows))]
    said = answer(answering(models[0]), task, Encoded(questions, task, models[0].processor, labelled=False), runtime.quiet, "predicting")
    for model in models:
        if isinstance(model.model, torch.nn.Module):
            model.model.requires_grad_(False)
    until = time.perf_counter() + MOST_S
    with torch_threads(runtime.threads), progress("explaining", len(rows), runtime.quiet) as shown:
        for i, (question, prediction) in enumerate(zip(questions, said)):
            example, first, scores = task.answered(question, prediction.value), None, []
            for model in models:
                one = row(model.model, model.task, example, model.processor)
                if first is not None and len(one.choice) == len(first.choice):
                    one = replace(one, choice=first.choice)  # all are asked about the answer of the parent
                first = first or one
                scores.append(module.apply(asked(model.model, model.task, one, model.processor), module.Options()).numpy())
            yield i, first, scores
            shown.step()
            if time.perf_counter() > until:
                return


def _agreement(pairs: Sequence[Sequence[numpy.ndarray]], runtime: Runtime) -> dict[str, Measure]:
    """Mean rank correlation and mean overlap of the most important units, each with its interval."""
    each = {"correlation": [rank_correlation(a, b) for a, b in pairs], "overlap": [overlap(a, b, TOP) for a, b in pairs]}
    return {name: _mean(numpy.array(values), runtime.seed) for name, values in each.items() if values}


def _mean(values: numpy.ndarray, seed: int) -> Measure:
    low, high = bootstrap(lambda rows: float(values[rows].mean()), len(values), seed=seed) if len(values) > 1 else (None, None)
    return Measure(float(values.mean()), "", low, high, len(values))


def _top(one: Row, scores: numpy.ndarray) -> list[str]:
    order = numpy.argsort(-scores, kind="stable")[:TOP]
    return [one.units[i].name for i in order]


def divergence(models: Sequence[Loaded], rows: Examples, runtime: Runtime) -> Measure | None:
    """Mean Kullback-Leibler divergence of a parent's distributions from its child's, in nats; None where they are of different things.

    Rows are asked about one by one, so that padding plays no part.
    """
    found = []
    for i in (int(i) for i in spread(len(rows), min(MOST_COMPARED, len(rows)))):
        batches = [Encoded([rows[i]], model.task, model.processor, labelled=model.task.generates).batch([0]) for model in models]
        with torch.no_grad():
            logits = [model.task.logits(model.model(**batch.inputs), batch)[0].float() for model, batch in zip(models, batches)]
        if logits[0].shape != logits[1].shape or logits[0].shape[-1] == 1:
            return None
        was, now = (each.log_softmax(-1) for each in logits)
        found.append(float((was.exp() * (was - now)).sum(-1).mean()))
    return replace(_mean(numpy.array(found), runtime.seed), unit="nats", better="lower")
