"""Why a served model answers as it does: a copy of it that is opened when somebody first asks, and a thread of its own."""

import asyncio
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from penjing.core.contracts import Example, Prediction
from penjing.core.errors import OptionError, PenjingError, nearest
from penjing.core.find import find, names
from penjing.core.runtime import Runtime
from penjing.engine import reasons
from penjing.engine.asked import asked, row
from penjing.engine.load import Loaded
from penjing.serve.errors import Refused
from penjing.serve.hosted import Hosted

USUAL = "integrated-gradients"
MOST_WAITING = 8  # requests; one takes seconds


class Explainer:
    """Of one model.

    methods   those that may fit; of "attention" and "maps" only the model itself can tell
    """

    def __init__(self, hosted: Hosted):
        self._hosted, self._waiting = hosted, 0
        self._loaded: Loaded | None = None
        self._pool = ThreadPoolExecutor(1, f"reasons of {hosted.name}")
        self.methods = methods_of(hosted)

    async def explain(self, rows: Sequence[Example], answers: Sequence[Prediction], method: str, label: str | None) -> list[dict[str, Any]]:
        """The reasons for the answers to rows.

        Raises Refused for a method that does not fit, a label that there is not, and where too many wait.
        """
        if not self.methods:
            wanted = "a model whose answers are told by rows, and a server with penjing[explain]"
            raise Refused(422, "answers of this model are not explained here", "no_explanations", wanted=wanted)
        if method not in self.methods:
            raise Refused(422, f"no method {method[:60]!r} for this model", "bad_method", wanted=nearest(method[:60], self.methods))
        if label is not None and label not in self._hosted.task.labels:
            known = nearest(label[:60], self._hosted.task.labels) or "null"
            raise Refused(422, f"no label {label[:60]!r} in this model", "bad_label", wanted=known)
        if self._waiting >= MOST_WAITING:
            raise Refused(429, "too many wait for explanations", "queue_full", wanted="the same request later", later=True)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._explained, rows, answers, method, label)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End, once what was begun is done."""
        self._pool.shutdown()

    def _explained(self, rows: Sequence[Example], answers: Sequence[Prediction], method: str, label: str | None) -> list[dict[str, Any]]:
        loaded = self._loaded = self._loaded or reasons.opened(self._hosted.base, self._hosted.task, self._hosted.runtime)
        named = [(f"inputs[{i}]", loaded.task.answered(row, answer.value), answer) for i, (row, answer) in enumerate(zip(rows, answers))]
        quiet = Runtime(**{**vars(self._hosted.runtime), "quiet": True})
        try:
            self._require_fitting(loaded, named[0][1], method)
            found = reasons.explain(loaded, named, method, find(reasons.METHODS, method).Options(), quiet, label=label)
        except PenjingError as error:  # an input without words, a method that needs more of the model
            raise Refused(422, error.problem, "bad_input", wanted=error.wanted) from error
        return [each.told() for each in found]

    def _require_fitting(self, loaded: Loaded, example: Example, method: str) -> None:
        seen = asked(loaded.model, loaded.task, row(loaded.model, loaded.task, example, loaded.processor), loaded.processor)
        fitting = reasons.methods_for(seen)
        if method not in fitting:
            self.methods = fitting
            raise OptionError(f"the method {method} does not fit this model", wanted=" or ".join(fitting))


def methods_of(hosted: Hosted) -> list[str]:
    """The methods that may fit a model."""
    if "explain" not in hosted.task.stages or importlib.util.find_spec("captum") is None:
        return []
    has = {"answers"} if hosted.base.engine != "torch" else {"answers", "gradients", "attention"}
    has |= {"maps"} if hosted.base.engine == "torch" and hosted.task.media != "text" else set()
    return [name for name in names(reasons.METHODS) if find(reasons.METHODS, name).NEEDS in has]
