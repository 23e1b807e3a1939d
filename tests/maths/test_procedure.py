"""The whole procedure, simulated: rows told, four candidates on tuning rows, screened, proven on proof rows.

At a true loss of the floor for every candidate hardly anything may pass; without a true loss the power that the
rows were told for must survive the screening.
"""

import functools

import numpy as np
import pytest

from penjing.maths.proof import Proof, Verdict, judge, loss_spread, prove, screen, tango_upper
from penjing.maths.sample_size import TOLD_POWER, power_at, rows_needed

RUNS = 2000
NUM_BYTES = [40, 30, 20, 10]
SETTINGS = [(floor, flips, shared) for floor in (0.01, 0.02, 0.03) for flips in (0.03, 0.06, 0.12) for shared in (0.0, 0.8)]


def _counts(rng, n, flips, loss, shared):
    """(RUNS, K, 2) b and c on n rows; `shared` is the share of flips that befall all candidates alike.

    flips, loss   (K,) true shares of each candidate
    """
    worse, better = (flips + loss) / 2, (flips - loss) / 2
    all_worse, all_better = shared * worse.min(), shared * better.min()
    rest = 1 - all_worse - all_better
    common = rng.multinomial(n, [all_worse, all_better, rest], size=RUNS)[:, None]
    own = np.stack([(worse - all_worse) / rest, (better - all_better) / rest, (1 - flips) / rest], -1)
    return common[..., :2] + rng.multinomial(common[..., 2], own)[..., :2]


def _verdicts(counts, n, floor):
    """(RUNS, K) nested lists: what `judge` says, for all runs at once."""
    worse, better = counts[..., 0], counts[..., 1]
    columns = (worse - better) / n, tango_upper(worse, better, n), loss_spread(worse, better, n), worse, better
    return [
        [Verdict(loss, upper, floor, n, spread, b, c) for loss, upper, spread, b, c in zip(*run)]
        for run in zip(*(column.tolist() for column in columns))
    ]


def _simulate(seed, floor, flips, loss, shared, num_proof) -> list[Proof[int]]:
    """The proofs of RUNS runs; half as many tuning rows as proof rows."""
    rng = np.random.default_rng(seed)
    flips, loss = np.broadcast_to(flips, 4), np.broadcast_to(loss, 4)
    tuning = _verdicts(_counts(rng, num_proof // 2, flips, loss, shared), num_proof // 2, floor)
    unseen = _verdicts(_counts(rng, num_proof, flips, loss, shared), num_proof, floor)
    return [prove(screen(tuned, NUM_BYTES, num_proof), run.__getitem__) for tuned, run in zip(tuning, unseen)]


def _share_proven(proofs):
    return np.mean([proof.proven is not None for proof in proofs])


def test_the_simulation_judges_as_judge_does_and_draws_the_shares_it_names():
    counts = _counts(np.random.default_rng(0), 500, np.full(4, 0.06), np.full(4, 0.02), 0.8)
    np.testing.assert_allclose(counts.mean((0, 1)) / 500, [0.04, 0.02], rtol=0.03)
    assert np.corrcoef(counts[:, 0, 0], counts[:, 1, 0])[0, 1] == pytest.approx(0.8, abs=0.05)
    verdicts = _verdicts(counts, 500, 0.02)
    assert all(verdicts[run][k] == pytest.approx(judge(*counts[run, k].tolist(), 500, 0.02)) for run in range(5) for k in range(4))


def _seed(*setting):
    return [round(1000 * x) for x in setting]


@pytest.mark.parametrize(("floor", "flips", "shared"), SETTINGS)
def test_candidates_that_truly_lose_the_floor_are_hardly_ever_proven(floor, flips, shared):
    proofs = _simulate(_seed(1, floor, flips, shared), floor, flips, floor, shared, rows_needed(floor, flips))
    assert _share_proven(proofs) <= 0.06


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_a_lossless_candidate_among_lossy_ones_does_not_help_those(shared):
    """Only the second is lossless; a lossy one that ends up proven is an error, and stays as rare as promised."""
    proofs = _simulate(_seed(2, shared), 0.02, 0.06, np.array([0.02, 0.0, 0.02, 0.02]), shared, rows_needed(0.02, 0.06))
    assert np.mean([proof.proven in (0, 2, 3) for proof in proofs]) <= 0.06


@functools.cache
def _without_loss(power):
    """(power summed exactly, share of RUNS proven) in each setting."""
    found = []
    for floor, flips, shared in SETTINGS:
        n = rows_needed(floor, flips, power)
        proofs = _simulate(_seed(3, floor, flips, shared), floor, flips, 0.0, shared, n)
        found.append((power_at(n, floor, flips), _share_proven(proofs)))
    return np.array(found)


def test_without_true_loss_the_told_power_survives_the_screening():
    """The told rows are the fewest with 80 %, so that 2,000 runs fall on either side of it; all 36,000 together do not."""
    exact, simulated = _without_loss(0.80).T
    assert exact.min() >= 0.80 and simulated.mean() >= 0.80
    assert (abs(simulated - exact) <= 3 * np.sqrt(0.8 * 0.2 / RUNS)).all()


def test_a_reserve_of_three_points_shows_eighty_percent_in_every_2000_runs():
    assert (_without_loss(TOLD_POWER)[:, 1] >= 0.80).all()


def test_the_walk_ends_at_the_smallest_where_all_are_safe():
    """Ten times the rows needed: everything passes, nothing larger than needed is kept."""
    proofs = _simulate(_seed(4), 0.02, 0.06, 0.0, 0.8, 10 * rows_needed(0.02, 0.06))
    assert np.mean([proof.proven == 3 for proof in proofs]) > 0.99
