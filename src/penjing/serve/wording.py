"""Tokens to text while they come: no half characters, and nothing behind which a stop text may yet begin."""

from collections.abc import Sequence
from typing import Any

from penjing.engine.generate import cut

SEEN = 16  # tokens that are decoded again with those that follow, as a token's text depends on its neighbours
HALF = "\ufffd"  # what a tokenizer writes for bytes that are no character yet


class Wording:
    """The text of one answer.

    processor   the tokenizer
    prompt      tokens that the answer goes on from; none for an encoder-decoder
    stops       texts before which the answer ends
    """

    def __init__(self, processor: Any, prompt: Sequence[int], stops: Sequence[str]):
        self._processor, self._stops, self.stopped = processor, stops, False
        self._prompt, self._ids, self._given, self._held = [*prompt], list[int](), "", ""
        self._window = self._prompt[-SEEN:]
        self._told = len(self._text(self._window))  # letters of the window that are no news

    def add(self, token: int) -> str:
        """The text that is certain now; `stopped` says that a stop text was reached, and nothing follows."""
        self._ids.append(token)
        self._window.append(token)
        text = self._text(self._window)
        sure = len(text.removesuffix(HALF))
        self._held += text[self._told : sure]
        self._told = max(self._told, sure)
        if len(self._window) >= 2 * SEEN:
            del self._window[:-SEEN]
            self._told = len(self._text(self._window).removesuffix(HALF))
        whole = cut(self._held, self._stops)
        self.stopped = len(whole) < len(self._held)
        found = whole if self.stopped else whole[: len(whole) - _begun(whole, self._stops)]
        self._held = self._held[len(found) :]
        self._given += found
        return found

    def end(self) -> str:
        """The rest: what all tokens say when they are decoded at once."""
        if self.stopped:
            return ""
        before = self._text(self._prompt)
        whole = cut(self._text([*self._prompt, *self._ids])[len(before) :], self._stops)
        return whole[len(self._given) :] if whole.startswith(self._given) else self._held

    def _text(self, ids: Sequence[int]) -> str:
        return self._processor.decode(ids, skip_special_tokens=True) if ids else ""


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many of its last letters may be the beginning of a stop text."""
    longest = min(max(map(len, stops), default=0) - 1, len(text))
    return next((number for number in range(longest, 0, -1) if any(stop.startswith(text[-number:]) for stop in stops)), 0)
