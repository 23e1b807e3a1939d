"""How fast a model answers: throughput against latency, by how many clients ask a server at once, or how many rows a batch has.

found     {"model", "how": "server" or "direct", "num_rows": different ones, "seconds" of a point, "points": [...], "half_load": a
          point or None, "ready_s": from the start until it could be asked, "memory_bytes": of its largest process, "environment"}
a point   {"at_once": clients or rows in a batch, None where requests come at random, "requests", "failed", "rate": rows a second,
          "p50_ms", "p95_ms", "p99_ms", "client_share": of a core, for writing requests and reading answers}
"""

import asyncio
import base64
import contextlib
import itertools
import random
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy

from penjing import serve
from penjing.core.contracts import Example, Task
from penjing.core.errors import ModelError, OptionError, need
from penjing.core.image import Image
from penjing.core.media import Media
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between, Duration, build, flags, spell
from penjing.core.progress import say
from penjing.core.runtime import Runtime, environment, resident_bytes
from penjing.core.sound import RATE_OF_VALUES, Sound
from penjing.engine import markup, page, plots, words
from penjing.serve import driving
from penjing.serve.driving import Answered, post
from penjing.serve.started import Server, started

USUAL = [1, 2, 4, 8, 16, 32, 64]
WARM_UP_S = 1.0
NUM_MADE_UP = 256
MUCH = 0.25  # of a core, beyond which what the clients take is told
WORDS = [
    "the",
    "a",
    "of",
    "and",
    "to",
    "in",
    "it",
    "is",
    "this",
    "with",
    "film",
    "room",
    "very",
    "quite",
    "not",
    "but",
    "good",
    "warm",
    "dull",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """How it is asked, and the options of the server that is started for it."""

    clients: Annotated[
        list[int] | None, "numbers of clients that ask at once, with --direct of rows in a batch [1,2,4,8,16,32,64]", Between(1, 10_000)
    ] = None
    seconds: Annotated[Duration, "how long each of them asks", Between(0.1, 86400)] = Duration(5)
    url: Annotated[str | None, "a server that runs already and has this model; then none is started"] = None
    direct: Annotated[bool, "call the model in this process, without a server"] = False
    server: serve.Options = serve.Options(port=0)


def bench(
    base: ModelDir | str | Path, inputs: str | Sequence[str] = (), *, out: Path | None = None, runtime: Runtime | None = None, **given: Any
) -> dict[str, Any]:
    """Ask a model as fast as it answers, and say how fast that is: `found` above.

    inputs    what it is asked about, as `penjing predict` reads it; where nothing is given, rows that are made up
    out       a page of it
    given     clients, seconds and the other options of `penjing bench`

    Raises OptionError for options that exclude each other, ModelError where the server does not start or refuses every request.
    """
    from penjing.engine import load
    from penjing.stages._inputs import rows_of

    runtime, options = runtime or Runtime(), build(Options, given)
    _require_useful(options, given)
    base = ModelDir.open(base, runtime)
    load.require_device(runtime)
    task = load.task_for(base)
    named = [inputs] if isinstance(inputs, str) else inputs
    rows = [row for each in named for _, row in rows_of(each, task, {}, runtime)] if named else made_up(task)
    if not rows:
        raise OptionError("nothing to ask about", wanted="files, text, or - for standard input", fix="pass one that is not empty")
    counts = options.clients or USUAL
    measured = _called(base, rows, counts, options, runtime) if options.direct else _asked(base, rows, counts, options, given, runtime)
    found = {"model": base.path.name, "num_rows": len(rows), "seconds": options.seconds, **measured, "environment": environment()}
    if out is not None:
        out.write_text(as_page(found), "utf-8")
    return found


def _require_useful(options: Options, given: Mapping[str, Any]) -> None:
    """Raise OptionError for what would change nothing."""
    if options.direct and options.url:
        raise OptionError("--direct asks no server, and --url names one", wanted="one of them", fix="leave one of them out")
    for flag in flags(serve.Options):
        if flag.name in given and (options.direct or (options.url and flag.name != "token_file")):
            why = "--direct starts no server" if options.direct else "that server runs already"
            raise OptionError(f"{spell(flag.name)} changes nothing: {why}", fix=f"leave {spell(flag.name)} out")


def _asked(
    base: ModelDir, rows: Sequence[Example], counts: Sequence[int], options: Options, given: Mapping[str, Any], runtime: Runtime
) -> dict[str, Any]:
    """What clients of a server find."""
    tokens = options.server.token_file.read_text("utf-8").split() if options.server.token_file else [None]
    of_server = {flag.name for flag in flags(serve.Options)}
    own = started([base.path], runtime, {"port": 0, **{name: value for name, value in given.items() if name in of_server}})
    with contextlib.nullcontext(Server(options.url)) if options.url else own as server:
        address = f"{server.url}/v1/models/{base.path.resolve().name}/predict"
        requests = [post(address, {"inputs": [sent(row)]}, tokens[0]) for row in rows]
        try:
            warmed = run(driving.closed(server.url, requests, max(counts), WARM_UP_S))
        except OSError as error:
            raise OptionError(f"{server.url} cannot be asked: {error}", wanted="the address of a server that runs") from None
        refused = next((each for each in warmed if each.status != 200), None)
        if refused is not None:
            raise ModelError(f"{server.url} answers {refused.status}: {refused.body.decode('utf-8', 'replace')[:300]}")
        points, most = [], server.memory_bytes()
        for clients in counts:
            points.append(point(driving.closed(server.url, requests, clients, options.seconds), clients))
            most = max(most, server.memory_bytes())
            say(f"{clients} at once: {points[-1]['rate']:.0f} a second, {points[-1]['p99_ms']:.3g} ms at most for 99 of 100", runtime.quiet)
        half = max(each["rate"] for each in points) / 2
        load = point(driving.paced(server.url, requests, half, options.seconds), None)
    return {"how": "server", "points": points, "half_load": load, "ready_s": server.ready_s, "memory_bytes": most or None}


def _called(base: ModelDir, rows: Sequence[Example], counts: Sequence[int], options: Options, runtime: Runtime) -> dict[str, Any]:
    """What a loop around the model finds: rows to entries to answers, those of like length together."""
    from penjing.serve.hosted import Hosted

    begun = time.perf_counter()
    hosted = Hosted(base.path.name, base, runtime)
    hosted.answer([hosted.encode(rows[0])])
    ready_s = time.perf_counter() - begun
    by_length = sorted(rows, key=lambda row: hosted.length(hosted.encode(row)))
    points = []
    for size in counts:
        batches = [[by_length[i % len(rows)] for i in range(start, start + size)] for start in range(0, len(rows), size)]
        random.Random(0).shuffle(batches)
        found: list[Answered] = []
        end = time.perf_counter() + options.seconds
        for batch in itertools.cycle(batches):
            if (now := time.perf_counter()) > end:
                break
            hosted.answer([hosted.encode(row) for row in batch])
            taken = time.perf_counter() - now
            found += [Answered(0, now, taken, 200, b"")] * size
        points.append(summary(found, size, time.perf_counter() - end + options.seconds, None))
    return {"how": "direct", "points": points, "half_load": None, "ready_s": ready_s, "memory_bytes": resident_bytes() or None}


def point(asking: Coroutine[Any, Any, list[Answered]], at_once: int | None) -> dict[str, Any]:
    """What clients found, and what they themselves took of a core."""
    begun, own = time.perf_counter(), time.process_time()
    found = run(asking)
    taken = time.perf_counter() - begun
    return summary(found, at_once, taken, (time.process_time() - own) / taken)


def summary(found: Sequence[Answered], at_once: int | None, seconds: float, client_share: float | None) -> dict[str, Any]:
    """A point of the curve; times are those of the requests that were answered."""
    good = [each.seconds for each in found if each.status == 200]
    times = dict(zip(("p50_ms", "p95_ms", "p99_ms"), (1000 * numpy.percentile(good, [50, 95, 99])).tolist())) if good else {}
    return {
        "at_once": at_once, "requests": len(found), "failed": len(found) - len(good), "rate": len(good) / seconds, **times,
        "client_share": client_share,
    }  # fmt: skip


def run(asking: Coroutine[Any, Any, T]) -> T:
    """Run a client, in the loop that servers use too."""
    with asyncio.Runner(loop_factory=need("uvloop", "serve").new_event_loop) as runner:
        return runner.run(asking)


def sent(row: Example) -> Any:
    """A row as a request carries it: images and sounds in base64."""
    return {name: base64.b64encode(value.bytes()).decode() if isinstance(value, Media) else value for name, value in row.items()}


def made_up(task: Task) -> list[Example]:
    """Rows of mixed length that say nothing, for a model of which nothing else is known: 4 to 64 words, images of noise, 1 to 4 s of it."""
    draw, noise = random.Random(0), numpy.random.default_rng(0)

    def value(kind: type) -> Any:
        if kind is Image:
            return Image(noise.integers(0, 256, (224, 224, 3), numpy.uint8))
        if kind is Sound:
            return Sound(noise.uniform(-0.1, 0.1, draw.randrange(RATE_OF_VALUES, 4 * RATE_OF_VALUES)).astype(numpy.float32))
        words = draw.choices(WORDS, k=round(4 * 16 ** draw.random()))
        return words if kind is list else " ".join(words)

    return [{name: value(kind) for name, kind in task.input_columns().items()} for _ in range(NUM_MADE_UP)]


def text(found: Mapping[str, Any]) -> str:
    """The table as the terminal shows it, and the rest in sentences."""
    return "\n".join([words.aligned(_head(found), _rows(found)), *_sentences(found)])


def as_page(found: Mapping[str, Any]) -> str:
    """The curve and the table as a page that needs nothing beside itself."""
    what = f"Milliseconds against rows a second, by {_unit(found)}"
    spoken = "; ".join(", ".join(row) for row in _rows(found))
    svg = plots.load(found["points"], name="load", alt=f"{what}: {spoken}")
    body = markup.section(
        2,
        "Throughput and latency",
        markup.figure(svg, f"{what}: the median below, and the time that 99 of 100 answers stay under."),
        markup.table("", _head(found), _rows(found), {*range(len(_head(found)))}),
        *map(markup.sentence, _sentences(found)),
    )
    machine = found["environment"]
    footer = f"{machine['processor']}, {machine['cores']} cores; penjing {machine['versions']['penjing']}."
    return page.document(f"How fast {found['model']} answers", ["penjing bench"], "", body, footer)


def _unit(found: Mapping[str, Any]) -> str:
    return "clients" if found["how"] == "server" else "rows in a batch"


def _head(found: Mapping[str, Any]) -> tuple[str, ...]:
    return _unit(found), "rows a second", "median", "95 of 100 under", "99 of 100 under", "failed"


def _rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(str(each["at_once"]), *_cells(each)) for each in found["points"]]


def _cells(point: Mapping[str, Any]) -> tuple[str, ...]:
    times = (words.amount(name, point[name]) if name in point else "" for name in ("p50_ms", "p95_ms", "p99_ms"))
    return f"{words.three_digits(point['rate'])}", *times, f"{point['failed']}" if point["failed"] else ""


def _sentences(found: Mapping[str, Any]) -> list[str]:
    told = []
    if half := found["half_load"]:
        rate, middle, _, most, failed = _cells(half)
        told.append(f"At half of the best rate, {rate} a second that come at random: median {middle}, 99 of 100 under {most}.")
        if failed:
            told.append(f"{failed} of these failed.")
    if found["ready_s"] is not None:
        since = "its start" if found["how"] == "server" else "its files were opened"
        told.append(f"Ready {words.duration(found['ready_s'])} after {since}.")
    if found["memory_bytes"]:
        told.append(f"Memory of its process: {words.amount('bytes', found['memory_bytes'])}.")
    busiest = max((each["client_share"] or 0.0 for each in found["points"]), default=0.0)
    if busiest > MUCH:
        told.append(f"The clients took up to {words.share(busiest)} of a core, which the server may have lacked.")
    return told
