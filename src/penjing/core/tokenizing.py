"""Which tokenizer a new text model gets: options of finetune."""

from dataclasses import dataclass
from typing import Annotated, Literal

from penjing.core.options import Between


@dataclass(frozen=True)
class Tokenizing:
    """Options of engine/tokenizers.py; None where the user said nothing, since a model that is there has its own."""

    tokenizer: Annotated[
        Literal["wordpiece", "bpe", "unigram"] | None, "how the tokenizer of a new text model cuts; wordpiece where not given"
    ] = None
    vocabulary: Annotated[int | None, "pieces it learns at most, letters included; 8,000 where not given", Between(300, 1_000_000)] = None

    @property
    def kind(self) -> str:
        """The kind in force."""
        return self.tokenizer or "wordpiece"

    @property
    def size(self) -> int:
        """The number of pieces in force."""
        return self.vocabulary or 8000
