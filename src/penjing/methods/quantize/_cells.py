"""Recurrent cells on their way into an ONNX graph: each one operation of ONNX, over rows of any length.

torch itself writes a plain cell out for each token of the row that is traced, and lets the length of that row into the shapes of a GRU
(torch 2.13).

Letters   B rows, T tokens, I inputs and H units of a cell
"""

from typing import Any

import torch
from torch import Tensor, nn

CELLS = ("RNN", "GRU", "LSTM")
_GATES = {"RNN_TANH": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}  # torch's number of each gate, in the order of ONNX


class _Cell(nn.Module):
    """What such an operation is made of: weights in the order of ONNX."""

    def __init__(self, cell: nn.RNNBase):
        super().__init__()
        parts = [weight.detach().chunk(len(_GATES[cell.mode])) for weight in cell.all_weights[0]]
        ahead, again, *biases = (torch.cat([part[gate] for gate in _GATES[cell.mode]])[None] for part in parts)
        self.weights = nn.ParameterList([ahead, again, torch.cat(biases, -1)])
        self.kind, self.size = cell.mode.removesuffix("_TANH"), cell.hidden_size

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        """(B, T, I) to (B, T, H)."""
        rows, length, _ = tokens.shape
        settings: Any = {"hidden_size": self.size, **({"linear_before_reset": 1} if self.kind == "GRU" else {})}
        inputs, shape = (tokens.transpose(0, 1), *self.weights), (length, 1, rows, self.size)
        states = torch.onnx.ops.symbolic(self.kind, inputs, settings, dtype=tokens.dtype, shape=shape)
        return (states[:, 0].transpose(0, 1),)


def exportable(model: nn.Module) -> None:
    """Put such operations in the place of the cells of `model`; those of several layers or both directions at once are left to torch."""
    for path, cell in [(path, module) for path, module in model.named_modules() if isinstance(module, nn.RNNBase)]:
        alone = cell.num_layers == 1 and not cell.bidirectional and not cell.proj_size
        if alone and cell.bias and cell.batch_first and cell.mode in _GATES:
            model.set_submodule(path, _Cell(cell))
