"""Answers that are written for many requests at once: between two tokens requests join those that are being written, and leave.

Yu et al. 2022, "Orca: a distributed serving system for transformer-based generative models", section 3.1: scheduling by the iteration. A
model whose rows cannot be put together writes several batches in turn, each of those that waited when it began.

Letters   N rows, T tokens so far, V tokens of the vocabulary
"""

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from penjing.core.collate import ROW
from penjing.core.contracts import Task
from penjing.core.errors import ModelError
from penjing.core.generation import OWN, Generation
from penjing.engine.backends import Backend
from penjing.engine.batches import on_device
from penjing.engine.decoding import Decoding, begins, joins
from penjing.engine.generate import Choose, drawing, likeliest, processors, settings_of, to_the_left
from penjing.engine.load import quiet_transformers
from penjing.engine.shortcuts import fused_activations
from penjing.engine.threads import torch_threads
from penjing.serve.errors import Refused
from penjing.serve.wording import Wording

READ_AT_ONCE = 512  # tokens of newcomers that are read between two tokens of the others, or one newcomer
MOST_APART = 4  # batches that are written in turn where rows cannot join

Put = Callable[[str | None], None]
"""Told of each piece of an answer, and None behind the last."""


class Stream:
    """One answer while it is written.

    read       tokens of its prompt
    written    tokens so far
    finish     why it ended: "stop" for an end token or a stop text, "length", "cancelled", "deadline", "error"; None before
    error      what went wrong, for "error"
    """

    def __init__(self, entry: Mapping[str, Any], chosen: Generation, seed: int, deadline: float | None, put: Put):
        self.entry, self.chosen, self.seed, self._deadline, self._put = entry, chosen, seed, deadline, put
        self.read, self.written = len(entry["input_ids"]), 0
        self.finish: str | None = None
        self.error: Exception | None = None
        self._left = False

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._left = True

    def say(self, text: str) -> None:
        """A piece of it, for whom it is written."""
        try:
            if text:
                self._put(text)
        except RuntimeError:  # the loop of its request is closed
            self.cancel()

    def end(self, finish: str, error: Exception | None = None) -> None:
        """It is complete, or given up."""
        self.finish, self.error = finish, error
        with contextlib.suppress(RuntimeError):
            self._put(None)

    @property
    def given_up(self) -> str | None:
        """Why it need not go on."""
        if self._left:
            return "cancelled"
        return "deadline" if self._deadline is not None and time.monotonic() > self._deadline else None


FIRST = torch.zeros(1, dtype=torch.int64)  # the number of a row that is alone


class _Row:
    """An answer that has begun."""

    def __init__(self, stream: Stream, model: Any, processor: Any):
        self.stream, tokens, two_parts = stream, stream.entry["input_ids"], model.config.is_encoder_decoder
        self._prompt = 1 if two_parts else stream.read
        settings = settings_of(model, stream.chosen, self._prompt)
        self._wording = Wording(processor, [] if two_parts else tokens, settings.stop_strings or [])
        self._most, ends = settings.max_new_tokens, settings.eos_token_id
        self._ends = {*ends} if isinstance(ends, list) else {ends}
        settings.stop_strings = None
        self._scored = processors(model, settings, torch.tensor([tokens], device=model.device))
        self._choose: Choose = drawing(FIRST, stream.seed) if settings.do_sample else likeliest

    @property
    def plain(self) -> bool:
        """Whether its next token is the likeliest as the model has it."""
        return self._choose is likeliest and not self._scored

    def next(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """(1,) from what the batch has of it: tokens (T,) with padding in front, and scores (V,)."""
        own: Any = tokens[None, -self._prompt - self.stream.written :]
        return self._choose(self._scored(own, scores[None]), FIRST)

    def take(self, token: int) -> bool:
        """Its next token; whether it goes on."""
        stream = self.stream
        stream.written += 1
        stream.say(self._wording.add(token))
        ended = "stop" if self._wording.stopped or token in self._ends else "length" if stream.written >= self._most else stream.given_up
        if ended:
            stream.say(self._wording.end())
            stream.end(ended)
        return ended is None


class _Batch:
    """Rows that are written together."""

    def __init__(self, rows: list[_Row], decoding: Decoding):
        self.rows, self.decoding = rows, decoding

    def step(self) -> None:
        """One token more for each; those that end leave."""
        scores = self.decoding.scores()
        if all(row.plain for row in self.rows):
            tokens = scores.argmax(-1)
        else:
            tokens = torch.cat([row.next(*each) for row, *each in zip(self.rows, self.decoding.tokens, scores)])
        self.decoding.append(tokens)
        going = [place for place, (row, token) in enumerate(zip(self.rows, tokens.tolist())) if row.take(token)]
        if going and len(going) < len(self.rows):
            self._keep(going)
        self.rows = self.rows if going else []

    def join(self, other: "_Batch") -> None:
        """Take in the rows of another."""
        self.decoding.join(other.decoding)
        self.rows += other.rows

    def _keep(self, going: list[int]) -> None:
        """The last rows fill the places of those that left, so that no other moves."""
        staying = [place for place in going if place < len(going)]
        fill = iter(going[len(staying) :])
        places = [place if place in {*staying} else next(fill) for place in range(len(going))]
        self.decoding.keep(torch.tensor(places, device=self.decoding.tokens.device))
        self.decoding.shorten()
        self.rows = [self.rows[place] for place in places]


class Writer:
    """A thread that writes the answers of one model.

    most_rows   answers that are written at once
    queue       answers that wait for it
    seen        told of each step: rows, tokens that were read or written, seconds, answers that wait
    """

    def __init__(
        self, name: str, backend: Backend, task: Task, processor: Any, *, most_rows: int = 32, queue: int = 1024,
        seen: Callable[[int, int, float, int], None] = lambda *_: None,
    ):  # fmt: skip
        assert backend.model is not None
        self._model, self._task, self._processor = backend.model, task, processor
        self._most_rows, self._queue, self._threads, self._seen = most_rows, queue, backend.threads, seen
        with torch.inference_mode(), torch_threads(self._threads), quiet_transformers():
            self._joins, self._begins = joins(self._model), begins(self._model)
        self._waiting: deque[Stream] = deque()
        self._batches: list[_Batch] = []
        self._changed, self._closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name=f"writer of {name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many answers have not begun."""
        return len(self._waiting)

    @property
    def writing(self) -> int:
        """How many have."""
        return sum(len(batch.rows) for batch in self._batches)

    def write(
        self, entry: Mapping[str, Any], chosen: Generation = OWN, *, put: Put, seed: int | None = None, deadline: float | None = None
    ) -> Stream:
        """Have the answer to an entry of the task written.

        put         told of each piece of text from another thread, and None behind the last, when `finish` is set
        seed        of what is drawn, which depends on it and the request alone; None draws one
        deadline    when it is given up, on the clock of time.monotonic

        Raises Refused with 429 where too many wait, and where the server ends; ModelError for settings with beams.
        """
        if has_beams(self._model, chosen):
            raise ModelError("this model looks for its answers with beams, which are no rows that others join", wanted="one beam")
        stream = Stream(entry, chosen, secrets.randbits(63) if seed is None else seed, deadline, put)
        with self._changed:
            if self._closing:
                raise Refused.unloading()
            if len(self._waiting) >= self._queue:
                self._dismiss()
            if len(self._waiting) >= self._queue:
                raise Refused.full()
            self._waiting.append(stream)
            self._changed.notify()
        return stream

    def pieces(self, entry: Mapping[str, Any], chosen: Generation = OWN, **more: Any) -> tuple[Stream, Callable[[], str | None]]:
        """An answer, and what waits for its next piece of text; None behind the last."""
        found: SimpleQueue[str | None] = SimpleQueue()
        return self.write(entry, chosen, put=found.put, **more), found.get

    def close(self) -> None:
        """Write what waits, and end; returns when that is done."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with torch.inference_mode(), torch_threads(self._threads), fused_activations(self._model):
            while self._wait():
                if newcomers := self._newcomers():
                    with self._noted(len(newcomers), sum(stream.read + 1 for stream in newcomers)):
                        self._read(newcomers)
                for batch in [*self._batches]:
                    with self._noted(len(batch.rows), len(batch.rows)):
                        if not _guarded([batch], batch.step) or not batch.rows:
                            self._batches.remove(batch)

    @contextlib.contextmanager
    def _noted(self, rows: int, tokens: int) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._seen(rows, tokens, time.perf_counter() - begun, len(self._waiting))

    def _wait(self) -> bool:
        """Until there is something to write; whether there will be."""
        with self._changed:
            while not (self._waiting or self._batches or self._closing):
                self._changed.wait()
            return bool(self._waiting or self._batches)

    def _newcomers(self) -> list[Stream]:
        """Those whose turn it is to be read."""
        room = self._most_rows - self.writing if self._joins or len(self._batches) < MOST_APART else 0
        found: list[Stream] = []
        longest = 0
        with self._changed:
            self._dismiss()
            while self._waiting and len(found) < room:
                longest = max(longest, self._waiting[0].read)
                if found and (not self._begins or longest * (len(found) + 1) > READ_AT_ONCE):
                    break
                found.append(self._waiting.popleft())
        return found

    def _dismiss(self) -> None:
        """Those who wait for nobody any more."""
        for stream in [stream for stream in self._waiting if stream.given_up]:
            self._waiting.remove(stream)
            stream.end(stream.given_up or "cancelled")

    def _read(self, streams: list[Stream]) -> None:
        """Read prompts, and give each its first token."""
        begun: list[_Batch] = []
        if _guarded(streams, lambda: begun.append(self._begun(streams))) and _guarded(begun, begun[0].step) and begun[0].rows:
            begun[0].decoding.shorten()
            if not (self._batches and self._joins):
                self._batches += begun
            elif not _guarded([self._batches[0], *begun], lambda: self._batches[0].join(begun[0])):
                self._batches = []

    def _begun(self, streams: list[Stream]) -> _Batch:
        entries = [{**stream.entry, ROW: place} for place, stream in enumerate(streams)]
        batch = on_device(self._task.collate(entries, self._processor), self._model.device)
        inputs = {name: value for name, value in batch.inputs.items() if not name.startswith("decoder_")}
        inputs = inputs if self._model.config.is_encoder_decoder else to_the_left(inputs)
        with quiet_transformers():
            rows = [_Row(stream, self._model, self._processor) for stream in streams]
            return _Batch(rows, Decoding.begin(self._model, inputs))


def has_beams(model: Any, chosen: Generation) -> bool:
    """Whether several answers to a row would be followed side by side."""
    return int(chosen.beams or model.generation_config.num_beams or 1) > 1


def _guarded(asked: Sequence[Stream] | Sequence[_Batch], work: Callable[[], None]) -> bool:
    """Whether it went well; what a model raises, of whatever kind, belongs to the answers it was asked for, not to the thread."""
    try:
        work()
    except Exception as error:
        for each in asked:
            for stream in [each] if isinstance(each, Stream) else [row.stream for row in each.rows]:
                if stream.finish is None:
                    stream.end("error", error)
        return False
    return True
