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
            queue=options.queue, pads=hosted.pads, seen=partial(metrics.batch, hosted.name),
        )  # fmt: skip
        text = hosted.task.media == "text"
        self._aside = copy.deepcopy(hosted.processor) if text else hosted.processor  # a tokenizer is for one thread at a time
        self.explainer, self.at_start = Explainer(hosted), at_start
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

    async def explain(self, rows: Sequence[Example], method: str, label: str | None) -> list[dict[str, Any]]:
        """The reasons for the answers to rows.

        Raises Refused as `predict` does, and for a method or a label that does not fit.
        """
        with self._used():
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
        self.explainer.close()


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
        return Served(Hosted(name, ModelDir.open(source, self.runtime), self.runtime), self.options, self.metrics, at_start=False)

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
