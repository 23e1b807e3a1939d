"""The models of a server, by name."""

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from penjing.core.contracts import Example
from penjing.core.errors import OptionError, PenjingError, nearest
from penjing.core.generation import OWN, Generation
from penjing.core.media import leads_out
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime, cores
from penjing.engine import load
from penjing.serve import Options
from penjing.serve.batching import Batcher
from penjing.serve.errors import Refused
from penjing.serve.explaining import Explainer
from penjing.serve.hosted import Answer, Entries, Hosted
from penjing.serve.logs import log
from penjing.serve.metrics import Metrics
from penjing.serve.names import names_of
from penjing.serve.workers import LOOK_S as NEWS_S
from penjing.serve.workers import Changes
from penjing.serve.writing import Stream, Writer, has_beams

LOOK_S = 0.02  # between two looks whether a model that is to leave is still asked
AT_ONCE = 4000  # characters that are encoded in the thread of the requests, about a millisecond; more are in a thread beside it


class Served:
    """A model that answers requests.

    created     when it was loaded, seconds since 1970
    num_bytes   of what its engine opens
    at_start    whether it was among those that the server began with
    state       "ready", or "leaving" once it takes no more requests
    """

    def __init__(self, hosted: Hosted, options: Options, metrics: Metrics, at_start: bool = True):
        self.hosted, self.created = hosted, int(time.time())
        self.num_bytes, self.state = hosted.base.bytes(), "ready"
        self.batcher = Batcher(
            hosted.name, hosted.answer, batch_rows=options.batch_rows, batch_tokens=options.batch_tokens, wait=options.wait,
            queue=options.queue, pads=hosted.pads, lanes=lambda: hosted.lanes, seen=partial(metrics.batch, hosted.name),
        )  # fmt: skip
        self.writer = _writer(hosted, options, metrics)
        self._deadline = options.deadline
        text = hosted.task.media == "text"
        self._aside = copy.deepcopy(hosted.processor) if text else hosted.processor  # a tokenizer is for one thread at a time
        self.explainer, self.at_start = Explainer(hosted), at_start
        self._held = 0
        self._pool = ThreadPoolExecutor(1 if text else cores(), f"encoding for {hosted.name}")

    @property
    def name(self) -> str:
        """What clients call it."""
        return self.hosted.name

    async def predict(self, rows: Sequence[Example], probabilities: bool = False) -> list[Answer]:
        """The answers to rows of the task, in their order.

        Raises Refused for a row that cannot be encoded, and where too many wait.
        """
        return await self.ask(await self.encoded(rows), probabilities)

    async def encoded(self, rows: Sequence[Example]) -> list[Entries]:
        """Rows as entries, in their order.

        Raises Refused for a row that cannot be encoded.
        """
        found = await self._encoded(rows)
        for number, entries in enumerate(found):
            if not self.hosted.length(entries):
                raise Refused(422, f"inputs[{number}] holds nothing that this model reads", "bad_input", wanted="a text of words")
        return found

    async def ask(self, encoded: Sequence[Entries], probabilities: bool = False) -> list[Answer]:
        """The answers to entries of rows, in their order.

        Raises Refused where too many wait.
        """
        if not self.writer:
            return await self.batcher.ask(encoded, [*map(self.hosted.length, encoded)], probabilities)
        texts = [""] * len(encoded)
        async with self.writing(encoded, seed=self.hosted.runtime.seed) as (streams, pieces):
            async for number, piece in pieces:
                texts[number] += piece
        for stream in streams:
            require_whole(stream)
        return self.hosted.worded(encoded, texts)

    @contextlib.asynccontextmanager
    async def writing(
        self, encoded: Sequence[Entries], chosen: Generation = OWN, seed: int | None = None
    ) -> AsyncIterator[tuple[list[Stream], AsyncIterator[tuple[int, str]]]]:
        """Answers while they are written: their streams, and the pieces of all with the number of each; whoever leaves ends them.

        Raises Refused where they cannot be written, or too many wait.
        """
        if not self.writer:
            said = f"{self.name} does not write token by token, or looks for its answers with beams"
            raise Refused(400, said, "no_generation", wanted="a model that writes; others are asked at /v1/models/NAME/predict")
        loop, told = asyncio.get_running_loop(), asyncio.Queue[tuple[int, str | None]]()
        streams: list[Stream] = []

        async def pieces() -> AsyncIterator[tuple[int, str]]:
            left = len(streams)
            while left:
                number, piece = await told.get()
                if piece is None:
                    left -= 1
                else:
                    yield number, piece

        try:
            for number, (entry,) in enumerate(encoded):
                put = partial(_put, loop, told, number)
                streams.append(self.writer.write(entry, chosen, put=put, seed=seed, deadline=time.monotonic() + self._deadline))
            yield streams, pieces()
        finally:
            for stream in streams:
                stream.cancel()

    async def explain(self, rows: Sequence[Example], method: str, label: str | None) -> list[dict[str, Any]]:
        """The reasons for the answers to rows.

        Raises Refused as `predict` does, and for a method or a label that does not fit.
        """
        answers = await self.predict(rows)
        return await self.explainer.explain(rows, [answer.prediction for answer in answers], method, label)

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

    def hold(self) -> Callable[[], None]:
        """Keep the model until what this gives is called, though it may lose its name meanwhile."""
        self._held += 1

        def let_go() -> None:
            self._held -= 1

        return let_go

    async def close(self) -> None:
        """Answer who holds it, and end; nobody may find the model any more."""
        self.state = "leaving"
        while self._held:
            await asyncio.sleep(LOOK_S)
        for thread in (self.batcher, self.writer):
            if thread:
                await asyncio.get_running_loop().run_in_executor(None, thread.close)
        self._pool.shutdown()
        self.explainer.close()


def require_whole(stream: Stream) -> None:
    """Raise Refused for an answer that was given up, and what the model raised for one that failed."""
    if stream.error:
        raise stream.error
    if stream.finish == "deadline":
        raise Refused(503, "no answer in time", "deadline", wanted="fewer tokens, or a quieter hour", later=True)


def _writer(hosted: Hosted, options: Options, metrics: Metrics) -> Writer | None:
    if not hosted.task.generates or hosted.backend.model is None or has_beams(hosted.backend.model, OWN):
        return None
    return Writer(
        hosted.name, hosted.backend, hosted.task, hosted.processor, most_rows=options.batch_rows, queue=options.queue,
        seen=partial(metrics.batch, hosted.name),
    )  # fmt: skip


def _put(loop: asyncio.AbstractEventLoop, told: asyncio.Queue[tuple[int, str | None]], number: int, piece: str | None) -> None:
    loop.call_soon_threadsafe(told.put_nowait, (number, piece))


class Models:
    """Name -> model; opened before the first request, so that errors come first."""

    def __init__(
        self, sources: Sequence[ModelDir | str | Path], options: Options, runtime: Runtime, metrics: Metrics, changes: Changes | None
    ):
        self.options, self.runtime, self.metrics, self._changes = options, runtime, metrics, changes
        self._served: dict[str, Served] = {}
        self._changing = asyncio.Lock()
        if options.store is not None and not options.store.is_dir():
            wanted, fix = "a folder of model directories", "correct the path"
            raise OptionError(f"--store cannot be {str(options.store)!r}: there is no such folder", wanted=wanted, fix=fix)
        load.require_device(runtime)
        for name, base in names_of([ModelDir.open(source, runtime) for source in sources]).items():
            self._served[name] = Served(Hosted(name, base, runtime, shared=True), options, metrics)

    def __iter__(self) -> Any:
        return iter(self._served.values())

    def __getitem__(self, name: str) -> Served:
        """The model of this name.

        Raises Refused with 404 where there is none.
        """
        if name not in self._served:
            raise Refused(404, f"no model {name[:80]!r}", "model_not_found", wanted=nearest(name[:80], self._served) or "a loaded model")
        return self._served[name]

    async def load(self, name: str) -> Served:
        """Load a model of the store, or load it anew: requests go on, those that come later are answered by the new one.

        Raises Refused without a store, for a name that it does not hold, and for what cannot be loaded.
        """
        served, before = await self._load(name)
        if self._changes:
            self._changes.note(name, there=True)
        if before is not None:
            await before.close()
        return served

    async def _load(self, name: str) -> tuple[Served, Served | None]:
        """The new one, and the one that it takes the place of."""
        async with self._changing:
            source = self._source(name)
            try:
                served = await asyncio.get_running_loop().run_in_executor(None, self._opened, name, source)
            except PenjingError as error:
                log("error", model=name, message=str(error))
                said = f"{name!r} cannot be loaded; the server's log says why"
                raise Refused(422, said, "not_loadable", wanted="a model directory that penjing predict can open") from None
            before, self._served[name] = self._served.get(name), served
        return served, before

    async def unload(self, name: str) -> None:
        """Take a model away; who has asked it is answered first.

        Raises Refused without a store, and with 404 where there is no such model.
        """
        self._require_store()
        async with self._changing:
            served = self[name]
            del self._served[name]
        if self._changes:
            self._changes.note(name, there=False)
        await served.close()

    async def follow(self) -> None:
        """Do as the other workers of this server have done, as long as it runs."""
        while self._changes:
            for name, there in self._changes.news():
                with contextlib.suppress(Refused):  # what cannot be loaded here is in the log
                    if there:
                        _, left = await self._load(name)
                    else:
                        left = self._served.pop(name, None)
                    if left is not None:
                        await left.close()
            await asyncio.sleep(NEWS_S)

    def _opened(self, name: str, source: Path) -> Served:
        return Served(
            Hosted(name, ModelDir.open(source, self.runtime), self.runtime, shared=True), self.options, self.metrics, at_start=False
        )

    def _source(self, name: str) -> Path:
        """Where a model lies: what is served already where it was, any other in the store."""
        store = self._require_store()
        if name in self._served:
            return self._served[name].hosted.base.path
        there = [path.name for path in store.iterdir() if (path / "config.json").exists() and not leads_out(store, path.name)]
        if name not in there:
            wanted = nearest(name[:80], there) or "a model there"
            raise Refused(404, f"no model {name[:80]!r} in the store", "model_not_found", wanted=wanted)
        return store / name

    def _require_store(self) -> Path:
        if self.options.store is None:
            wanted = "a server that was started with --store, a folder of model directories"
            raise Refused(403, "models are not changed here", "no_store", wanted=wanted)
        return self.options.store

    async def close(self) -> None:
        """Answer what waits everywhere, and end."""
        await asyncio.gather(*(served.close() for served in self._served.values()))


def _characters(rows: Sequence[Example]) -> int:
    return sum(len(value) if isinstance(value, str) else sum(map(len, value)) for row in rows for value in row.values())
