"""What is taken away. A method has `Options` (with `keep_share`), and

RECOVERS                                            whether what stays has to learn again
LOOKS                                               whether it looks at the batches of training rows that it is shown; with an `importance`
                                                    of "magnitude" it does not
fits(anatomy) -> bool                               whether the model has what the method removes
size(config, anatomy, wanted) -> int                of those that shape a student: how many can stay, nearest to what is wanted
apply(model, anatomy, shown, settings) -> Smaller   what stays; nothing is trained here

Only what the config can say is removed, so that the smaller model is an ordinary one; `weights` alone removes nothing, it leaves zeros.

The model may be larger than memory, its parameters without any: their numbers are read from `shown.weights`, one tensor at a time, and what
stays of them is made when it is asked for (`Remaining`). What looks at no batch must need no more than that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from penjing.core.contracts import Batch, RowLoss


class Remaining(Mapping[str, Tensor]):
    """The weights of a smaller model, each made, when it is asked for, of one weight of the whole, which is read then.

    whole     weights by their names, in memory or on disk
    sources   name in the smaller model -> name in the whole; where it is None all that there are
    """

    def __init__(self, whole: Mapping[str, Tensor], sources: Mapping[str, str] | None = None):
        self._whole, self._changes = whole, dict[str, list[Callable[[Tensor], Tensor]]]()
        self._sources = {name: name for name in whole} if sources is None else sources

    def change(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        """Make a weight by one more function, after those that it has."""
        self._changes.setdefault(name, []).append(function)

    def __getitem__(self, name: str) -> Tensor:
        weight = self._whole[self._sources[name]]
        for function in self._changes.get(name, ()):
            weight = function(weight)
        return weight

    def __contains__(self, name: object) -> bool:
        return name in self._sources  # Mapping would read it

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


class Shown(NamedTuple):
    """What a method may look at.

    weights     of the model, by their names, each read when it is asked for
    batches     some training rows
    loss        of what the model makes of them
    processor   its tokenizer, or what else reads its inputs
    tokens      how often each token stands in all training rows
    """

    weights: Mapping[str, Tensor]
    batches: Iterable[Batch]
    loss: Callable[[Any, Batch], RowLoss]
    processor: Any
    tokens: Callable[[], Counter[int]]


class Smaller(NamedTuple):
    """A smaller model.

    changes      entries of the config that change
    weights      all of its weights
    facts        what the card says of it
    processor    a tokenizer, where that changes; None for the same
    generation   a generation_config, where that changes
    share        of what is counted, the part that stays once numbers are rounded
    zeros        names of the weights whose zeros stay zeros while the rest learns
    """

    changes: dict[str, Any]
    weights: Mapping[str, Tensor]
    facts: dict[str, Any]
    processor: Any = None
    generation: Any = None
    share: float = 1.0
    zeros: tuple[str, ...] = ()
