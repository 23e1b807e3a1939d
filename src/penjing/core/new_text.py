"""Which tokenizer and positions a new text model gets, and how much it reads at once: options of finetune and pretrain."""

from dataclasses import dataclass
from typing import Annotated, Literal

from penjing.core.options import Between


@dataclass(frozen=True)
class NewText:
    """Options of engine/create.py; None where the user said nothing, since a model that is there has its own."""

    tokenizer: Annotated[
        Literal["wordpiece", "bpe", "unigram", "word"] | None,
        "how the tokenizer of a new text model cuts; where not given wordpiece, and bpe for a model that writes",
    ] = None
    vocabulary: Annotated[int | None, "pieces it learns at most, letters included; 8,000 where not given", Between(300, 1_000_000)] = None
    context: Annotated[int | None, "tokens that it reads at once; 256 where not given", Between(8, 1_000_000)] = None
    positions: Annotated[
        Literal["learned", "sinusoidal", "rotary", "nope"] | None,
        "how it knows where a token stands, where its family lets choose (penjing families); nope: not at all",
    ] = None

    @property
    def size(self) -> int:
        """The number of pieces in force."""
        return self.vocabulary or 8000

    @property
    def window(self) -> int:
        """The number of tokens in force."""
        return self.context or 256
