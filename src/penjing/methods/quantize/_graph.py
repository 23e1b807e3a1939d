"""A torch model as an ONNX graph in fp32: traced, constants computed, names taken away again before it is written.

The one form from which the artefacts of every engine are made.
"""

import contextlib
import copy
import inspect
import io
import itertools
import logging
import string
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.export import Dim
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, bidirectional_mask_function, eager_mask

from penjing.core.errors import ModelError, need
from penjing.core.generation import PAST, PRESENT
from penjing.methods.quantize._cells import CELLS, exportable

OPSET = 20
SMALL = 2**13  # numbers in a table: below it int8 saves less than the nodes around it cost, and the last layer keeps its precision
WEIGHTED = {  # operation -> which of its inputs are trained tables
    **dict.fromkeys(("Conv", "ConvTranspose", "MatMul", "Gemm"), (1,)),
    **dict.fromkeys(CELLS, (1, 2)),
    "Gather": (0,),
}


class _Outputs(torch.nn.Module):
    """The model as the exporter traces it: from tensors, in the order of `names`, to the outputs that are read."""

    def __init__(self, model: torch.nn.Module, names: list[str], reads: Sequence[str]):
        super().__init__()
        self.model, self.names, self.reads = model, names, reads

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(**dict(zip(self.names, tensors)))
        return tuple(found[name] for name in self.reads)


class _Decoder(torch.nn.Module):
    """The same of a decoder: from ids (B, T), a mask (B, P + T), and what attention keeps of P tokens before, to logits and what it keeps
    of all. Rows have their padding on either side: a token's position is how many there are before it.
    """

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, *kept: torch.Tensor) -> tuple[torch.Tensor, ...]:
        past: Any = DynamicCache(zip(kept[::2], kept[1::2]))
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        found = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True)
        return found.logits, *(part for layer in past.layers for part in (layer.keys, layer.values))


def export(model: torch.nn.Module, inputs: dict[str, torch.Tensor], reads: Sequence[str] = ("logits",), writes: bool = False) -> Any:
    """The model in fp32 as an onnx.ModelProto, traced on a copy; of its outputs those that are read.

    writes    whether a decoder shall be able to write token by token: then its graph is given what attention keeps of earlier tokens too,
              past_key_values.0.key (B, H, P, D) and so on, and gives present.0.key (B, H, P + T, D): the names that other tools know

    Raises ModelError for a model of operations that ONNX lacks.
    """
    twin = copy.deepcopy(model).cpu().float().eval()
    if isinstance(twin, PreTrainedModel):
        twin.set_attn_implementation("eager")  # sdpa adds guards for fully masked rows: 72 more nodes in MiniLM, 3 to 8 % slower
    exportable(twin)
    names, outputs, examples = list(inputs), list(reads), [_example(value) for value in inputs.values()]
    rows, tokens = {0: Dim("batch")}, {0: Dim("batch"), 1: Dim("sequence")}
    axes = [tokens if value.ndim == 2 else rows for value in inputs.values()]
    traced: torch.nn.Module = _Outputs(twin, names, reads)
    if kept := _kept(twin, dict(zip(names, examples))) if writes else []:
        parts = [f"{layer}.{part}" for layer in range(len(kept) // 2) for part in ("key", "value")]
        ids, mask = examples[0], torch.ones(len(kept[0]), kept[0].shape[2] + examples[0].shape[1], dtype=torch.int64)
        traced, names, outputs = _Decoder(twin), [*names, *(PAST + part for part in parts)], [*outputs, *(PRESENT + part for part in parts)]
        axes, examples = [tokens, {0: Dim("batch"), 1: Dim.AUTO}, *({0: Dim("batch"), 2: Dim("past")} for _ in kept)], [ids, mask, *kept]
    try:
        with _masks_by_token():
            program: Any = torch.onnx.export(
                traced.eval(),
                tuple(examples),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(tuple(axes),) if not kept else (axes[0], axes[1], tuple(axes[2:])),
                input_names=names,
                output_names=outputs,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        said = next((line for line in reversed(str(error).splitlines()) if line and not line.startswith("(")), "")
        raise ModelError(
            f"torch cannot write {type(model).__name__} as an ONNX graph: {said}",
            wanted="a model whose operations ONNX has",
            fix="penjing quantize --method rtn or bf16, which need no graph; shrink with --no-quantize",
        ) from error
    return program.model_proto


@torch.inference_mode()
def _kept(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Keys and values (2, H, P, D), layer after layer, that attention keeps of examples; none where it is no decoder, or keeps others."""
    if not isinstance(model, PreTrainedModel) or not model.can_generate() or list(inputs) != ["input_ids", "attention_mask"]:
        return []
    if "position_ids" not in inspect.signature(model.forward).parameters:  # it counts tokens of its own, padding among them
        return []
    if not type(model).__module__.startswith("transformers."):  # a graph shall write without code that its model brought
        return []
    cache: Any = model(**inputs, use_cache=True).get("past_key_values")
    layers: list[Any] = cache.layers if type(cache) is DynamicCache else []
    if not all(type(layer) is DynamicLayer and layer.is_initialized for layer in layers):
        return []
    return [part.clone() for layer in layers for part in (layer.keys, layer.values)]


@contextlib.contextmanager
def _masks_by_token() -> Iterator[None]:
    """Let transformers say once a token of a text, not once a pair of tokens, which of them are padding: 20 nodes less in MiniLM."""
    before = ALL_MASK_ATTENTION_FUNCTIONS["eager"]
    ALL_MASK_ATTENTION_FUNCTIONS["eager"] = _mask
    try:
        yield
    finally:
        ALL_MASK_ATTENTION_FUNCTIONS["eager"] = before


def _mask(*, mask_function: Any, attention_mask: torch.Tensor | None, **more: Any) -> torch.Tensor:
    """(B, 1, 1, T) of a mask (B, T) by which each token reads all that are there; of any other (B, 1, T, T)."""
    if mask_function is not bidirectional_mask_function or attention_mask is None:
        return eager_mask(mask_function=mask_function, attention_mask=attention_mask, **more)
    least = torch.finfo(more["dtype"]).min
    return torch.where(attention_mask[:, None, None, :], torch.zeros((), dtype=more["dtype"]), least)


def _example(value: torch.Tensor) -> torch.Tensor:
    """Two rows, and two tokens or more: an axis of length 1 would be traced as fixed."""
    row = value[:1].cpu()
    if row.ndim == 2 and row.shape[1] == 1:
        row = row.repeat(1, 2)
    return row.repeat(2, *[1] * (row.ndim - 1))


def folded(plain: Any, folder: Path) -> Any:
    """The same graph with constants computed and batch norms folded into the convolutions before them."""
    onnx, onnxruntime = need("onnx", "onnx"), need("onnxruntime", "onnx")
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # the level that is the same on all machines
    options.optimized_model_filepath = str(folder / "folded.onnx")
    onnxruntime.InferenceSession(plain.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "folded.onnx")


def session_options() -> Any:
    options = need("onnxruntime", "onnx").SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return options


def tables(graph_model: Any) -> Iterator[tuple[Any, Any]]:
    """Every node that multiplies by, or looks up in, a trained fp32 table, with that table; recurrent cells have two."""
    onnx = need("onnx", "onnx")
    trained = {t.name: t for t in graph_model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) >= 2}
    for node in graph_model.graph.node:
        for place in WEIGHTED.get(node.op_type, ()):
            if node.input[place] in trained:
                yield node, trained[node.input[place]]


def compact(small: Any) -> Any:
    """The same computation without names, shapes and remarks: a quarter of a small network's file."""
    graph = small.graph
    del graph.value_info[:]
    everything = [small, graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    for part in everything:
        part.doc_string = ""
        del part.metadata_props[:]
    fixed = {"": "", **{value.name: value.name for value in (*graph.input, *graph.output)}}
    short = ("".join(letters) for size in itertools.count(1) for letters in itertools.product(string.ascii_letters, repeat=size))
    names = _Names(fixed, (name for name in short if name not in fixed))
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    for node in graph.node:
        node.name = ""
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    return small


class _Names(dict[str, str]):
    """Old name -> short name, given out on first sight."""

    def __init__(self, fixed: dict[str, str], short: Iterator[str]):
        super().__init__(fixed)
        self.short = short

    def __missing__(self, old: str) -> str:
        self[old] = next(self.short)
        return self[old]


def overflows() -> bool:
    """Whether this processor cuts sums of two 8-bit products at 16 bits, as x86 does without VNNI; then weights get 7 bits."""
    onnx, onnxruntime = need("onnx", "onnx"), need("onnxruntime", "onnx")
    make, kind = onnx.helper, onnx.TensorProto
    weight = onnx.numpy_helper.from_array(numpy.full((64, 16), 127, "int8"), "b")
    ends = [make.make_tensor_value_info("a", kind.UINT8, [1, 64])], [make.make_tensor_value_info("y", kind.INT32, [1, 16])]
    graph = make.make_graph([make.make_node("MatMulInteger", ["a", "b"], ["y"])], "sums", *ends, initializer=[weight])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", OPSET)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"a": numpy.full((1, 64), 255, "uint8")})
    return bool((sums != 64 * 255 * 127).any())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep exporters' progress and warnings off the terminal; errors are raised as ever."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
