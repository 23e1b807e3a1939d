"""What a Transformer costs, in closed form: parameters, floating point operations, bytes of memory, bytes sent, idle time of a pipeline.

Letters    L blocks, H hidden, A heads, K heads of keys and values, D size of a head, F feed-forward, V vocabulary, S tokens of a row
Bytes      of one rank; `tokens` are those of one part of a batch (a micro-batch)
Sources    Kaplan et al. 2020, "Scaling laws", table 1 (operations); Chowdhery et al. 2022, "PaLM", appendix B (with attention);
           Korthikanti et al. 2022, "Reducing activation recomputation", sections 4 and 5 (activations); Rajbhandari et al. 2020, "ZeRO",
           sections 3, 5, 7 (states, volumes); Narayanan et al. 2021, "Efficient large-scale training ... Megatron-LM", section 3 (layouts)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

Checkpointing = Literal["none", "selective", "operations", "full"]
"""What is computed again in the backward pass: nothing, the scores of attention, all but attention and every second product of matrices
(torchtitan's selective checkpointing by operation), or each block whole."""


@dataclass(frozen=True)
class Shape:
    """A Transformer that reads tokens, as the numbers that decide what it costs; 0 is for what it does not have.

    head_size        of queries and keys; of values too where value_size is 0
    feed_forward     width of dense ones
    biases           which linears have one: of "query", "output", "feed-forward", "norm", "router", "head"
    norms            over H, in a block
    head_norms       whether queries and keys pass a norm: over D, or over all heads
    outer_norms      over H, outside of blocks
    head             tells each token by the vocabulary; a classifier and a body do not. transform: a linear and a norm stand before it
    other            parameters of what is none of this: a pooler, a head of labels
    experts          of a block, of which active_experts are met by a token; expert_size is their feed_forward
    shared_size      feed_forward of what all tokens meet beside them; gate_of_shared: whether one number for each token scales it
    dense_blocks     the first blocks, which have no experts
    query_rank, latent, rotary   of multi-head latent attention (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1)
    window           tokens back that windowed_blocks look; the other blocks look at all
    causal           reads in one direction and keeps keys and values
    """

    layers: int
    hidden: int
    heads: int
    feed_forward: int
    vocabulary: int
    kv_heads: int = 0
    head_size: int = 0
    value_size: int = 0
    gated: bool = False
    tied: bool = True
    positions: int = 0
    segments: int = 0
    biases: frozenset[str] = frozenset()
    norms: int = 2
    head_norms: Literal["", "head", "whole"] = ""
    outer_norms: int = 1
    head: bool = True
    transform: bool = False
    other: int = 0
    experts: int = 0
    active_experts: int = 0
    expert_size: int = 0
    shared_size: int = 0
    gate_of_shared: bool = False
    dense_blocks: int = 0
    query_rank: int = 0
    latent: int = 0
    rotary: int = 0
    window: int = 0
    windowed_blocks: int = 0
    causal: bool = True
    dropout: bool = False

    @property
    def k(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def d(self) -> int:
        """Size of a head of queries and keys."""
        return self.head_size or self.hidden // self.heads

    @property
    def dv(self) -> int:
        """Size of a head of values."""
        return self.value_size or self.d

    @property
    def expert_blocks(self) -> int:
        """Blocks whose feed-forward part is experts."""
        return self.layers - self.dense_blocks if self.experts else 0


class Weight(NamedTuple):
    """A tensor of weights that occurs `copies` times in a block, or outside of blocks.

    part    "embedding", "attention", "feed-forward", "expert", "router", "norm", "transform", "head" or "other"
    split   the dimension that tensor parallelism shares out; None where every rank has it whole
    """

    part: str
    dims: tuple[int, ...]
    split: int | None = None
    copies: int = 1

    @property
    def numbers(self) -> int:
        """Of all copies."""
        return math.prod(self.dims) * self.copies


def _linear(part: str, rows: int, columns: int, split: int | None, bias: bool, copies: int = 1) -> Iterator[Weight]:
    yield Weight(part, (rows, columns), split, copies)
    if bias:
        yield Weight(part, (rows,), split if split == 0 else None, copies)


def _norms(shape: Shape, copies: int, size: int) -> Iterator[Weight]:
    if copies:
        yield Weight("norm", (size,), None, copies * (2 if "norm" in shape.biases else 1))


def _feed_forward(shape: Shape, part: str, width: int, copies: int = 1) -> Iterator[Weight]:
    bias = "feed-forward" in shape.biases
    yield from _linear(part, width, shape.hidden, 0, bias, copies * (2 if shape.gated else 1))
    yield from _linear(part, shape.hidden, width, 1, bias, copies)


def _attention(shape: Shape) -> Iterator[Weight]:
    s, bias = shape, "query" in shape.biases
    if s.latent:
        if s.query_rank:
            yield Weight("attention", (s.query_rank, s.hidden))
            yield from _norms(s, 1, s.query_rank)
        yield Weight("attention", (s.heads * s.d, s.query_rank or s.hidden), 0)
        yield Weight("attention", (s.latent + s.rotary, s.hidden))
        yield from _norms(s, 1, s.latent)
        yield Weight("attention", (s.heads * (s.d - s.rotary + s.dv), s.latent), 0)
    else:
        yield from _linear("attention", s.heads * s.d, s.hidden, 0, bias)
        yield from _linear("attention", s.k * s.d, s.hidden, 0, bias)
        yield from _linear("attention", s.k * s.dv, s.hidden, 0, bias)
    if s.head_norms:
        yield from _norms(s, 1, s.d * (s.heads if s.head_norms == "whole" else 1))
        yield from _norms(s, 1, s.d * (s.k if s.head_norms == "whole" else 1))
    yield from _linear("attention", s.hidden, s.heads * s.dv, 1, "output" in s.biases)


@cache
def block_weights(shape: Shape, dense: bool = True) -> tuple[Weight, ...]:
    """The tensors of one block; of one with experts where `dense` is false."""
    found = [*_attention(shape), *_norms(shape, shape.norms, shape.hidden)]
    if dense:
        return (*found, *_feed_forward(shape, "feed-forward", shape.feed_forward))
    found += _linear("router", shape.experts, shape.hidden, None, "router" in shape.biases)
    found += _feed_forward(shape, "expert", shape.expert_size, shape.experts)
    if shape.shared_size:
        found += _feed_forward(shape, "feed-forward", shape.shared_size)
    return (*found, *([Weight("router", (1, shape.hidden))] if shape.gate_of_shared else []))


@cache
def outer_weights(shape: Shape) -> tuple[Weight, ...]:
    """The tensors outside of blocks: tables of embeddings, norms, the head where it is a tensor of its own."""
    found = [Weight("embedding", (shape.vocabulary, shape.hidden), 0)]
    found += [Weight("embedding", (rows, shape.hidden)) for rows in (shape.positions, shape.segments) if rows]
    found += _norms(shape, shape.outer_norms, shape.hidden)
    if shape.head:
        found += [] if shape.tied else [Weight("head", (shape.vocabulary, shape.hidden), 0)]
        found += [Weight("head", (shape.vocabulary,), 0)] if "head" in shape.biases else []
        found += [*_linear("transform", shape.hidden, shape.hidden, None, True), *_norms(shape, 1, shape.hidden)] if shape.transform else []
    return (*found, *([Weight("other", (shape.other,))] if shape.other else []))


class Parameters(NamedTuple):
    """Numbers of weights.

    total       of the whole model, what is tied counted once
    embedding   of those, tables that are looked up: tokens, positions, segments
    active      of those, what one token meets: all but the experts that it is not sent to
    """

    total: int
    embedding: int
    active: int


def parameters(shape: Shape) -> Parameters:
    """How many weights there are."""
    dense, sparse = shape.layers - shape.expert_blocks, shape.expert_blocks
    outer = outer_weights(shape)
    total = sum(w.numbers for w in outer) + dense * sum(w.numbers for w in block_weights(shape))
    idle = 0
    if sparse:
        block = block_weights(shape, dense=False)
        total += sparse * sum(w.numbers for w in block)
        experts = sum(w.numbers for w in block if w.part == "expert")
        idle = sparse * experts * (shape.experts - shape.active_experts) // shape.experts
    return Parameters(total, sum(w.numbers for w in outer if w.part == "embedding"), total - idle)


class Flops(NamedTuple):
    """Floating point operations, a product and a sum being two.

    matrices    of the weights that a token meets, the head too
    attention   of scores and of what is read by them
    """

    matrices: float
    attention: float

    @property
    def total(self) -> float:
        """Of both."""
        return self.matrices + self.attention


def forward_flops(shape: Shape, length: int) -> Flops:
    """Operations of the forward pass for one token of a row of `length`.

    All S x S scores are counted though a causal kernel skips half of them, as PaLM (appendix B), Megatron-LM and torch's counter do;
    windowed blocks look at no more than their window.
    """
    dense, sparse = shape.layers - shape.expert_blocks, shape.expert_blocks
    matrices: float = dense * sum(w.numbers for w in block_weights(shape) if len(w.dims) == 2)
    if sparse:
        share = shape.active_experts / shape.experts
        block = [w for w in block_weights(shape, dense=False) if len(w.dims) == 2]
        matrices += sparse * sum(w.numbers * (share if w.part == "expert" else 1) for w in block)
    return Flops(told_flops(shape) + 2.0 * matrices, 2.0 * shape.heads * (shape.d + shape.dv) * _looked_at(shape, length))


def told_flops(shape: Shape) -> float:
    """Operations of the head for one token."""
    return 2.0 * shape.head * shape.hidden * (shape.vocabulary + shape.hidden * shape.transform)


def _looked_at(shape: Shape, length: int) -> float:
    """Tokens that a token looks at, over all blocks."""
    short = min(length, shape.window) if shape.window else length
    return (shape.layers - shape.windowed_blocks) * length + shape.windowed_blocks * short


def training_flops(shape: Shape, length: int, checkpointing: Checkpointing = "none") -> float:
    """Operations of a training for one token: forward, twice as many backward, what is computed again (Korthikanti et al., appendix A)."""
    forward = forward_flops(shape, length)
    blocks = forward.total - told_flops(shape)
    again = {"none": 0.0, "selective": forward.attention, "operations": (blocks - forward.attention) / 2, "full": blocks}
    return 3 * forward.total + again[checkpointing]


class Precision(NamedTuple):
    """Bytes of each number of a training, as in ZeRO, section 3.1.

    weight, gradient   as the passes use and make them
    optimizer          moments, and copies of the weights in higher precision
    activation         what the forward pass keeps
    """

    weight: float
    gradient: float
    optimizer: float
    activation: float


PRECISIONS = {
    "mixed": Precision(2, 2, 12, 2),  # ZeRO: 16-bit weights and gradients, fp32 copy and two moments
    "mixed-fp32-gradients": Precision(2, 4, 12, 2),  # Megatron-LM with bf16
    "autocast": Precision(4, 4, 8, 2),  # torch's FSDP2 and amp: fp32 weights, rounded for each operation
    "bf16": Precision(2, 2, 4, 2),  # everything, moments too
    "fp32": Precision(4, 4, 8, 4),
}


def activation_bytes(
    shape: Shape,
    length: int,
    tokens: float,
    *,
    number: float = 2,
    fused: bool = True,
    checkpointing: Checkpointing = "none",
    tensor: int = 1,
    sequence: bool = False,
    dense: bool = True,
) -> float:
    """Bytes that one block keeps for the backward pass: 34 H + 5 A S for each token of GPT-3 (Korthikanti et al., equations 1 to 4).

    Here each of their terms is written with widths of its own, so that shared keys, gates and experts count as they are.

    length     S of a row, of the part that one rank has where rows are shared out
    number     bytes of one
    fused      whether attention keeps no scores (Dao et al. 2022), but one number for each head and token
    tensor     ranks that share out heads and feed-forward; `sequence`: what lies between these too
    """
    s, outside = shape, tensor if sequence else 1  # ranks that share out what lies between the parts
    width = s.feed_forward if dense else s.expert_size * s.active_experts + s.shared_size
    heads = s.heads * s.d + s.k * s.d + s.k * s.dv
    if checkpointing == "full":
        return tokens * number * s.hidden / outside
    if checkpointing == "operations":
        said = (heads + width * (2 if s.gated else 1)) / 2 + s.heads * s.dv
        return tokens * (number * (said / tensor + 2 * s.hidden / outside) + 4 * s.heads / tensor)
    between = (s.norms + 2) * s.hidden * number + 2 * s.hidden * s.dropout  # inputs of norms and of linears, masks behind them
    inside: float = number * (heads + s.heads * s.dv)
    if s.latent:
        inside = number * s.heads * (2 * s.d + 2 * s.dv)
        between += number * 2 * (s.query_rank + s.latent)  # in and out of their norms
    if fused:
        inside += 4 * s.heads
    elif checkpointing == "none":
        inside += s.heads * length * (number + s.dropout * (number + 1))
    inside += number * width * (4 if s.gated else 2)
    if not dense:
        between += number * s.hidden * s.active_experts + 4 * s.experts  # each expert's input, and what the router says
    return tokens * (inside / tensor + between / outside)


Loss = Literal["chunked", "eager", "parallel"]
"""How the loss over a vocabulary is computed: some tokens at a time or as one compiled kernel; by torch's operations one after the other;
by those of DTensor, on logits that tensor ranks share."""
_LOSS_COPIES = {"chunked": 1, "eager": 3, "parallel": 4}  # in fp32, that live at once beside the logits


def head_bytes(
    shape: Shape, tokens: float, *, number: float = 2, tensor: int = 1, sequence: bool = False, loss: Loss = "chunked"
) -> float:  # fmt: skip
    """Bytes that the head and its loss hold at most: the input of norm and head, logits, and copies in fp32.

    Of the loss's own operations the logarithms of the probabilities and two gradients live at once; of DTensor's also an exponential
    (torch 2.6, `nll_loss_backward`, and torch/distributed/tensor/parallel/loss.py). With `sequence` the head reads what it gathers.
    """
    logits = tokens * shape.vocabulary * (number + 4 * _LOSS_COPIES[loss]) / tensor
    return logits + number * tokens * shape.hidden * (1 + (1 / tensor if sequence else 1))


def cache_bytes(shape: Shape, length: int, rows: int = 1, number: float = 2) -> float:
    """Bytes of keys and values of `rows` of `length` tokens; of latent attention, of what they are made from (DeepSeek-V2, table 1)."""
    if not shape.causal:
        return 0.0
    each = shape.latent + shape.rotary if shape.latent else shape.k * (shape.d + shape.dv)
    return rows * number * each * _looked_at(shape, length)


def read_numbers(shape: Shape, rows: int) -> float:
    """Weights that are read to tell one token of each of `rows`: all but tables, and of experts those that some row is sent to.

    Each row is sent to k of n experts as if drawn: n (1 - (1 - k / n)^rows) of them are met.
    """
    found = parameters(shape)
    fixed = found.active - found.embedding + (shape.vocabulary * shape.hidden if shape.tied else 0)
    if not shape.expert_blocks:
        return fixed
    one = shape.expert_blocks * sum(w.numbers for w in block_weights(shape, dense=False) if w.part == "expert") / shape.experts
    met = shape.experts * (1 - (1 - shape.active_experts / shape.experts) ** rows)
    return fixed + one * (met - shape.active_experts)


def bubble(pipeline: int, parts: int, interleaved: int = 1) -> float:
    """Idle time of a pipeline as a share of its working time: (p - 1) / (v m) (Narayanan et al., section 2.2)."""
    return (pipeline - 1) / (interleaved * parts)


def all_reduce(size: float, ranks: int) -> float:
    """Bytes that a rank sends so that all have the sum of `size` bytes, around a ring."""
    return 2 * size * (ranks - 1) / ranks


def gather(size: float, ranks: int) -> float:
    """Bytes that a rank sends so that all have all of `size` bytes, of which each has a part; also to sum and share out."""
    return size * (ranks - 1) / ranks


def adapters(shape: Shape, rank: int) -> int:
    """Parameters that LoRA adds to all linears of blocks but experts: rank (rows + columns) each (Hu et al. 2022, section 4.1)."""
    kinds = [(shape.layers - shape.expert_blocks, block_weights(shape)), (shape.expert_blocks, block_weights(shape, dense=False))]
    linears = [(times, w) for times, block in kinds for w in block if len(w.dims) == 2 and w.part in ("attention", "feed-forward")]
    return sum(times * w.copies * rank * sum(w.dims) for times, w in linears)
