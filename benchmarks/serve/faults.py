"""A server under mixed load while clients die, models are loaded anew and workers are killed: what is answered wrong, and what is lost.

    python benchmarks/serve/faults.py --texts sst2/validation.csv --model PARENT --model INT8 [--minutes 15] [--workers 2]

Clients ask for one to four rows, now and then for 64, or send what is wrong; each answer is held against that of the model called in this
process. A request counts as lost if its connection ended without an answer; a 503 is right for those that were on their way when a worker
was killed. Memory is that of all processes together, medians of the second quarter of the time and of the last.
"""

import argparse
import asyncio
import collections
import contextlib
import csv
import itertools
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common import conditions, table

from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.serve import driving
from penjing.serve.bench import run
from penjing.serve.hosted import Hosted
from penjing.serve.started import Server, family, started

CLIENTS, MOST_TEXTS = 16, 256
RELOAD_S, KILL_S, LEAVE_S, LOOK_S = 7.0, 45.0, 0.2, 2.0  # between two of each
NEAR = 0.1  # of a score, for int8: its ranges are those of the batch
UNAVAILABLE = 503
BAD = (b"{", b'{"inputs": 3}', b'{"inputs": [""]}', b'{"inputs": ["a"], "sure": 1}', b"\xff")


@dataclass
class Seen:
    """What happened.

    statuses   how often each came
    wrong      answers that were not the model's
    lost       when a request was sent whose connection ended without an answer, and when that was
    refused    the same of those that were answered 503
    killed     when a worker was killed
    memory     (time, bytes)
    """

    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[tuple[float, float]] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)


class Load:
    """Clients and faults of one server until the time is over."""

    def __init__(self, server: Server, expected: dict[str, list[tuple[str, str, float]]], seconds: float):
        self.server, self.expected, self.end = server, expected, time.perf_counter() + seconds
        self.seen, self.draw = Seen(), random.Random(0)

    async def run(self) -> Seen:
        """All of it at once."""
        often: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (RELOAD_S, self.reload), (KILL_S, self.kill), (LEAVE_S, self.leave), (LOOK_S, self.look),
        ]  # fmt: skip
        await asyncio.gather(*(self.client() for _ in range(CLIENTS)), *(self.every(seconds, act) for seconds, act in often))
        return self.seen

    async def every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        """Do it again and again."""
        await asyncio.sleep(seconds)
        while time.perf_counter() < self.end - LOOK_S:
            with contextlib.suppress(ConnectionError):
                await act()
            await asyncio.sleep(seconds)

    async def client(self) -> None:
        """Ask, and look at the answer."""
        connection = None
        while time.perf_counter() < self.end:
            if connection is None or not connection.open:
                try:
                    connection = await driving.connect(self.server.url)
                except ConnectionError:
                    self.seen.statuses[driving.LOST] += 1
                    continue
            if self.draw.random() < 0.05:
                content, rows, name = self.draw.choice(BAD), [], self.draw.choice([*self.expected])
            else:
                name = self.draw.choice([*self.expected])
                rows = self.draw.choices(self.expected[name], k=64 if self.draw.random() < 0.02 else self.draw.randrange(1, 5))
                content = json.dumps({"inputs": [text for text, _, _ in rows]}).encode()
            begun = time.perf_counter()
            status, body = await connection.ask(driving.request(f"{self.server.url}/v1/models/{name}/predict", content))
            self.seen.statuses[status] += 1
            if status == driving.LOST:
                self.seen.lost.append((begun, time.perf_counter()))
            elif rows and status == UNAVAILABLE:
                self.seen.refused.append((begun, time.perf_counter()))
            elif rows and status == 200:
                self.compare(name, rows, json.loads(body))
            elif (200 <= status < 300) == (not rows) or "error" not in json.loads(body):
                self.seen.wrong.append(f"{name}: {status} for {content[:80]!r}: {body[:200]!r}")

    def compare(self, name: str, rows: Sequence[tuple[str, str, float]], answer: Any) -> None:
        """Each answer with that of the model."""
        for (text, value, score), said in zip(rows, answer["predictions"], strict=True):
            if said["value"] != value or abs(said["score"] - score) > NEAR:
                self.seen.wrong.append(f"{name}: {text[:60]!r} is {said}, not {value} {score:.3f}")

    async def reload(self) -> None:
        """Load a model anew."""
        name = self.draw.choice([*self.expected])
        connection = await driving.connect(self.server.url)
        status, body = await connection.ask(driving.request(f"{self.server.url}/v1/models/{name}", b"", method="PUT"))
        connection.close()
        if status in (driving.LOST, UNAVAILABLE):
            return  # it was the worker that was killed
        if status != 200:
            self.seen.wrong.append(f"reload of {name}: {status} {body[:200]!r}")
        self.seen.faults["models loaded anew"] += 1

    async def kill(self) -> None:
        """Kill a worker for good."""
        assert self.server.process is not None
        workers = [pid for pid in family(self.server.process.pid)[1:] if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if len(workers) > 1:
            self.seen.killed.append(time.perf_counter())
            os.kill(self.draw.choice(workers), signal.SIGKILL)
            self.seen.faults["workers killed"] += 1

    async def leave(self) -> None:
        """A client that goes: before its request is whole, before its answer is there, or without ever asking."""
        connection = await driving.connect(self.server.url)
        name = self.draw.choice([*self.expected])
        whole = driving.post(f"{self.server.url}/v1/models/{name}/predict", {"inputs": [text for text, _, _ in self.expected[name][:8]]})
        asked = connection.ask(whole[: self.draw.choice([0, 20, len(whole) - 5, len(whole), len(whole)])])
        await asyncio.sleep(self.draw.uniform(0, 0.05))
        connection.close()
        await asked
        self.seen.faults["clients that left"] += 1

    async def look(self) -> None:
        """Note the memory of all processes."""
        self.seen.memory.append((time.perf_counter(), self.server.memory_bytes(together=True)))


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="a csv with a column text")
    parser.add_argument("--model", type=Path, action="append", required=True, help="classifiers")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with given.texts.open(encoding="utf-8") as file:
        texts = [row["text"] for row in itertools.islice(csv.DictReader(file), MOST_TEXTS)]
    runtime = Runtime(threads=1, quiet=True)
    expected = {path.resolve().name: clear(path, texts, runtime) for path in given.model}
    with tempfile.TemporaryDirectory() as store:
        for path in given.model:
            Path(store, path.resolve().name).symlink_to(path.resolve())
        models = [Path(store, name) for name in expected]
        with started(models, runtime, {"port": 0, "workers": given.workers, "store": store, "log": "errors"}) as server:
            begun = time.perf_counter()
            seen = run(Load(server, expected, 60 * given.minutes).run())
    print(f"## serve: faults\n\n{conditions()}\n\n{table(['what', 'measured', 'bar'], lines(seen, begun, 60 * given.minutes))}")
    for each in seen.wrong[:10]:
        print(f"\nwrong: {each}")


def clear(path: Path, texts: Sequence[str], runtime: Runtime) -> list[tuple[str, str, float]]:
    """Texts with the answers of a model, without those of which it is not sure: rounding in another batch might turn them."""
    hosted = Hosted(path.name, ModelDir.open(path), runtime)
    answers = [hosted.answer([hosted.encode({"text": text})])[0].prediction for text in texts]
    return [(text, said.value, said.score) for text, said in zip(texts, answers) if said.score and said.score > 0.5 + NEAR]


def lines(seen: Seen, begun: float, seconds: float) -> list[list[str]]:
    """The table."""
    idle = [each for each in seen.refused if not any(each[0] <= moment + LOOK_S and moment <= each[1] for moment in seen.killed)]
    quarters = [[size for moment, size in seen.memory if start <= (moment - begun) / seconds < start + 0.25] for start in (0.25, 0.75)]
    before, after = (statistics.median(quarter) for quarter in quarters)
    answered = sum(number for status, number in seen.statuses.items() if status)
    return [
        ["requests answered, by status", f"{answered:,}: " + ", ".join(f"{n:,} {s}" for s, n in sorted(seen.statuses.items()) if s), ""],
        *([f"{what}", f"{number}", ""] for what, number in sorted(seen.faults.items())),
        ["wrong answers", f"{len(seen.wrong)}", "0"],
        ["requests lost, without any answer", f"{len(seen.lost)}", "0"],
        ["answered 503, in flight with a worker that was killed", f"{len(seen.refused) - len(idle)}", ""],
        ["answered 503, others", f"{len(idle)}", "0"],
        [
            "memory of all processes, second and last quarter",
            f"{before / 1e6:.0f} MB, {after / 1e6:.0f} MB: {after / before - 1:+.1%}",
            "± 5 %",
        ],
    ]


if __name__ == "__main__":
    main()
