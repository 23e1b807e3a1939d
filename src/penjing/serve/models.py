"""The models of a server, by name."""

import asyncio
import contextlib
import copy
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from penjing.core.contracts import Example
from penjing.core.errors import OptionError, PenjingError, nearest
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime, cores
from penjing.engine import load
from penjing.serve import Options
from penjing.serve.batching import Batcher
from penjing.serve.errors import Refused
from penjing.serve.hosted import Answer, Entries, Hosted
from penjing.serve.metrics import Metrics

LOOK_S = 0.02  # between two looks whether a model that is to leave is still asked
AT_ONCE = 4000  # characters that are encoded in the thread of the requests, about a millisecond; more are in a thread beside it


class Served:
    """A model that answers requests.

    created     when it was loaded, seconds since 1970
    num_bytes   of what its engine opens
    state       "ready", or "leaving" once it takes no more requests
    """

    def __init__(self, hosted: Hosted, options: Options, metrics: Metrics):
        self.hosted, self.created = hosted, int(time.time())
        self.num_bytes, self.state = hosted.base.bytes(), "ready"
        self.batcher = Batcher(
            hosted.name, hosted.answer, batch_rows=options.batch_rows, batch_tokens=options.batch_tokens, wait=options.wait,
            queue=options.queue, pads=hosted.pads, seen=partial(metrics.batch, hosted.name),
        )  # fmt: skip
        text = hosted.task.media == "text"
        self._aside = copy.deepcopy(hosted.processor) if text else hosted.processor  # a tokenizer is for one thread at a time
        self._users = 0
        self._pool = ThreadPoolExecutor(1 if text else cores(), f"encoding for {hosted.name}")

    @property
    def name(self) -> str:
        """What clients call it."""
        return self.hosted.name

    async def predict(self, rows: Sequence[Example], probabilities: bool = False) -> list[Answer]:
        """The answers to rows of the task, in their order.

        Raises Refused for a row that cannot be encoded, and where too many wait.
        """
        with self._used():
            encoded = await self._encoded(rows)
            lengths = [*map(self.hosted.length, encoded)]
            if not all(lengths):
                said = f"inputs[{lengths.index(0)}] holds nothing that this model reads"
                raise Refused(422, said, "bad_input", wanted="a text of words")
            return await self.batcher.ask(encoded, lengths, probabilities)

    async def _encoded(self, rows: Sequence[Example]) -> list[Entries]:
        if self.hosted.task.media == "text" and _characters(rows) <= AT_ONCE:
            return [self._one(i, row, self.hosted.processor) for i, row in enumerate(rows)]
        loop = asyncio.get_running_loop()
        parts = (loop.run_in_executor(self._pool, self._one, i, row, self._aside) for i, row in enumerate(rows))
        return await asyncio.gather(*parts)

    def _one(self, number: int, row: Example, processor: Any) -> Entries:
        try:
            return self.hosted.encode(row, processor)
        except PenjingError as error:
            raise Refused.of(error, f"inputs[{number}]") from error

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        """While the body runs the model stays."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    async def close(self) -> None:
        """Answer who asks, and end; nobody may find the model any more."""
        self.state = "leaving"
        while self._users:
            await asyncio.sleep(LOOK_S)
        await asyncio.get_running_loop().run_in_executor(None, self.batcher.close)
        self._pool.shutdown()


class Models:
    """Name -> model; opened before the first request, so that errors come first."""

    def __init__(self, sources: Sequence[ModelDir | str | Path], options: Options, runtime: Runtime, metrics: Metrics):
        self.options, self.runtime, self.metrics = options, runtime, metrics
        self._served: dict[str, Served] = {}
        load.require_device(runtime)
        for name, base in _named([ModelDir.open(source, runtime) for source in sources]).items():
            self._served[name] = Served(Hosted(name, base, runtime), options, metrics)

    def __iter__(self) -> Any:
        return iter(self._served.values())

    def __getitem__(self, name: str) -> Served:
        """The model of this name.

        Raises Refused with 404 where there is none.
        """
        if name not in self._served:
            raise Refused(404, f"no model {name[:80]!r}", "model_not_found", wanted=nearest(name[:80], self._served) or "a loaded model")
        return self._served[name]

    async def close(self) -> None:
        """Answer what waits everywhere, and end."""
        await asyncio.gather(*(served.close() for served in self._served.values()))


def name_of(base: ModelDir) -> str:
    """What clients call a model: the name of its directory, or of its repository on the hub."""
    return str(base).split("@")[0].rsplit("/", 1)[-1] if base.origin else base.path.resolve().name


def _named(bases: Sequence[ModelDir]) -> dict[str, ModelDir]:
    found: dict[str, ModelDir] = {}
    for base in bases:
        if (name := name_of(base)) in found:
            raise OptionError(
                f"{found[name]} and {base} would both be served as {name!r}", wanted="a name for each", fix="rename one of the directories"
            )
        found[name] = base
    return found


def _characters(rows: Sequence[Example]) -> int:
    return sum(len(value) if isinstance(value, str) else sum(map(len, value)) for row in rows for value in row.values())
