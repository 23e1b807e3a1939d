"""Parts that a config counts: how much each matters, which numbers of them it can say, and the weights that are left without some.

taylor        |activation x gradient|, how much the loss would change if the unit were silent; summed over the tokens of a batch before its
              size is taken. Molchanov et al. 2017, "Pruning convolutional neural networks for resource efficient inference", section 2.2
activations   mean size of what the unit gives. Muralidharan et al. 2024, "Compact language models via pruning and knowledge
              distillation" (Minitron), section 2.2
magnitude     Euclidean length of all its weights. Li et al. 2017, "Pruning filters for efficient ConvNets", section 3.1

Letters   U units of a set
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import PretrainedConfig

from penjing.core.contracts import Units
from penjing.core.progress import progress
from penjing.methods.prune import Remaining, Shown

Importance = Literal["taylor", "magnitude", "activations"]
ROUND_TO = 8  # numbers; matrix kernels work in multiples of it


class Place(NamedTuple):
    """Where units can be heard: `total` of them in what the module at `path` reads, or in what it gives."""

    path: str
    total: int
    gives: bool = False


def importance(model: nn.Module, kind: Importance, places: Sequence[Place], shown: Shown) -> list[Tensor]:
    """(U,) for each place, by "taylor" or "activations"; the training rows are looked at once."""
    scores = [torch.zeros(place.total) for place in places]

    def listen(number: int) -> Callable[..., None]:
        total = places[number].total

        def note(numbers: Tensor) -> None:
            units = numbers.detach().float().unflatten(-1, (total, -1))
            found = units.flatten(0, -3).sum(0).sum(-1).abs() if kind == "taylor" else units.abs().sum(-1).flatten(0, -2).sum(0)
            scores[number].add_(found.cpu())

        def hook(_: nn.Module, inputs: Any, output: Any = None) -> None:
            activation = inputs[0] if output is None else output[0] if isinstance(output, tuple) else output
            if kind == "taylor":
                activation.register_hook(lambda gradient: note(activation * gradient))
            else:
                note(activation)

        return hook

    modules = [model.get_submodule(place.path) for place in places]
    hooks = [
        module.register_forward_hook(listen(number)) if place.gives else module.register_forward_pre_hook(listen(number))
        for number, (place, module) in enumerate(zip(places, modules))
    ]
    try:
        for batch in shown.batches:
            with torch.set_grad_enabled(kind == "taylor"):
                found = shown.loss(model(**batch.inputs), batch).mean()
            if kind == "taylor":
                found.backward()
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad()
    return scores


def magnitude(weights: Mapping[str, Tensor], units: Units) -> list[Tensor]:
    """(U,) for each set: how long the matrices of each unit are; they are read one after the other."""
    squares = [torch.zeros(units.total) for _ in units.sets]
    with progress("weighing tensors", sum(len(tensors) for _, tensors in units.sets)) as shown:
        for found, (_, tensors) in zip(squares, units.sets):
            for name, dimension in tensors:
                weight = weights[name]
                if weight.ndim > 1:
                    found += _lengths(weight, dimension, units.total, units.repeat.get(name, 1)).square()
                shown.step()
    return [found.sqrt() for found in squares]


def scored(model: nn.Module, kind: Importance, units: Units, shown: Shown) -> list[Tensor]:
    """(U,) for each set of units that a module reads, how much each matters."""
    if kind == "magnitude":
        return magnitude(shown.weights, units)
    return importance(model, kind, [Place(path, units.total) for path, _ in units.sets], shown)


def best(scores: Sequence[Tensor], count: int) -> tuple[list[Tensor], float]:
    """Sorted numbers of the units that stay in each set, and the share of importance that is lost with the others."""
    kept = [each.topk(count).indices.sort().values for each in scores]
    lost = [1 - (each[stay].sum() / each.sum().clamp(min=1e-30)).item() for each, stay in zip(scores, kept)]
    return kept, round(sum(lost) / len(lost), 4)


def cut(weights: Remaining, units: Units, kept: Sequence[Tensor]) -> None:
    """Leave of every tensor of these units what belongs to those kept; a set of numbers for each set."""
    for (_, tensors), stay in zip(units.sets, kept):
        for name, dimension in tensors:
            weights.change(name, partial(taken, dimension, units.total, stay, units.repeat.get(name, 1)))


def taken(dimension: int, total: int, kept: Tensor, times: int, weight: Tensor) -> Tensor:
    """What belongs to the units `kept` of `total`; a dimension may hold each so many times in a row, and all of them several times."""
    places = torch.arange(weight.shape[dimension]).view(-1, total, times)[:, kept].flatten()
    return weight.index_select(dimension, places.to(weight.device))


def nearest(config: PretrainedConfig, numbers: Sequence[int], wanted: float, said: Callable[[int], dict[str, Any]]) -> int:
    """The number nearest to what is wanted, the larger of two, that the config can say; `said` gives the entries that would say it."""
    for number in sorted(numbers, key=lambda each: (abs(each - wanted), -each)):
        try:
            type(config).from_dict({**config.to_dict(), **said(number)})
        except (ValueError, StrictDataclassError):
            continue
        return number
    raise ValueError("not even as many as there are")


def entries(units: Units, count: int) -> dict[str, Any]:
    """What a config says of so many units."""
    return {**units.fixed, **{name: count * each for name, each in units.settings.items()}}


def _lengths(weight: Tensor, dimension: int, total: int, times: int) -> Tensor:
    """(U,) how long what belongs to each of `total` units is, as `taken` counts them."""
    units = weight.detach().unflatten(dimension, (-1, total, times))
    others = [each for each in range(units.ndim) if each != dimension + 1]
    return torch.linalg.vector_norm(units, dim=others, dtype=torch.float32).cpu()
