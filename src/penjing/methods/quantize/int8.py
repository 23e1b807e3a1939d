"""Weights and activations of 8 bits, run by onnxruntime.

dynamic   Models made of linear layers: each token's activations get their own scale while the model runs (ZeroQuant, Yao et al. 2022,
          section 4.1), each output column and each row of an embedding table its own when it is written. A row's answer therefore does not
          depend on its neighbours in the batch, as it would with onnxruntime's own dynamic quantization, which takes one scale a batch.
static    Models made of convolutions: scales of activations are fixed from the calibration rows' smallest and largest values, batch norm
          is folded into the weights (Jacob et al. 2018); one scale for each output channel.

Activations are unsigned and weights signed: the pair that onnxruntime has fast kernels for. Signed activations made residual networks
1.4 to 5.7 times slower. Medians with AVX512-VNNI, one thread, one row, variants interleaved on a busy machine, 2026-11-22:

    MiniLM classifier, 24 tokens        torch fp32 24.1 ms   onnxruntime fp32 9.6    its dynamic int8 4.4    this 4.8
      flips of 872 sst2 answers, against torch                             0                          18          3
      the same between batches of 1 and of 32                              0                          16          0
    residual network, widths 32 64 128  torch fp32 2.3 ms    onnxruntime fp32 0.45   (2783 kB)               this 0.36   (709 kB)
    the same, widths 8 12 16            torch fp32 0.87 ms   onnxruntime fp32 0.11   (69 kB)                 this 0.17   (23 kB)

So in networks of a dozen channels int8 saves bytes only: the gain in speed over torch there is the engine's.

Letters   K inputs and N outputs of a linear layer, V entries of an embedding table, H its width
"""

import contextlib
import copy
import io
import itertools
import logging
import string
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.export import Dim
from transformers import PreTrainedModel

from penjing.core.contracts import Batch
from penjing.core.errors import DataError, ModelError, need

FILE = "model.onnx"
OPSET = 20
MOST_BYTES = 2 * 10**9  # of a protobuf file; larger ones need their weights beside it
SMALL = 2**13  # numbers in a table: below it int8 saves less than the nodes around it cost, and the last layer keeps its precision
TINY = 1e-20  # least scale: a row of zeros stays one
WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Gather")  # operations whose second (Gather: first) input is a trained table
STATIC = ("Conv", "MatMul", "Gemm", "Add", "Mul", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu")


@dataclass(frozen=True)
class Options:
    """Nothing to choose: which scheme serves a model follows from its layers."""


def apply(model: torch.nn.Module, batches: Iterable[Batch], settings: Options, out: Path) -> dict[str, Any]:
    """Write `out`/model.onnx: inputs named as in `batches`, output `logits`; batch and sequence axes open.

    The model is left as it was. Facts: engine, file, bits, scheme, opset, how many operations of each type were stored in int8 and how
    many not, with the reason; int8_share of all weights; reduce_range, True where this processor needs 7-bit weights.

    Raises DataError without a batch, ModelError for a model of 2 GB or without a layer to quantize, MissingExtra without onnx.
    """
    onnx = need("onnx", "onnx")
    need("onnxscript", "onnx")
    need("onnxruntime", "onnx")
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise DataError("there is no row to calibrate on", wanted="at least one batch", fix="use data with more train rows")
    size = sum(p.numel() * 4 for p in model.parameters())
    if size >= MOST_BYTES:
        raise ModelError(f"the model takes {size:,} bytes in fp32", wanted=f"less than {MOST_BYTES:,}, the most one ONNX file holds")

    reduce_range = _overflows()
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder, _quiet():
        plain = _folded(_export(model, first.inputs), Path(folder))
        scheme = _scheme(plain)
        small = _per_token(plain, top=63 if reduce_range else 127, linears=scheme == "dynamic")
        if scheme == "static":
            small = _calibrated(small, itertools.chain([first], batches), reduce_range, Path(folder))
    facts = _facts(plain, small)
    if not facts["quantized"]:
        raise ModelError(
            f"{type(model).__name__} has no layer that int8 would make smaller",
            wanted=f"a convolution, or a linear layer or embedding of {SMALL:,} weights or more",
            fix="leave it in fp32",
        )
    onnx.save(_compact(small), out / FILE)
    head = {"engine": "onnxruntime", "precision": "int8", "file": FILE, "bits": 8, "scheme": scheme, "opset": OPSET}
    return head | facts | {"reduce_range": reduce_range, "rows_interact": False}


class _Logits(torch.nn.Module):
    """The model as the exporter traces it: from tensors, in the order of `names`, to the logits."""

    def __init__(self, model: torch.nn.Module, names: list[str]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, tensors))).logits


def _export(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Any:
    """The model in fp32 as an onnx.ModelProto, traced on a copy."""
    twin = copy.deepcopy(model).cpu().float().eval()
    if isinstance(twin, PreTrainedModel):
        twin.set_attn_implementation("eager")  # sdpa adds guards for fully masked rows: 72 more nodes in MiniLM, 3 to 8 % slower
    names = list(inputs)
    axes = tuple({0: Dim("batch")} | ({1: Dim("sequence")} if inputs[name].ndim == 2 else {}) for name in names)
    program: Any = torch.onnx.export(
        _Logits(twin, names).eval(),
        tuple(_example(inputs[name]) for name in names),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=(axes,),
        input_names=names,
        output_names=["logits"],
        external_data=False,
        verbose=False,
    )
    return program.model_proto


def _example(value: torch.Tensor) -> torch.Tensor:
    """Two rows, and two tokens or more: an axis of length 1 would be traced as fixed."""
    row = value[:1].cpu()
    if row.ndim == 2 and row.shape[1] == 1:
        row = row.repeat(1, 2)
    return row.repeat(2, *[1] * (row.ndim - 1))


def _folded(plain: Any, folder: Path) -> Any:
    """The same graph with constants computed and batch norms folded into the convolutions before them."""
    onnx, onnxruntime = need("onnx", "onnx"), need("onnxruntime", "onnx")
    options = _session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # the level that is the same on all machines
    options.optimized_model_filepath = str(folder / "folded.onnx")
    onnxruntime.InferenceSession(plain.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "folded.onnx")


def _session_options() -> Any:
    options = need("onnxruntime", "onnx").SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return options


def _scheme(plain: Any) -> str:
    """Static where convolutions hold most of the weights that are multiplied."""
    weights: Counter[str] = Counter()
    for node, table in _tables(plain):
        weights[node.op_type] += int(numpy.prod(table.dims))
    return "static" if weights["Conv"] + weights["ConvTranspose"] > weights["MatMul"] + weights["Gemm"] else "dynamic"


def _tables(graph_model: Any) -> Iterator[tuple[Any, Any]]:
    """Every node that multiplies by, or looks up in, a trained fp32 table, with that table."""
    onnx = need("onnx", "onnx")
    trained = {t.name: t for t in graph_model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) >= 2}
    for node in graph_model.graph.node:
        if node.op_type in WEIGHTED:
            name = node.input[0 if node.op_type == "Gather" else 1]
            if name in trained:
                yield node, trained[name]


def _per_token(plain: Any, top: int, linears: bool) -> Any:
    """The graph with embedding tables in int8, and linear layers too if `linears`.

    top       largest weight, 127 or 63
    """
    rewrite = _Rewrite(plain, top)
    for node in plain.graph.node:
        table = rewrite.table(node)
        if table is None:
            rewrite.nodes.append(node)
        elif node.op_type == "Gather":
            rewrite.embedding(node, table)
        elif linears:
            rewrite.linear(node, table)
        else:
            rewrite.nodes.append(node)
    return rewrite.done()


class _Rewrite:
    """A graph on its way to int8: nodes and tables so far.

    An activation x (..., K) becomes round(127 x / m) + 128 with m (..., 1) the largest |x| of its token, once for all layers that read it;
    the product is exact in int32, and is scaled by m / 127 and by the scale of each column. Source: ZeroQuant, section 4.1; symmetric.
    """

    def __init__(self, plain: Any, top: int):
        self.onnx = need("onnx", "onnx")
        self.plain, self.top = plain, top
        self.tables = {node.output[0]: table for node, table in _tables(plain) if _fits(node, table)}
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.scales: dict[str, str] = {}  # activation -> name of its m

    def table(self, node: Any) -> Any | None:
        """The weights of a node that can be stored in int8, as an array; None for any other node."""
        found = self.tables.get(node.output[0])
        return None if found is None else self.onnx.numpy_helper.to_array(found)

    def embedding(self, node: Any, table: Any) -> None:
        """table (V, H): look up the int8 row and its scale, and multiply."""
        whole, scale = _quantized(table, 1, 127)
        name, ids, out = node.input[0], node.input[1], node.output[0]
        self.add("Gather", [self.constant(f"{name}/int8", whole), ids], f"{out}/int8")
        self.add("Cast", [f"{out}/int8"], f"{out}/whole", to=self.onnx.TensorProto.FLOAT)
        self.add("Gather", [self.constant(f"{name}/scale", scale), ids], f"{out}/scale")
        self.add("Mul", [f"{out}/whole", f"{out}/scale"], out)

    def linear(self, node: Any, table: Any) -> None:
        """table (K, N), or (N, K) where the node says that it is transposed."""
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        whole, scale = _quantized(table.T if transposed else table, 0, self.top)
        x, weight, *bias = node.input
        out = node.output[0]
        largest, step, middle = self.activation(x), self.constant("step", numpy.float32(1 / 127)), self.constant("middle", numpy.uint8(128))
        key = f"{weight}/{'t' if transposed else 'n'}"
        tables = [self.constant(f"{key}/int8", whole), step, self.constant(f"{key}/scale", scale[0]), middle]
        self.add("MatMulIntegerToFloat", [f"{x}/uint8", *tables], f"{out}/product", domain="com.microsoft")
        self.add("Mul", [f"{out}/product", largest], f"{out}/scaled" if bias else out)
        if bias:
            self.add("Add", [f"{out}/scaled", bias[0]], out)

    def activation(self, x: str) -> str:
        """Quantize x (..., K) unless that was done; the name of m (..., 1)."""
        if x not in self.scales:
            step, middle = self.constant("step", numpy.float32(1 / 127)), self.constant("middle", numpy.uint8(128))
            self.add("Abs", [x], f"{x}/abs")
            self.add("ReduceMax", [f"{x}/abs", self.constant("last", numpy.array([-1], "int64"))], f"{x}/max", keepdims=1)
            self.add("Max", [f"{x}/max", self.constant("tiny", numpy.float32(TINY))], f"{x}/scale")
            self.add("Div", [x, f"{x}/scale"], f"{x}/share")
            self.add("QuantizeLinear", [f"{x}/share", step, middle], f"{x}/uint8")
            self.scales[x] = f"{x}/scale"
        return self.scales[x]

    def add(self, operation: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(self.onnx.helper.make_node(operation, inputs, [output], **attributes))

    def constant(self, name: str, value: Any) -> str:
        if name not in self.constants:
            self.constants[name] = self.onnx.numpy_helper.from_array(numpy.asarray(value), name)
        return name

    def done(self) -> Any:
        """A new model of these nodes, without the tables that nobody reads any more."""
        small = self.onnx.ModelProto()
        small.CopyFrom(self.plain)
        used = {name for node in self.nodes for name in node.input}
        kept = [t for t in itertools.chain(small.graph.initializer, self.constants.values()) if t.name in used]
        for field in (small.graph.node, small.graph.initializer, small.graph.value_info):
            del field[:]
        small.graph.node.extend(self.nodes)
        small.graph.initializer.extend(kept)
        if not any(entry.domain == "com.microsoft" for entry in small.opset_import):
            small.opset_import.append(self.onnx.helper.make_opsetid("com.microsoft", 1))
        return small


def _fits(node: Any, table: Any) -> bool:
    """Whether `_Rewrite` knows this use of a table: a linear layer or a look-up of rows, and not a small one."""
    odd = {
        "MatMul": (),
        "Gemm": [a for a in node.attribute if (a.name == "transA" and a.i) or (a.name in ("alpha", "beta") and a.f != 1)],
        "Gather": [a for a in node.attribute if a.name == "axis" and a.i],
    }
    return node.op_type in odd and not odd[node.op_type] and len(table.dims) == 2 and numpy.prod(table.dims) >= SMALL


def _quantized(table: Any, axis: int, top: int) -> tuple[Any, Any]:
    """A matrix as int8 in [-top, top] and its fp32 scales, one for each slice along `axis`, which keeps length 1."""
    scale = numpy.maximum(numpy.abs(table).max(axis, keepdims=True) / top, TINY).astype("float32")
    return numpy.rint(table / scale).astype("int8"), scale


def _calibrated(plain: Any, batches: Iterable[Batch], reduce_range: bool, folder: Path) -> Any:
    """The graph with convolutions and what lies between them in int8, by onnxruntime.quantization.

    Least and greatest value over the rows; the entropy and percentile rules gave the same logits (cosine 0.9999 on three residual
    networks) at more cost. Operators rather than quantize-dequantize pairs: the same speed, a quarter fewer bytes in a small network.
    """
    onnx, quantization = need("onnx", "onnx"), need("onnxruntime.quantization", "onnx")
    quantization.quantize_static(
        plain,
        folder / FILE,
        _Feeds(batches),
        quant_format=quantization.QuantFormat.QOperator,
        op_types_to_quantize=list(STATIC),
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return onnx.load(folder / FILE)


class _Feeds:
    """Batches as onnxruntime's calibration asks for them."""

    def __init__(self, batches: Iterable[Batch]):
        self.feeds = ({name: value.cpu().numpy() for name, value in batch.inputs.items()} for batch in batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch; None after the last."""
        return next(self.feeds, None)


def _facts(plain: Any, small: Any) -> dict[str, Any]:
    """Which tables became int8: operations by type, and the share of all weights that they hold."""
    left = {tensor.name for tensor in small.graph.initializer}
    sizes = {table.name: int(numpy.prod(table.dims)) for _, table in _tables(plain)}
    users = [(node.op_type, table.name) for node, table in _tables(plain)]
    why = {name: "small" if size < SMALL else "no int8 kernel in this scheme" for name, size in sizes.items()}
    reasons = Counter((kind, why[name]) for kind, name in users if name in left)
    return {
        "quantized": dict(sorted(Counter(kind for kind, name in users if name not in left).items())),
        "left_fp32": [{"type": kind, "count": count, "why": reason} for (kind, reason), count in sorted(reasons.items())],
        "int8_share": sum(size for name, size in sizes.items() if name not in left) / max(1, sum(sizes.values())),
    }


def _compact(small: Any) -> Any:
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


def _overflows() -> bool:
    """Whether this processor cuts sums of two 8-bit products at 16 bits, as x86 does without VNNI; then weights get 7 bits."""
    onnx, onnxruntime = need("onnx", "onnx"), need("onnxruntime", "onnx")
    make, kind = onnx.helper, onnx.TensorProto
    weight = onnx.numpy_helper.from_array(numpy.full((64, 16), 127, "int8"), "b")
    ends = [make.make_tensor_value_info("a", kind.UINT8, [1, 64])], [make.make_tensor_value_info("y", kind.INT32, [1, 16])]
    graph = make.make_graph([make.make_node("MatMulInteger", ["a", "b"], ["y"])], "sums", *ends, initializer=[weight])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", OPSET)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), _session_options(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"a": numpy.full((1, 64), 255, "uint8")})
    return bool((sums != 64 * 255 * 127).any())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep exporters' progress and warnings off the terminal; errors are raised as ever."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
