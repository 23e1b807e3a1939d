"""An ONNX graph on its way to int8: embedding tables, linear layers and recurrent cells, rewritten node by node.

Letters   K inputs and N outputs of a linear layer, V entries of an embedding table, H its width
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy

from penjing.core.errors import need
from penjing.methods.quantize._cells import CELLS
from penjing.methods.quantize._graph import SMALL, tables

BLOCK = 32  # neighbouring numbers of a row of 4 bits that share a scale: 5 bits each, all counted
TINY = 1e-20  # least scale: a row of zeros stays one


class Rewrite:
    """Nodes and tables so far.

    product   how a linear layer is multiplied, `by_tokens` or `by_groups`
    top       largest weight of a linear layer, 127 or 63
    embedding_bits   8, or 4
    """

    def __init__(self, plain: Any, product: "Product", top: int, embedding_bits: int = 8):
        self.onnx = need("onnx", "onnx")
        self.plain, self.product, self.top, self.embedding_bits = plain, product, top, embedding_bits
        self.tables = {node.output[0]: table for node, table in tables(plain) if fits(node, table)}
        self.cells = {t.name: t for node, t in tables(plain) if node.op_type in CELLS and numpy.prod(t.dims) >= SMALL}
        self.heads = self._heads() if product is by_tokens else {}
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.shared: dict[str, str] = {}  # activation or weight -> name of what was computed of it once

    def table(self, node: Any) -> Any | None:
        """The weights of a node that can be stored in int8, as an array; None for any other node."""
        found = self.tables.get(node.output[0])
        return None if found is None else self.onnx.numpy_helper.to_array(found)

    def embedding(self, node: Any, table: Any) -> None:
        """table (V, H): look up the int8 row and its scale, and multiply."""
        name, ids, out = node.input[0], node.input[1], node.output[0]
        is_head = name in self.heads.values()
        if self.embedding_bits == 4 and table.shape[1] % BLOCK == 0 and not is_head:
            self._embedding_in_blocks(node, table)
            return
        whole, scale = quantized(table, 1, self.top if is_head else 127)
        self.add("Gather", [self.constant(f"{name}/int8", whole), ids], f"{out}/int8")
        self.add("Cast", [f"{out}/int8"], f"{out}/whole", to=self.onnx.TensorProto.FLOAT)
        self.add("Gather", [self.constant(f"{name}/scale", scale), ids], f"{out}/scale")
        self.add("Mul", [f"{out}/whole", f"{out}/scale"], out)

    def _embedding_in_blocks(self, node: Any, table: Any) -> None:
        """Two numbers of 4 bits a byte, one of each half of a row, with 8 added, and a scale for each block of the row.

        They are parted in fp32, as engines do not agree on shifts. onnxruntime has one operation for all of it, GatherBlockQuantized, which
        took 2.5 times as long for a text of 24 tokens.
        """
        name, ids, out = node.input[0], node.input[1], node.output[0]
        whole, scale = quantized(table.reshape(-1, BLOCK), 1, 7)
        low, high = numpy.split((whole.reshape(table.shape) + 8).astype("uint8"), 2, axis=1)
        self.add("Gather", [self.constant(f"{name}/int4", low | high << 4), ids], f"{out}/pairs")
        self.add("Cast", [f"{out}/pairs"], f"{out}/both", to=self.onnx.TensorProto.FLOAT)
        self.add("Mul", [f"{out}/both", self.constant("1/16", numpy.float32(1 / 16))], f"{out}/shifted")
        self.add("Floor", [f"{out}/shifted"], f"{out}/high")
        self.add("Mul", [f"{out}/high", self.constant("16", numpy.float32(16))], f"{out}/lifted")
        self.add("Sub", [f"{out}/both", f"{out}/lifted"], f"{out}/low")
        self.add("Concat", [f"{out}/low", f"{out}/high"], f"{out}/uint4", axis=-1)
        self.add("Sub", [f"{out}/uint4", self.constant("8", numpy.float32(8))], f"{out}/whole")
        self.add("Gather", [self.constant(f"{name}/scale", scale.reshape(len(table), -1)), ids], f"{out}/scale")
        self.add("Reshape", [f"{out}/whole", self.constant("blocks", numpy.array([-1, BLOCK]))], f"{out}/blocks")
        self.add("Reshape", [f"{out}/scale", self.constant("each", numpy.array([-1, 1]))], f"{out}/each")
        self.add("Mul", [f"{out}/blocks", f"{out}/each"], f"{out}/scaled")
        self.add("Shape", [f"{out}/whole"], f"{out}/shape")
        self.add("Reshape", [f"{out}/scaled", f"{out}/shape"], out)

    def linear(self, node: Any, table: Any) -> None:
        """table (K, N), or (N, K) where the node says that it is transposed."""
        x, _, *bias = node.input
        out = node.output[0]
        product = f"{out}/scaled" if bias else out
        self.product(self, x, *self._weight(node, table), product)
        if bias:
            self.add("Add", [product, bias[0]], out)

    def _weight(self, node: Any, table: Any) -> tuple[str, str]:
        """Names of int8 weights (K, N) and their scales (N,); of a head that is the embeddings turned around, these are stored once."""
        name = node.input[1]
        if name in self.heads:
            embeddings = self.heads[name]
            self.add("Transpose", [f"{embeddings}/int8"], f"{name}/int8", perm=[1, 0])  # which engines do once, when they open it
            self.add("Reshape", [f"{embeddings}/scale", self.constant("all", numpy.array([-1]))], f"{name}/scale")
            return f"{name}/int8", f"{name}/scale"
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        whole, scale = quantized(table.T if transposed else table, 0, self.top)
        key = f"{name}/{'t' if transposed else 'n'}"
        return self.constant(f"{key}/int8", whole), self.constant(f"{key}/scale", scale[0])

    def _heads(self) -> dict[str, str]:
        """Tables (K, N) of linear layers -> those (N, K) of embeddings that hold the same numbers, which are looked up before."""
        found, looked_up = dict[str, str](), dict[str, Any]()
        for node, table in tables(self.plain):
            array = self.table(node)
            if array is not None and node.op_type == "Gather":
                looked_up[table.name] = array
            elif array is not None and node.op_type == "MatMul":
                for name, rows in looked_up.items():
                    if numpy.array_equal(rows.T, array):
                        found[table.name] = name
        return found

    def cell(self, node: Any) -> None:
        """Tables (D, R, I), D directions: each of the R rows, a gate of a unit, gets its scale; the engine makes fp32 of them again."""
        changed = self.onnx.NodeProto()
        changed.CopyFrom(node)
        for place, name in enumerate(node.input):
            if name in self.cells:
                whole, scale = quantized(self.onnx.numpy_helper.to_array(self.cells[name]), 2, 127)
                stored = self.constant(f"{name}/int8", whole), self.constant(f"{name}/scale", scale)
                self.add("Cast", [stored[0]], f"{name}/whole", to=self.onnx.TensorProto.FLOAT)
                self.add("Mul", [f"{name}/whole", stored[1]], f"{name}/fp32")
                changed.input[place] = f"{name}/fp32"
        self.nodes.append(changed)

    def add(self, operation: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> None:
        self.nodes.append(self.onnx.helper.make_node(operation, inputs, [output], domain=domain, **attributes))

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


Product = Callable[[Rewrite, str, str, str, str], None]
"""Adds the nodes that multiply an activation x (..., K) by int8 weights (K, N) with scales (N,): names of the three and of the result."""


def by_tokens(graph: Rewrite, x: str, weight: str, scale: str, product: str) -> None:
    """Quantize every token here: x (..., K) becomes round(127 x / m) + 128 with m (..., 1) the largest |x| of its token.

    That is done once for all layers that read x. The product is exact in int32, and is scaled by m / 127 and by the scale of each column;
    that of a token of zeros, whose share of itself is no number, by 0.

    Source: ZeroQuant (Yao et al. 2022), section 4.1; symmetric.
    """
    step, middle = graph.constant("step", numpy.float32(1 / 127)), graph.constant("middle", numpy.uint8(128))
    if x not in graph.shared:
        graph.add("Abs", [x], f"{x}/abs")
        graph.add("ReduceMax", [f"{x}/abs", graph.constant("last", numpy.array([-1], "int64"))], f"{x}/scale", keepdims=1)
        graph.add("Div", [x, f"{x}/scale"], f"{x}/share")
        graph.add("QuantizeLinear", [f"{x}/share", step, middle], f"{x}/uint8")
        graph.shared[x] = f"{x}/scale"
    graph.add("MatMulIntegerToFloat", [f"{x}/uint8", weight, step, scale, middle], f"{product}/whole", domain="com.microsoft")
    graph.add("Mul", [f"{product}/whole", graph.shared[x]], product)


def by_groups(graph: Rewrite, x: str, weight: str, scale: str, product: str) -> None:
    """Leave the activations to an engine that quantizes groups of neighbouring inputs itself where it finds int8 weights."""
    if weight not in graph.shared:
        graph.add("DequantizeLinear", [weight, scale], f"{weight}/fp32", axis=1)
        graph.shared[weight] = f"{weight}/fp32"
    graph.add("MatMul", [x, graph.shared[weight]], product)


def fits(node: Any, table: Any) -> bool:
    """Whether `Rewrite` knows this use of a table: a linear layer or a look-up of rows, and not a small one."""
    odd = {
        "MatMul": (),
        "Gemm": [a for a in node.attribute if (a.name == "transA" and a.i) or (a.name in ("alpha", "beta") and a.f != 1)],
        "Gather": [a for a in node.attribute if a.name == "axis" and a.i],
    }
    return node.op_type in odd and not odd[node.op_type] and len(table.dims) == 2 and numpy.prod(table.dims) >= SMALL


def quantized(table: Any, axis: int, top: int) -> tuple[Any, Any]:
    """A matrix as int8 in [-top, top] and its fp32 scales, one for each slice along `axis`, which keeps length 1."""
    scale = numpy.maximum(numpy.abs(table).max(axis, keepdims=True) / top, TINY).astype("float32")
    return numpy.rint(table / scale).astype("int8"), scale
