"""How often the proof passes a child that truly loses the floor, and one that loses a quarter of it.

    python benchmarks/compression/error_rates.py [--real PARENT CHILD DATA]

Simulated   rows whose flips are drawn with a known loss, through the whole procedure: four candidates, screened on tuning rows, proven in
            a fixed sequence
Texts       of 100 to 700 tokens, a quarter of them told rightly by the parent; the child loses some texts whole, those with more right ones
            more often, which is the worst that a bootstrap over texts can meet. One candidate, 1,000 runs
Real        the answers of two models to the tuning rows of DATA, worse and better rows weighted so that the loss of the population that
            rows are drawn from is known
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from common import conditions, table

import penjing
from penjing.engine.appraise import predict
from penjing.maths.flips import discordant
from penjing.maths.proof import Verdict, judge_by_bootstrap, loss_spread, prove, screen, tango_upper
from penjing.maths.sample_size import TOLD_POWER, power_at
from penjing.stages._frame import prepare
from penjing.tasks._language import STAKED

RUNS, TEXT_RUNS, COSTS, SHARED = 2000, 1000, [40, 30, 20, 10], 0.8
SETTINGS = [(0.01, 0.03), (0.01, 0.06), (0.02, 0.03), (0.02, 0.06), (0.02, 0.12), (0.03, 0.06), (0.03, 0.12)]  # floor, flips


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", nargs=3, metavar=("PARENT", "CHILD", "DATA"), help="two models, and rows that neither has learnt from")
    given = parser.parse_args()
    lines = [simulated(floor, flips) for floor, flips in SETTINGS]
    lines += [texts(rows, floor) for rows in (200, 400, 1000) for floor in (0.0075, 0.02)]
    lines += real(*given.real) if given.real else []
    head = ["children", "floor", "answers that flip", "rows", "passed at a loss of the floor", "passed at a quarter of it"]
    print(f"## error rates of the proof\n\n{conditions()}\n\n{table(head, lines)}")


def simulated(floor: float, flips: float) -> list[str]:
    """A row of the table: four candidates, four of five flips shared by all."""
    rng = np.random.default_rng([round(1000 * floor), round(1000 * flips)])
    rows = next(n for n in range(100, 100_000, 50) if power_at(n, floor, flips, floor / 4) >= TOLD_POWER)
    at_floor, at_quarter = (procedure(rng, flips, loss, floor, rows) for loss in (floor, floor / 4))
    return ["simulated", f"{100 * floor:g} points", f"{flips:.0%}", f"{rows:,}", f"{at_floor:.1%}", f"{at_quarter:.1%}"]


def procedure(rng: np.random.Generator, flips: float, loss: float, floor: float, rows: int) -> float:
    """Share of runs in which any of four candidates with this true loss is proven; half as many tuning rows."""
    tuning, unseen = (verdicts(counts(rng, n, flips, loss), n, floor) for n in (rows // 2, rows))
    proofs = [prove(screen(tuned, COSTS, rows), run.__getitem__) for tuned, run in zip(tuning, unseen)]
    return float(np.mean([proof.proven is not None for proof in proofs]))


def counts(rng: np.random.Generator, rows: int, flips: float, loss: float) -> np.ndarray:
    """(RUNS, 4, 2) worse and better rows."""
    shares = np.array([(flips + loss) / 2, (flips - loss) / 2])
    common, own = SHARED * shares, (1 - SHARED) * shares
    both = rng.multinomial(rows, [*common, 1 - common.sum()], size=RUNS)[:, None]
    alone = rng.multinomial(np.broadcast_to(both[..., 2], (RUNS, 4)), [*(own / (1 - common.sum())), 1 - own.sum() / (1 - common.sum())])
    return both[..., :2] + alone[..., :2]


def verdicts(counted: np.ndarray, rows: int, floor: float) -> list[list[Verdict]]:
    """What `judge` says of each candidate of each run, all at once."""
    worse, better = counted[..., 0], counted[..., 1]
    columns = (worse - better) / rows, tango_upper(worse, better, rows), loss_spread(worse, better, rows), worse, better
    return [
        [Verdict(loss, upper, floor, rows, spread, b, c) for loss, upper, spread, b, c in zip(*run)]
        for run in zip(*(column.tolist() for column in columns))
    ]


def texts(rows: int, floor: float) -> list[str]:
    """A row of the table: a language model's next tokens, proven by bootstrap."""
    passed = [np.mean([_text_passes(rows, floor, loss, seed) for seed in range(TEXT_RUNS)]) for loss in (floor, floor / 4)]
    return ["texts lost", f"{100 * floor:g} points", "", f"{rows:,}", f"{passed[0]:.1%}", f"{passed[1]:.1%}"]


def _text_passes(rows: int, floor: float, loss: float, seed: int) -> bool:
    rng = np.random.default_rng([seed, rows])
    tokens = rng.integers(100, 700, rows)
    right = rng.binomial(tokens, np.clip(rng.normal(0.25, 0.05, rows), 0.05, 0.6))
    share = right * loss * tokens.sum() / (right * right).sum()  # of texts that are lost, so that the loss is the true one
    left = np.where(rng.random(rows) < share, 0, right)
    score = [lambda drawn, told=told: float(told[drawn].sum() / tokens[drawn].sum()) for told in (right, left)]
    stake = float(np.quantile(right, STAKED) / tokens.mean())
    return judge_by_bootstrap(*score, rows, floor, resamples=400, seed=seed, at_stake=stake).passed


def real(parent: str, child: str, data: str) -> list[list[str]]:
    """Rows of the table: the flips of two models, on as many rows as the proof of DATA has."""
    call = prepare("compare", parent, data, {"child": child, "rows": "tune"}, penjing.Runtime(quiet=True))
    tune, rows = call.data.role("tune"), call.data.role("proof").units
    bases = [call.base, penjing.ModelDir.open(child)]
    right = [call.task.per_row(predict(base, call.task, tune, call.runtime), list(tune)) for base in bases]
    worse, better = (count / len(tune) for count in discordant(*right))
    flips, lines = worse + better, []
    for floor in (0.01, 0.02, 0.03):
        passed = []
        for loss in (floor, floor / 4):
            shares = [(flips + loss) / 2, (flips - loss) / 2]
            drawn = np.random.default_rng(0).multinomial(rows, [*shares, 1 - flips], size=RUNS)
            passed.append(float(np.mean(tango_upper(drawn[:, 0], drawn[:, 1], rows) <= floor)))
        lines.append(["real", f"{100 * floor:g} points", f"{flips:.1%}", f"{rows:,}", f"{passed[0]:.1%}", f"{passed[1]:.1%}"])
    return lines


if __name__ == "__main__":
    main()
