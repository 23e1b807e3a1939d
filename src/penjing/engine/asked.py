"""A row as methods of explanation want it: what the model saw of it as numbers, and the one number that is explained.

A text is embedded before it is explained: whatever module looks up its tokens hands on what a method puts there instead, so that any
architecture can be asked without knowing its code.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from penjing.core.collate import ROW
from penjing.core.contracts import Batch, Example, Task
from penjing.core.errors import ModelError
from penjing.engine.anatomy import anatomy
from penjing.engine.backends import Backend
from penjing.engine.batches import on_device
from penjing.engine.units import Unit, of_grid, of_text
from penjing.methods.explain import Asked


@dataclass(frozen=True)
class Row:
    """A row as it is explained.

    texts      what is read of it as text, as `Task.read_texts` gives it
    batch      its entries
    units      what its scores are of
    owners     for each number that the model sees, or each token (N, T), the unit it belongs to
    choice     (M,) what is explained in each distribution of its answer, below 0 nothing
    part       which part of the answer alone; None for all
    """

    texts: dict[str, Any]
    batch: Batch
    units: list[Unit]
    owners: Tensor
    choice: Tensor
    part: int | None = None


def row(
    model: PreTrainedModel | Backend, task: Task, example: Example, processor: Any, part: int | None = None, label: int | None = None
) -> Row:
    """A row and what is explained of it: the answer that the model gives, or a label.

    example   with the answer in it where that is written (`Task.answered`)
    """
    encoded = task.encode(example, processor)
    entries = encoded if isinstance(encoded, list) else [encoded]
    device = model.device if isinstance(model, PreTrainedModel) else torch.device("cpu")
    batch = on_device(task.collate([{**entry, ROW: 0} for entry in entries], processor), device)
    with torch.no_grad():
        choice = task.choice(model(**batch.inputs), batch)
    texts = task.read_texts(example) if task.media == "text" else {}
    if texts:
        units, owners = of_text(texts, batch.inputs[_tokens(batch)].cpu().numpy(), processor)
    else:
        seen = batch.inputs[_main(batch)][0]
        units, owners = of_grid(task.media, tuple(seen.shape), _patch(model))
    if not units:
        raise ModelError("there is nothing to explain in an empty input", wanted="at least one word", fix="pass another input")
    return Row(
        texts, batch, units, torch.from_numpy(owners.copy()), choice if label is None else torch.where(choice < 0, choice, label), part
    )


def asked(model: PreTrainedModel | Backend, task: Task, found: Row, processor: Any) -> Asked:
    """The row, as this model sees it: another model of the same architecture embeds it otherwise, the artefact of an engine not at all."""
    if task.media == "text":
        if isinstance(model, PreTrainedModel):
            return _asked_text(model, task, found, processor)
        return _asked_tokens(model, task, found, processor)
    name = _main(found.batch)
    seen = found.batch.inputs[name].float()

    def answer(inputs: Tensor) -> Tensor:
        many = repeated(found.batch, len(inputs))
        return _number(model(**{**many.inputs, name: inputs}), many, task, found, len(inputs))

    silence = seen.min() if task.media == "sound" and seen.ndim > 2 else torch.zeros(())
    return Asked(
        answer, seen, torch.full_like(seen, float(silence)), found.owners[None].expand(seen.shape), len(found.units),
        isinstance(model, PreTrainedModel), _attention(model, found), _maps(model, found.batch),
    )  # fmt: skip


def _asked_text(model: PreTrainedModel, task: Task, found: Row, processor: Any) -> Asked:
    ids = found.batch.inputs[_tokens(found.batch)]
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    with torch.no_grad():
        seen, nothing = (_looked_up(model, tables, found.batch, tokens) for tokens in (ids, _emptied(ids, found, processor)))

    def answer(inputs: Tensor) -> Tensor:
        """inputs (K, N, T, D)"""
        many = repeated(found.batch, len(inputs))
        with _instead(tables, many.inputs[_tokens(many)], inputs.flatten(0, 1)):
            return _number(model(**many.inputs), many, task, found, len(inputs))

    units = found.owners[None, ..., None].expand(1, *seen.shape)
    return Asked(answer, seen[None], nothing[None], units, len(found.units), True, _attention(model, found), None)


def _asked_tokens(model: Backend, task: Task, found: Row, processor: Any) -> Asked:
    ids = found.batch.inputs[_tokens(found.batch)]

    def answer(inputs: Tensor) -> Tensor:
        """inputs (K, N, T) tokens"""
        many = repeated(found.batch, len(inputs))
        return _number(model(**{**many.inputs, _tokens(many): inputs.flatten(0, 1)}), many, task, found, len(inputs))

    return Asked(answer, ids[None], _emptied(ids, found, processor)[None], found.owners[None], len(found.units), slopes=False)


def _emptied(ids: Tensor, found: Row, processor: Any) -> Tensor:
    """The tokens of an input that says nothing: padding in the place of every word.

    Raises ModelError for a tokenizer that has none, nor a mask.
    """
    blank = next((i for i in (processor.pad_token_id, processor.mask_token_id, processor.unk_token_id) if i is not None), None)
    if blank is None:
        raise ModelError(
            "the tokenizer of this model has no token that says nothing",
            wanted="pad_token, mask_token or unk_token in tokenizer_config.json",
            fix="name one there",
        )
    return ids.where((found.owners == len(found.units)).to(ids.device), blank)


def repeated(batch: Batch, times: int) -> Batch:
    """The entries of one row `times` over, as the entries of so many rows."""

    def again(value: Any) -> Any:
        return value.repeat(times, *[1] * (value.ndim - 1)) if isinstance(value, Tensor) and value.ndim else value

    rows = torch.arange(times).repeat_interleave(len(batch.rows))
    inputs = {name: again(value) for name, value in batch.inputs.items()}
    targets = {name: again(value) for name, value in batch.targets.items()}
    return Batch(inputs, targets, rows, [*batch.origin] * times, None if batch.told is None else again(batch.told))


def randomized(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """The same architecture with weights that have learnt nothing."""
    torch.manual_seed(seed)
    return type(model)(model.config).to(model.device).eval()  # type: ignore[arg-type]  # its stub is wrapped wrongly


def _number(outputs: Any, batch: Batch, task: Task, found: Row, times: int) -> Tensor:
    return task.target(outputs, batch, found.part, found.choice.repeat(times))


def _looked_up(model: PreTrainedModel, tables: Sequence[nn.Module], batch: Batch, ids: Tensor) -> Tensor:
    """(N, T, D) what the model's own table holds for tokens.

    Raises ModelError for a model that looks its tokens up otherwise than in a table.
    """
    seen: list[Tensor] = []

    def keep(_: nn.Module, given: Any, output: Tensor) -> None:
        if _same(given, ids):
            seen.append(output)

    with _hooked(tables, keep):
        model(**{**batch.inputs, _tokens(batch): ids})
    if not seen:
        raise ModelError("this model does not look up its tokens in a table", wanted="an embedding", fix="choose --method occlusion")
    return seen[0]


def _instead(tables: Sequence[nn.Module], ids: Tensor, vectors: Tensor) -> Any:
    """While the body runs the lookup of these tokens gives these vectors (N, T, D)."""
    return _hooked(tables, lambda _, given, output: vectors.to(output.dtype) if _same(given, ids) else None)


@contextmanager
def _hooked(modules: Sequence[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _same(given: Any, ids: Tensor) -> bool:
    """Whether a table is asked for these tokens; one of positions is asked for others, or for a shape."""
    return bool(given) and isinstance(given[0], Tensor) and given[0].shape == ids.shape and bool((given[0] == ids).all())


def _tokens(batch: Batch) -> str:
    return "input_ids" if "input_ids" in batch.inputs else next(iter(batch.inputs))


def _main(batch: Batch) -> str:
    """The name of the pixels or of the sound among the inputs: what is no whole number."""
    return next(name for name, value in batch.inputs.items() if value.is_floating_point())


def _patch(model: PreTrainedModel | Backend) -> int | None:
    side = getattr(getattr(model, "config", None), "patch_size", None)
    return side if isinstance(side, int) and getattr(model, "main_input_name", "") == "pixel_values" else None


def _attention(model: PreTrainedModel | Backend, found: Row) -> Callable[[], tuple[Tensor, Tensor]] | None:
    """What reads the weights of the layers for the row's first entry; None for a model without attention that can be told."""
    if not isinstance(model, PreTrainedModel):
        return None
    if not getattr(model, "_supports_sdpa", False) and not getattr(model, "_supports_attention_backend", False):
        return None

    def read() -> tuple[Tensor, Tensor]:
        before = model.config._attn_implementation
        model.set_attn_implementation("eager")  # the others do not tell their weights
        try:
            with torch.no_grad():
                outputs = model(**found.batch.inputs, output_attentions=True)
        finally:
            model.set_attn_implementation(before)
        layers = getattr(outputs, "encoder_attentions", None) or outputs.attentions
        weights = torch.stack([layer[0] for layer in layers]).float().cpu()  # (L, H, T, T)
        return weights, _units_of_positions(found, weights.shape[-1])

    return read


def _units_of_positions(found: Row, positions: int) -> Tensor:
    """(T,) the unit of each position of a sequence: of a token its word, of a patch its cell, of what stands before them none."""
    if found.owners.ndim == 2 and found.units[0].text:
        return found.owners[0]
    before = positions - len(found.units)
    return torch.cat([torch.full((max(0, before),), len(found.units)), torch.arange(min(positions, len(found.units)))])


def _maps(model: PreTrainedModel | Backend, batch: Batch) -> nn.Module | None:
    """The last module whose output is a map larger than one point; where patches are tokens the norm before they are mixed last."""
    if not isinstance(model, PreTrainedModel):
        return None
    if blocks := anatomy(model).blocks if _patch(model) else ():
        return next((module for module in model.get_submodule(blocks[-1]).modules() if isinstance(module, nn.LayerNorm)), None)
    last: list[nn.Module] = []

    def keep(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[-2:]) > 1:
            last[:] = [module]

    with _hooked([module for module in model.modules() if not [*module.children()]], keep), torch.no_grad():
        model(**batch.inputs)
    return last[0] if last else None
