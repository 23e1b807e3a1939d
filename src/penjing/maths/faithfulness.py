"""Whether an explanation says what the model does: scores of units of the input (words, patches) held against the model itself.

Letters   U units, K inputs that are asked about at once

Sources   deletion and insertion: Petsiuk, Das, Saenko 2018, "RISE", section 4.3, against random orders as in Hooker et al. 2019;
          completeness: Sundararajan, Taly, Yan 2017, section 3; random weights: Adebayo et al. 2018, "Sanity checks for saliency maps"
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy

Answer = Callable[[numpy.ndarray], numpy.ndarray]
"""(K, U) bool, which units are there -> (K,) what the model says then."""


class Faithfulness(NamedTuple):
    """How the answer falls as units leave in the order of their scores, and rises as they come back.

    shares      (S,) shares of the units that have left or come
    deletion    (S,) answers as the most important leave first
    insertion   (S,) answers as the most important come first
    random      (R, S) answers as units leave in random orders
    gain        area between random orders and deletion, as a share of the range of all these answers; 0 for an order that tells nothing
    beaten      share of the random orders that lie above the deletion
    """

    shares: numpy.ndarray
    deletion: numpy.ndarray
    insertion: numpy.ndarray
    random: numpy.ndarray
    gain: float
    beaten: float


def faithfulness(answer: Answer, scores: numpy.ndarray, seed: int = 0, steps: int = 16, orders: int = 10) -> Faithfulness:
    """The curves of one explanation.

    scores   (U,) how much each unit speaks for the answer
    steps    at so many shares of the units, fewer where there are fewer units
    """
    units = len(scores)
    cuts = numpy.unique(numpy.linspace(0, units, min(steps, units) + 1).round().astype(int))
    best, draw = numpy.argsort(-scores, kind="stable"), numpy.random.default_rng(seed)
    leaving = [best, *(draw.permutation(units) for _ in range(orders))]
    asked = numpy.concatenate([[without(order[:cut], units) for cut in cuts] for order in leaving])
    asked = numpy.concatenate([asked, [~without(best[:cut], units) for cut in cuts]])
    said = answer(asked).reshape(len(leaving) + 1, len(cuts))
    deletion, random, insertion, shares = said[0], said[1:-1], said[-1], cuts / units
    areas = numpy.trapezoid(random, shares, axis=1)
    width = numpy.ptp(said)
    gain = float((areas.mean() - numpy.trapezoid(deletion, shares)) / width) if width else 0.0
    return Faithfulness(shares, deletion, insertion, random, gain, float((areas > numpy.trapezoid(deletion, shares)).mean()))


def without(left: Sequence[int] | numpy.ndarray, units: int) -> numpy.ndarray:
    """(U,) bool: all units but these."""
    there = numpy.ones(units, bool)
    there[left] = False
    return there


def completeness_gap(scores: numpy.ndarray, whole: float, nothing: float) -> float:
    """How far the scores are from adding up to what the input changes, as a share of all they say for and against.

    Of the change itself it would be a share of nothing where what speaks for an answer and against it are as strong.
    """
    return abs(float(scores.sum()) - (whole - nothing)) / max(float(numpy.abs(scores).sum()), 1e-12)


def rank_correlation(first: numpy.ndarray, second: numpy.ndarray) -> float:
    """Spearman's, of two explanations (U,) of the same units; 0 where one says the same of all of them."""
    from scipy.stats import rankdata  # 0.3 s

    ranks = [rankdata(scores) for scores in (first, second)]
    if any(numpy.ptp(each) == 0 for each in ranks):
        return 0.0
    return float(numpy.corrcoef(*ranks)[0, 1])


def overlap(first: numpy.ndarray, second: numpy.ndarray, k: int) -> float:
    """Share of the k highest of one that are among the k highest of the other."""
    tops = [set(numpy.argsort(-scores, kind="stable")[:k].tolist()) for scores in (first, second)]
    return len(tops[0] & tops[1]) / max(1, min(k, len(first)))
