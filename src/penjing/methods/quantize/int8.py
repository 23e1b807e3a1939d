"""Weights and activations of 8 bits.

dynamic   Models made of linear layers: activations get their scale while the model runs, each output column and each row of an embedding
          table its own when it is written. A row's answer therefore does not depend on its neighbours in the batch, as it would with
          onnxruntime's own dynamic quantization, which takes one scale a batch.
            onnxruntime   one scale for each token (ZeroQuant, Yao et al. 2022, section 4.1), written into the graph
            openvino      one scale for each group of neighbouring inputs of a token, which the engine takes by itself
            Recurrent cells have no such kernels: theirs are int8 in the file, each row of weights with its scale, and calculate in fp32.
static    Models made of convolutions: scales of activations are fixed from the calibration rows' smallest and largest values, batch norm
          is folded into the weights (Jacob et al. 2018); one scale for each output channel. Both engines run the same numbers.

Activations are unsigned and weights signed: the pair that has fast kernels. Signed activations made residual networks 1.4 to 5.7 times
slower. Medians with AVX512-VNNI, one thread, one row, variants in turn on a busy machine, 2026-11-22:

    MiniLM classifier, sst2             torch fp32 14.5 ms   onnxruntime fp32 6.8   int8 3.4   openvino fp32 8.2   int8 5.1
      flips of 872 answers, against torch                                     0        1                   0         2
    residual network, widths 64 128 256 torch fp32 2.50 ms   onnxruntime fp32 0.62  int8 0.23  openvino fp32 0.80  int8 0.52
    the same, widths 8 12 16            torch fp32 0.41 ms   onnxruntime fp32 0.05  int8 0.06  openvino fp32 0.13  int8 0.14

So in networks of a dozen channels int8 saves bytes only: the gain in speed over torch there is the engine's.

What OpenVINO could do and this does not: nncf's static ranges for transformers were as fast (4.8 ms) and flipped more answers (5); bf16 was
slower (6.1 ms) and flipped none.
"""

import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple

import numpy
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from penjing.core.contracts import Batch
from penjing.core.errors import DataError, ModelError, need
from penjing.core.generation import PAST
from penjing.core.openvino import openvino
from penjing.methods.quantize import Rounding
from penjing.methods.quantize._cells import CELLS
from penjing.methods.quantize._graph import OPSET, SMALL, compact, export, folded, overflows, quiet, tables
from penjing.methods.quantize._rewrite import BLOCK, TINY, Product, Rewrite, by_groups, by_tokens

CALIBRATES = True
MOST_BYTES = 2 * 10**9  # of a protobuf file; larger ones need their weights beside it
GROUP = 64  # inputs of a token that share a scale in openvino; divides the widths of usual transformers. 32 took 7 % longer, 128 5 % less
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
STATIC = ("Conv", "MatMul", "Gemm", "Add", "Mul", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu")


@dataclass(frozen=True)
class Options:
    """Which scheme serves a model follows from its layers."""

    embedding_bits: Annotated[Literal[8, 4], "of each number in a table of embeddings"] = 8


def apply(
    model: torch.nn.Module, batches: Iterable[Batch], settings: Options, engine: str, out: Path, reads: Sequence[str] = ("logits",)
) -> dict[str, Any]:
    """Write the artefact of `engine`: inputs named as in `batches`, outputs as in `reads`; batch and sequence axes open.

    The model is left as it was. Facts: engine, precision, bits, scheme, opset, how many operations of each type were stored in int8 and
    how many not, with the reason; fp32_cells, recurrent ones that the file alone holds in int8; int8_share of all weights; reduce_range,
    True where this processor needs 7-bit weights; wide_sums, True where they have 8 and no processor that needs 7 may run them; writes,
    whether it is a decoder that can be asked token by token.

    Raises DataError without a batch, ModelError for a model of 2 GB or without a layer to quantize, MissingExtra without a library.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        need(library, "onnx")
    writer = ENGINES[engine]
    writer.library()
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise DataError("there is no row to calibrate on", wanted="at least one batch", fix="use data with more train rows")
    size = sum(p.numel() * 4 for p in model.parameters())
    if size >= MOST_BYTES:
        raise ModelError(f"the model takes {size:,} bytes in fp32", wanted=f"less than {MOST_BYTES:,}, the most one ONNX file holds")

    with tempfile.TemporaryDirectory(prefix="penjing-") as folder, quiet():
        plain = folded(export(model, first.inputs, reads, writer.writes), Path(folder))
        scheme = _scheme(plain)
        multiplies = scheme == "static" or writer.product is by_tokens
        reduce_range = overflows() and multiplies
        small = _tables_in_int8(
            plain, writer.product, top=63 if reduce_range else 127, bits=settings.embedding_bits, linears=scheme == "dynamic"
        )
        if scheme == "static":
            small = _calibrated(small, itertools.chain([first], batches), writer.static, reduce_range, Path(folder))
    facts = _facts(plain, small)
    if not facts["quantized"]:
        raise _nothing_to_quantize(model)
    writer.write(compact(small), out)
    head = {"engine": engine, "precision": "int8", "bits": 8, "scheme": scheme, "opset": OPSET}
    writes = any(entry.name.startswith(PAST) for entry in small.graph.input)
    wide_sums = multiplies and not reduce_range
    return head | facts | {"reduce_range": reduce_range, "wide_sums": wide_sums, "rows_interact": False, "writes": writes}


def rounding(model: nn.Module, settings: Options, engine: str, dtype: torch.dtype) -> dict[str, Rounding]:
    """Linear layers and tables of embeddings as in the artefact of `engine`; of networks made of convolutions the weights alone.

    A batch norm behind a convolution multiplies each of its outputs and their scale alike, so that weights are rounded the same once it is
    folded into them. Recurrent cells, and ranges of activations that are found on rows, have no part in it.

    Raises ModelError for a model without such a layer.
    """
    layers: list[tuple[str, Any]] = [(path, m) for path, m in model.named_modules() if type(m) in (nn.Linear, Conv1D, *CONVOLUTIONS)]
    static = sum(m.weight.numel() * (1 if type(m) in CONVOLUTIONS else -1) for _, m in layers) > 0
    by_group = ENGINES[engine].product is by_groups
    top = (64 if static else 63) if (static or not by_group) and overflows() else 127
    activations = None if static else _by_groups if by_group else _by_tokens
    found = {}
    heads = {id(module.weight) for _, module in layers} if not by_group else set()  # embeddings too, of which one table is stored
    for path, module in layers:
        if static or (module.weight.numel() >= SMALL and type(module) not in CONVOLUTIONS):
            outputs = 1 if type(module) is Conv1D else 0
            axes = tuple(axis for axis in range(module.weight.ndim) if axis != outputs)
            found[path] = Rounding(partial(_to_steps, top=top, axes=axes), activations)
    for path, module in model.named_modules():
        if type(module) is nn.Embedding and module.weight.numel() >= SMALL:
            is_head = id(module.weight) in heads
            blocks = settings.embedding_bits == 4 and module.embedding_dim % BLOCK == 0 and not is_head
            found[path] = Rounding(_in_blocks if blocks else partial(_to_steps, top=top if is_head else 127, axes=(-1,)))
    if not found:
        raise _nothing_to_quantize(model)
    return found


def _to_steps(value: Tensor, top: int, axes: tuple[int, ...]) -> Tensor:
    """The nearest of -top to top steps, of which the largest in each slice along these axes is `top`."""
    step = (value.abs().amax(axes, keepdim=True) / top).clamp(min=TINY)
    return (value / step).round() * step


def _in_blocks(rows: Tensor) -> Tensor:
    return _to_steps(rows.unflatten(-1, (-1, BLOCK)), 7, (-1,)).flatten(-2)


def _by_tokens(tokens: Tensor) -> Tensor:
    return _to_steps(tokens, 127, (-1,))


def _by_groups(tokens: Tensor) -> Tensor:
    """Of a token whose groups would not be of one size, one group."""
    grouped = tokens.unflatten(-1, (-1, GROUP)) if tokens.shape[-1] % GROUP == 0 else tokens[..., None, :]
    return _by_tokens(grouped).flatten(-2)


class _Writer(NamedTuple):
    """What an engine has fast kernels for, and how its file is written.

    library   imports what `write` needs
    product   how a linear layer is multiplied
    static    how onnxruntime.quantization writes a calibrated graph: as operators, or as pairs that quantize and dequantize
    writes    whether a decoder's artefact is asked token by token
    """

    library: Callable[[], ModuleType]
    product: Product
    static: str
    writes: bool
    write: Callable[[Any, Path], None]


def _write_onnx(small: Any, out: Path) -> None:
    need("onnx", "onnx").save(small, out / "model.onnx")


def _write_openvino(small: Any, out: Path) -> None:
    """The graph as openvino's own pair of files; names that it has counted up in this process give way to the order of the nodes."""
    library = openvino()
    model = library.Core().read_model(small.SerializeToString())
    for number, node in enumerate(model.get_ordered_ops()):
        node.set_friendly_name(str(number))
    model.set_rt_info(str(GROUP), ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
    library.save_model(model, out / "openvino_model.xml", compress_to_fp16=False)


ENGINES = {
    "onnxruntime": _Writer(partial(need, "onnxruntime", "onnx"), by_tokens, "QOperator", True, _write_onnx),
    "openvino": _Writer(openvino, by_groups, "QDQ", False, _write_openvino),
}


def _nothing_to_quantize(model: nn.Module) -> ModelError:
    return ModelError(
        f"{type(model).__name__} has no layer that int8 would make smaller",
        wanted=f"a convolution, or a linear layer or embedding of {SMALL:,} weights or more",
        fix="leave it in fp32",
    )


def _scheme(plain: Any) -> str:
    """Static where convolutions hold most of the weights that are multiplied."""
    weights: Counter[str] = Counter()
    for node, table in tables(plain):
        weights[node.op_type] += int(numpy.prod(table.dims))
    return "static" if weights["Conv"] + weights["ConvTranspose"] > weights["MatMul"] + weights["Gemm"] else "dynamic"


def _tables_in_int8(plain: Any, product: Product, top: int, bits: int, linears: bool) -> Any:
    """The graph with cells in int8, embedding tables in `bits`, and linear layers in int8 too if `linears`."""
    rewrite = Rewrite(plain, product, top, bits)
    for node in plain.graph.node:
        table = rewrite.table(node)
        if node.op_type in CELLS:
            rewrite.cell(node)
        elif table is None:
            rewrite.nodes.append(node)
        elif node.op_type == "Gather":
            rewrite.embedding(node, table)
        elif linears:
            rewrite.linear(node, table)
        else:
            rewrite.nodes.append(node)
    return rewrite.done()


def _calibrated(plain: Any, batches: Iterable[Batch], form: str, reduce_range: bool, folder: Path) -> Any:
    """The graph with convolutions and what lies between them in int8, by onnxruntime.quantization.

    form      "QOperator": the same speed in onnxruntime as pairs and a quarter fewer bytes in a small network; or "QDQ": pairs

    Least and greatest value over the rows; the entropy and percentile rules gave the same logits (cosine 0.9999 on three residual
    networks) at more cost.
    """
    onnx, quantization = need("onnx", "onnx"), need("onnxruntime.quantization", "onnx")
    feeds = ({name: value.cpu().numpy() for name, value in batch.inputs.items()} for batch in batches)
    quantization.quantize_static(
        plain,
        folder / "static.onnx",
        SimpleNamespace(get_next=partial(next, feeds, None)),  # a CalibrationDataReader of onnxruntime
        quant_format=quantization.QuantFormat[form],
        op_types_to_quantize=list(STATIC),
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return onnx.load(folder / "static.onnx")


def _facts(plain: Any, small: Any) -> dict[str, Any]:
    """Which tables became int8: operations by type, and the share of all weights that they hold."""
    left = {tensor.name for tensor in small.graph.initializer}
    sizes = {table.name: int(numpy.prod(table.dims)) for _, table in tables(plain)}
    users = [(node.op_type, node.output[0], table.name) for node, table in tables(plain)]
    why = {name: "small" if size < SMALL else "no int8 kernel in this scheme" for name, size in sizes.items()}
    reasons = Counter((kind, why[name]) for kind, _, name in users if name in left)
    stored = {(kind, node) for kind, node, name in users if name not in left}
    return {
        "quantized": dict(sorted(Counter(kind for kind, _ in stored).items())),
        "left_fp32": [{"type": kind, "count": count, "why": reason} for (kind, reason), count in sorted(reasons.items())],
        "fp32_cells": sorted({kind for kind, _ in stored} & {*CELLS}),
        "int8_share": sum(size for name, size in sizes.items() if name not in left) / max(1, sum(sizes.values())),
    }
