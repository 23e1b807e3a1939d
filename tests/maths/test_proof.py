"""Tango's interval against published values, its closed form and its definition; the bootstrap against Tango; the choice by its laws."""

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtri, xlogy
from sklearn.metrics import f1_score

from penjing.maths.proof import Verdict, chance, judge, judge_by_bootstrap, prove, screen, tango_clearance, tango_upper
from penjing.maths.sample_size import rows_at_zero_flips


def _interval(b, c, n):
    return -tango_upper(c, b, n, 0.975), tango_upper(b, c, n, 0.975)


def test_tango_gives_the_interval_published_for_consolidation_therapy():
    """Cavo 2012: complete response before and after; Fagerland, Lydersen, Laake 2017, chapter 8: -0.1240 to -0.0054."""
    assert _interval(6, 16, 161) == pytest.approx((-0.1240, -0.0054), abs=5e-5)


@pytest.mark.parametrize(("b", "c", "n"), [(1, 7, 21), (40, 20, 160), (12, 2, 50), (0, 9, 300), (55, 50, 1000), (3, 3, 40)])
def test_tango_bounds_solve_the_published_quartic(b, c, n):
    """Yang, Sun, Hardin 2013, Statistics in Medicine 32:1336: both ends are roots of one polynomial of degree four."""
    d, s, g = b - c, b + c, ndtri(0.975) ** 2
    quartic = [
        n**2 * (n / g + 1) ** 2,
        -n * d * (n / g + 1) * (4 * n / g + 1),
        2 * n * d**2 * (3 * n / g + 2) / g - n**2 * (s / g + 1),
        n * d * (2 * s / g + 1) - d**3 * (4 * n / g + 1) / g,
        d**2 * (d**2 / g - s) / g,
    ]
    roots = np.roots(quartic)
    for end in _interval(b, c, n):
        assert abs(roots - end).min() < 1e-7


@pytest.mark.parametrize(("b", "c", "n"), [(5, 2, 60), (2, 9, 80), (0, 3, 45), (30, 30, 500)])
def test_tango_is_the_score_test_of_its_definition(b, c, n):
    """The loss at which the score, its variance taken at the numerically maximised likelihood under that loss, equals z."""

    def score_minus_z(loss):
        def unlikely(p):  # p: share of c; p + loss: share of b
            return -(xlogy(b, p + loss) + xlogy(c, p) + xlogy(n - b - c, 1 - 2 * p - loss))

        p = minimize_scalar(unlikely, bounds=(max(0, -loss), (1 - loss) / 2), method="bounded", options={"xatol": 1e-12}).x
        return (n * loss - (b - c)) / np.sqrt(n * (2 * p + loss - loss**2)) - ndtri(0.95)

    assert tango_upper(b, c, n) == pytest.approx(brentq(score_minus_z, (b - c) / n + 1e-9, 0.9), abs=1e-6)


def test_tango_at_a_loss_of_nothing_is_mcnemars_test():
    """The score of no difference is (b - c) / sqrt(b + c), so that the lower end touches 0 where that equals z."""
    z = ndtri(0.95)
    b, c = 50 + z * 5, 50 - z * 5
    assert -tango_upper(c, b, 400) == pytest.approx(0, abs=1e-9)


def test_tango_on_arrays_is_tango_on_each_of_their_entries():
    worse, better = np.array([[0], [4], [9]]), np.array([0, 3, 20])
    table = tango_upper(worse, better, 100)
    for i in range(3):
        for j in range(3):
            assert table[i, j] == tango_upper(worse[i, 0], better[j], 100)


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 1), (1, 0, 1), (0, 1, 1), (7, 0, 7), (0, 7, 7), (0, 0, 10**7), (10**6, 10**6, 10**7)])
def test_tango_stays_within_its_bounds_at_the_edges(b, c, n):
    assert (b - c) / n <= tango_upper(b, c, n) <= 1


def test_clearance_falls_as_rows_get_worse_and_rises_with_the_floor():
    """What the exact sums of sample_size rest on."""
    flipped = 40
    worse = np.arange(flipped + 1)
    floors = np.linspace(0.001, 0.5, 60)[:, None]
    clearance = tango_clearance(worse, flipped - worse, 300, floors)
    assert (np.diff(clearance, axis=1) < 0).all()
    assert (np.diff(clearance >= 0, axis=0).astype(int) >= 0).all()


def test_a_verdict_passes_up_to_the_floor():
    verdict = judge(10, 12, 1000, floor=0.01)
    assert verdict == (
        -0.002,
        pytest.approx(0.0060, abs=2e-4),
        0.01,
        1000,
        pytest.approx(np.sqrt(22) / 1000, rel=0.04),
        10,
        12,
        "Tango score test",
    )
    assert verdict.passed and not judge(10, 12, 1000, floor=0.005).passed


def _right(rng, n, worse, better, neither=30):
    """(n,) of 0 and 1 for a parent and a child with these paired counts, in random order."""
    parent, child = np.ones(n), np.ones(n)
    child[:worse] = parent[worse : worse + better] = 0
    parent[-neither:] = child[-neither:] = 0
    order = rng.permutation(n)
    return parent[order], child[order]


@pytest.mark.parametrize(("worse", "better", "n"), [(50, 50, 1000), (60, 45, 2000), (20, 25, 500)])
def test_bootstrap_of_accuracy_agrees_with_tango(worse, better, n):
    parent, child = _right(np.random.default_rng(0), n, worse, better)
    verdict = judge_by_bootstrap(lambda rows: parent[rows].mean(), lambda rows: child[rows].mean(), n, 0.02)
    counted = judge(worse, better, n, 0.02)
    assert verdict.loss == pytest.approx(counted.loss) and verdict.spread == pytest.approx(counted.spread, rel=0.05)
    assert verdict.upper == pytest.approx(counted.upper, abs=0.1 * (counted.upper - counted.loss))
    assert (verdict.worse, verdict.better, verdict.n) == (None, None, n)


def test_bootstrap_without_flips_asks_for_as_many_rows_as_tango():
    for n in (100, 267, 268, 900):
        verdict = judge_by_bootstrap(lambda rows: 0.8, lambda rows: 0.8, n, 0.01, resamples=10)
        assert verdict.upper == pytest.approx(float(tango_upper(0, 0, n))) and verdict.passed == (n >= 268)


def test_bootstrap_by_groups_does_not_take_copies_for_evidence():
    parent, child = _right(np.random.default_rng(1), 200, 10, 10)
    alone = judge_by_bootstrap(lambda rows: parent[rows].mean(), lambda rows: child[rows].mean(), 200, 0.05)
    parent, child, names = (np.repeat(x, 5) for x in (parent, child, np.arange(200)))
    score = (lambda rows: parent[rows].mean()), (lambda rows: child[rows].mean())
    copies = judge_by_bootstrap(*score, 1000, 0.05, groups=names.tolist())
    assert copies[:5] == pytest.approx(alone[:5], rel=0.03)  # loss, upper, floor, n, spread
    assert judge_by_bootstrap(*score, 1000, 0.05).upper < 0.6 * copies.upper


def test_bootstrap_by_groups_that_do_not_move_together_is_as_sure_as_by_rows():
    """Flips strewn at random over documents of 2 rows: knowing the documents changes next to nothing."""
    parent, child = _right(np.random.default_rng(2), 4000, 80, 80)
    score = (lambda rows: parent[rows].mean()), (lambda rows: child[rows].mean())
    by_document = judge_by_bootstrap(*score, 4000, 0.02, groups=np.repeat(np.arange(2000), 2).tolist())
    assert by_document.n == 2000 and by_document.passed
    assert by_document.upper == pytest.approx(judge_by_bootstrap(*score, 4000, 0.02).upper, rel=0.1)


def test_bootstrap_without_flips_asks_for_as_many_groups_as_it_would_for_rows():
    for num_groups in (267, 268):
        groups = np.repeat(np.arange(num_groups), 10).tolist()
        verdict = judge_by_bootstrap(lambda rows: 0.8, lambda rows: 0.8, 10 * num_groups, 0.01, resamples=10, groups=groups)
        assert verdict.passed == (num_groups >= 268)


def test_no_row_can_lose_more_than_is_at_stake_on_it():
    for n in (64, 65, 66):
        verdict = judge_by_bootstrap(lambda rows: 0.2, lambda rows: 0.2, n, 0.01, resamples=10, at_stake=0.25)
        assert verdict.upper == pytest.approx(0.25 * float(tango_upper(0, 0, n))) and verdict.passed == (n >= 65)
        assert verdict.passed == (n >= rows_at_zero_flips(0.01, at_stake=0.25))


@pytest.mark.parametrize("lost", [0.5, 1.0])
def test_bootstrap_of_many_answers_a_row_keeps_its_level_where_some_rows_lose_most_of_theirs(lost):
    """250 draws of 400 texts of 100 to 700 tokens, a quarter of them right, of which a few texts lose all or a half; the floor 2 points."""
    rng, passed = np.random.default_rng(7), 0
    for run in range(250):
        tokens = rng.integers(100, 700, 400)
        right = rng.binomial(tokens, 0.25)
        left = np.where(rng.random(400) < 0.02 / 0.25 / lost, right - np.round(lost * right), right)
        scores = [lambda rows, told=told, tokens=tokens: float(told[rows].sum() / tokens[rows].sum()) for told in (right, left)]
        passed += judge_by_bootstrap(*scores, 400, 0.02, resamples=200, seed=run, at_stake=np.quantile(right, 0.95) / tokens.mean()).passed
    assert passed / 250 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 250)


def _macro_f1(table):
    """Mean over classes of F1 from (C, C) counts [true, said]: the same as scikit-learn's, fast enough to simulate."""
    hit = np.diagonal(table, axis1=-2, axis2=-1)
    return (2 * hit / np.maximum(table.sum(-1) + table.sum(-2), 1)).mean(-1)


def test_bootstrap_of_macro_f1_keeps_its_level_at_a_true_loss_of_the_floor():
    """250 draws of 400 rows, 3 uneven classes, parent 90 % right, child turned wrong on 5 % and right on 2 %."""
    rng = np.random.default_rng(5)
    true = rng.choice(3, size=300_000, p=[0.5, 0.3, 0.2])

    def spoil(labels, share):
        return np.where(rng.random(len(labels)) < share, (labels + rng.integers(1, 3, len(labels))) % 3, labels)

    def table(rows, said):
        return np.bincount(3 * true[rows] + said[rows], minlength=9).reshape(3, 3)

    was = spoil(true, 0.10)
    now = np.where(rng.random(len(true)) < 0.02, true, spoil(was, 0.05))
    every = np.arange(len(true))
    assert _macro_f1(table(every, was)) == pytest.approx(f1_score(true, was, average="macro"))
    floor = float(_macro_f1(table(every, was)) - _macro_f1(table(every, now)))
    passed = 0
    for run in range(250):
        rows = rng.choice(len(true), 400)
        scores = [lambda picks, said=said, rows=rows: float(_macro_f1(table(rows[picks], said))) for said in (was, now)]
        passed += judge_by_bootstrap(*scores, 400, floor, resamples=200, seed=run).passed
    assert passed / 250 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 250)


def _passed(draw, num_runs):
    """Shares of draws that the bootstrap and Tango's test pass; `draw` gives parent and child, right or wrong, and the floor."""
    by_groups, by_rows = 0, 0
    for run in range(num_runs):
        parent, child, floor, groups = draw()
        scores = [lambda rows, right=right: float(right[rows].mean()) for right in (parent, child)]
        by_groups += judge_by_bootstrap(*scores, len(parent), floor, resamples=200, seed=run, groups=groups).passed
        by_rows += judge(int((parent > child).sum()), int((child > parent).sum()), len(parent), floor).passed
    return by_groups / num_runs, by_rows / num_runs


def test_bootstrap_by_groups_keeps_its_level_where_rows_of_a_group_move_together_and_tango_does_not():
    """60 speakers of 8 rows; a speaker's chance of a row turned wrong (6 %) or right (3 %) is beta with a correlation of 0.3."""
    rng = np.random.default_rng(11)
    names = np.repeat(np.arange(60), 8)

    def draw():
        wrong, right = (np.repeat(rng.beta(mean * 7 / 3, (1 - mean) * 7 / 3, 60), 8) for mean in (0.06, 0.03))
        luck = rng.random(480)
        return 1.0 - ((luck >= wrong) & (luck < wrong + right)), 1.0 - (luck < wrong), 0.03, names.tolist()

    by_groups, by_rows = _passed(draw, 200)
    assert by_groups <= 0.06 and by_rows > 0.12


@pytest.mark.parametrize(("worse", "better", "n"), [(0, 0, 300), (3, 1, 300), (12, 12, 400), (40, 30, 1000), (9, 2, 150)])
def test_chance_is_that_of_a_draw_of_the_truth_and_then_of_the_proof_rows(worse, better, n):
    """Dirichlet posterior with half a row in the flipped cells, trinomial proof rows, Tango's test: brute force."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([worse + 0.5, better + 0.5, n - worse - better + 1], size=20_000)
    draws = rng.multinomial(2 * n, shares)
    for floor in (0.01, 0.02, 0.04):
        share = (tango_upper(draws[:, 0], draws[:, 1], 2 * n) <= floor).mean()
        assert chance(judge(worse, better, n, floor), 2 * n) == pytest.approx(share, abs=0.12)


def test_few_tuning_rows_pull_a_chance_towards_a_half():
    chances = [chance(judge(2 * k, k, 100 * k, 0.025), 4000) for k in (1, 4, 16, 64)]
    assert 0.5 < chances[0] < chances[1] < chances[2] < chances[3]


def _tuned(loss, spread=0.004, floor=0.01, n=1000):
    return Verdict(loss, loss + 1.645 * spread, floor, n, spread)


def test_the_likeliest_goes_first_and_each_after_it_is_smaller():
    losses, num_bytes = [0.004, -0.003, 0.001, 0.000], [10, 80, 40, 90]
    assert screen([_tuned(loss) for loss in losses], num_bytes, 2000) == [1, 2, 0]


def test_equally_safe_candidates_go_from_the_largest_to_the_smallest():
    verdicts = [_tuned(loss) for loss in (-0.0500, -0.0502, -0.0501, -0.0499)]
    assert screen(verdicts, [20, 30, 10, 40], 2000) == [3, 1, 0, 2]


def test_a_candidate_with_little_chance_is_not_tried_but_the_best_always_is():
    assert screen([_tuned(-0.003), _tuned(0.03)], [80, 10], 2000) == [0]
    assert screen([_tuned(0.05), _tuned(0.03)], [80, 10], 2000) == [1]
    assert screen([], [], 2000) == []


def test_of_candidates_of_one_size_the_likelier_is_tried():
    assert screen([_tuned(0.001), _tuned(0.0009)], [50, 50], 2000) == [1]


def test_proof_rows_are_opened_one_finalist_at_a_time_and_not_after_a_failure():
    opened = []

    def measure(name):
        opened.append(name)
        return judge({"large": 5, "medium": 6, "small": 40, "tiny": 0}[name], 5, 1000, 0.01)

    proof = prove(["large", "medium", "small", "tiny"], measure)
    assert opened == ["large", "medium", "small"]
    assert proof.proven == "medium"
    assert [verdict.passed for _, verdict in proof.verdicts] == [True, True, False]


def test_where_nothing_is_proven_only_the_first_was_looked_at():
    proof = prove(["large", "small"], lambda name: judge(40, 5, 1000, 0.01))
    assert proof.proven is None and [item for item, _ in proof.verdicts] == ["large"]
    assert prove([], lambda name: judge(0, 0, 10, 0.01)) == (None, [])
