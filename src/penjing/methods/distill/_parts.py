"""What parts of two models give on the same inputs, heard by hooks that are taken off when the training has ended."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from penjing.core.contracts import Batch
from penjing.core.errors import ModelError
from penjing.methods.distill import Functions


class Attached:
    """Modules that learn beside a model, as its submodule `name`: they are in its checkpoints, and `remove` takes them off again.

    They stand at the end of its body, which is no place where a block or a head is looked for.
    """

    def __init__(self, model: Any, name: str, modules: Iterable[nn.Module]):
        self._body, self._name, self.modules = model.base_model, name, nn.ModuleList(modules).to(model.device)
        self._body.add_module(name, self.modules)

    def remove(self) -> None:
        """Leave the model without them."""
        delattr(self._body, self._name)


def heard(
    model: nn.Module, paths: Iterable[str], functions: Functions, through: Mapping[str, nn.Module] | None = None
) -> dict[str, Tensor]:
    """What the modules at these paths gave when the model was last asked, alone or the first of several.

    through   what else a path's tensor goes through: in the forward pass, so that it is computed in the precision of that
    """

    def keep(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            state = output[0] if isinstance(output, tuple) else output
            found[path] = through[path](state) if through and path in through else state

        return hook

    found: dict[str, Tensor] = {}
    functions.hooks.extend(model.get_submodule(path).register_forward_hook(keep(path)) for path in dict.fromkeys(paths))
    return found


def there(batch: Batch, states: Tensor) -> Tensor:
    """(N, T) 1 for the tokens of states (N, T, D) that are no padding, else 0, in the type of the states."""
    mask = batch.inputs.get("attention_mask")
    return states.new_ones(states.shape[:2]) if mask is None else mask[:, : states.shape[1]].to(states)


def require_aligned(student: Tensor, teacher: Tensor) -> None:
    """Raise ModelError where a teacher (N, T, D) cuts what it reads otherwise than its student, of which maybe the first token is left."""
    if student.shape[1] not in (1, teacher.shape[1]):
        raise ModelError(
            f"the teacher reads a row as {teacher.shape[1]} pieces and the student as {student.shape[1]}, which cannot be compared",
            wanted="a student that cuts what it reads as its teacher does",
            fix="choose --method logits",
        )
