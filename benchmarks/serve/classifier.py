"""A classifier behind `penjing serve`, beside its engine called in a loop and beside the usual pipeline behind FastAPI.

    taskset -c 0-3 python benchmarks/serve/classifier.py --texts sst2/validation.csv --model INT8 --model PARENT [--rounds 5] [--seconds 10]
        [--ray PYTHON] [--infinity PROGRAM]

On all cores that it is given, and once more with one core left to clients and server. The arms wait while one of them is measured, and take
turns; each figure is the median of the rounds, with the least and the most. Half load: requests that come at random, half as many a second
as the server answered to 64 clients. Ray Serve with penjing's application, and the embedding server infinity, are asked as well where
they are given.
"""

import argparse
import contextlib
import csv
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common import conditions, table
from process import Bare, Peer, peers

from penjing.core.runtime import Runtime
from penjing.serve import driving
from penjing.serve.bench import run, summary
from penjing.serve.started import Server, started

CLIENTS = 64
HEAD = ("model", "cores", "what", "measured", "bar")
EXTRA_BYTES = 150e6


class Arms(NamedTuple):
    """What takes turns: the loop, the server, and servers of other makes by name."""

    bare: Bare
    server: Server
    others: dict[str, tuple[Peer, Server]]


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="a csv with a column text")
    parser.add_argument("--model", type=Path, action="append", required=True, help="a classifier; those of torch are given to the pipeline")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ray", help="a Python with ray[serve]; it finds the packages of this one")
    parser.add_argument("--infinity", help="the program infinity_emb, of a Python that has infinity-emb[server,torch]")
    given = parser.parse_args()
    with given.texts.open(encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    cores = sorted(os.sched_getaffinity(0))
    lines = []
    for model in given.model:
        lines += starts(model, given, cores)
        for left in (0, 1) if len(cores) > 1 else (0,):
            with arms(model, given, cores, left) as found:
                lines += figures(model, found, texts, len(cores), left, given.rounds, given.seconds)
    print(f"## serve: a classifier\n\n{conditions()}\n\n{table(HEAD, lines)}")


def starts(model: Path, given: argparse.Namespace, cores: Sequence[int]) -> list[list[str]]:
    """Lines of the table: how soon the server is ready, and the loop has its first answer, started in turn."""
    noted: dict[str, list[float]] = {"server": [], "bare": []}
    for _ in range(given.rounds + 1):  # the first reads the files
        with Bare(model, given.texts, len(cores), cores) as bare:
            noted["bare"].append(bare.ready_s)
        with started([model], Runtime(threads=len(cores)), {"port": 0, "log": "none"}) as server:
            noted["server"].append(server.ready_s or 0.0)
    noted = {name: values[1:] for name, values in noted.items()}
    name, where, both = model.name, str(len(cores)), "; ".join(f"{spread(noted[each])} s" for each in ("server", "bare"))
    return [
        [name, where, "start to ready: server; imports, load and an answer", both, ""],
        [name, where, "start to ready over imports, load and an answer", f"{spread(ratios(noted, 'server', 'bare'))}×", "≤ 1.3×"],
    ]


@contextlib.contextmanager
def arms(model: Path, given: argparse.Namespace, cores: Sequence[int], left: int) -> Iterator[Arms]:
    """All of them, ready; with a core left the engines have one thread less, and the loop and the clients are kept apart."""
    threads = len(cores) - left
    with contextlib.ExitStack() as stack:
        bare = stack.enter_context(Bare(model, given.texts, threads, cores[:threads]))
        server = stack.enter_context(started([model], Runtime(threads=threads), {"port": 0, "log": "none"}))
        others = peers(model, threads, vars(given)) if (model / "model.safetensors").exists() and not left else {}
        yield Arms(bare, server, {name: (other, stack.enter_context(other.started())) for name, other in others.items()})


def figures(model: Path, found: Arms, texts: Sequence[str], cores: int, left: int, rounds: int, seconds: float) -> list[list[str]]:
    """Lines of the table."""
    mine = [driving.post(f"{found.server.url}/v1/models/{model.resolve().name}/predict", {"inputs": [text]}) for text in texts]
    asked = {"server": (found.server, mine)}
    for name, (other, server) in found.others.items():
        asked[name] = server, [driving.post(f"{server.url}{other.path}", other.body(text)) for text in texts]
    noted: dict[str, list[float]] = {}
    begun = found.server.memory_bytes(), found.bare.memory_bytes

    def note(**values: float) -> None:
        for name, value in values.items():
            noted.setdefault(name, []).append(value)

    for turn in range(rounds + 1):
        bare, single = found.bare.ask("throughput", seconds), found.bare.ask("single", seconds / 2)
        rates = {name: loaded(server, requests, seconds) for name, (server, requests) in asked.items()}
        half = paced(found.server, mine, rates["server"] / 2, seconds)
        if turn:  # the first warms up
            note(
                **{"bare": bare["rate"], **rates},
                single=single["p50_ms"],
                late=single["p99_ms"],
                half=half["p50_ms"],
                half_late=half["p99_ms"],
            )
    share, late = (ratios(noted, *pair) for pair in (("server", "bare"), ("half_late", "single")))
    memory = {"ready": begun, "after the load": (found.server.memory_bytes(), int(bare["memory_bytes"]))}
    where = f"{cores}, one left" if left else str(cores)
    name = f"{model.name}"
    return [
        [name, where, f"engine in a loop, batches of {found.bare.batch_rows}", f"{spread(noted['bare'])} rows/s", ""],
        [name, where, f"server, {CLIENTS} clients", f"{spread(noted['server'])} rows/s", ""],
        [name, where, "share of the loop's", f"{spread(share, 100)} %", "≥ 90 %" if left else "≥ 75 %"],
        *(
            line
            for other in found.others
            for line in (
                [name, where, f"{other}, {CLIENTS} clients", f"{spread(noted[other])} rows/s", ""],
                [name, where, "times that", f"{spread(ratios(noted, 'server', other))}×", "≥ 4×" if "pipeline" in other else ""],
            )
        ),
        [
            name,
            where,
            "a single text without a server: median; 99 of 100 under",
            f"{spread(noted['single'])} ms; {spread(noted['late'])} ms",
            "",
        ],
        [name, where, "half load: median; 99 of 100 under", f"{spread(noted['half'])} ms; {spread(noted['half_late'])} ms", ""],
        [name, where, "the latter by the median of a single text", f"{spread(late)}×", "≤ 3×"],
        *(
            [
                name,
                where,
                f"memory, {when}: server; engine and model",
                f"{held / 1e6:.0f} MB; {least / 1e6:.0f} MB",
                f"≤ {(least + EXTRA_BYTES) / 1e6:.0f} MB",
            ]
            for when, (held, least) in memory.items()
            if not left
        ),
    ]


def loaded(server: Server, requests: Sequence[bytes], seconds: float) -> float:
    """Rows a second that it answers to all clients."""
    begun = time.perf_counter()
    found = run(driving.closed(server.url, requests, CLIENTS, seconds))
    point = summary(found, CLIENTS, time.perf_counter() - begun, None)
    if point["failed"]:
        raise SystemExit(f"{server.url} failed {point['failed']} times: {next(each for each in found if each.status != 200)}")
    return float(point["rate"])


def paced(server: Server, requests: Sequence[bytes], rate: float, seconds: float) -> dict[str, Any]:
    """Times of requests that come at random."""
    return summary(run(driving.paced(server.url, requests, rate, seconds)), None, seconds, None)


def ratios(noted: dict[str, list[float]], one: str, other: str) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(noted[one], noted.get(other, []))]


def spread(values: Sequence[float], scale: float = 1.0) -> str:
    """Median, least and most."""
    return "{:.3g} ({:.3g}-{:.3g})".format(*(scale * value for value in (statistics.median(values), min(values), max(values))))


if __name__ == "__main__":
    main()
