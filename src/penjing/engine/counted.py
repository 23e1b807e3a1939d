"""What a config makes, counted without weights: a model on the meta device is the judge of parameters, closed forms tell the rest.

`shape` reads a config as a `Shape`; one that adds up to other numbers than the model has is not used, and what depends on it is counted
by passes of the model on the meta device: operations by torch's counter, what is kept for the backward pass by torch's hooks.
"""

import json
import logging
import tomllib
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import torch
import transformers
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import PretrainedConfig, PreTrainedModel

from penjing.core import hub
from penjing.core.errors import ModelError, nearest
from penjing.core.model_dir import NEW
from penjing.core.runtime import Runtime
from penjing.engine import create
from penjing.engine.anatomy import anatomy
from penjing.engine.load import register_families
from penjing.engine.masks import CheapMasks
from penjing.engine.recomputing import recomputing
from penjing.maths import cost
from penjing.maths.cost import Parameters, Shape

TABLE = Path(__file__).parents[1] / "tables" / "models.toml"
_AUTOS = (  # in the order in which a config that has several is counted; what writes an answer to a text first, then heads, then bodies
    transformers.AutoModelForSeq2SeqLM,
    transformers.AutoModelForSpeechSeq2Seq,
    transformers.AutoModelForMaskedLM,
    transformers.AutoModelForCausalLM,
    transformers.AutoModelForImageTextToText,
    transformers.AutoModelForImageClassification,
    transformers.AutoModelForAudioClassification,
    transformers.AutoModelForSequenceClassification,
    transformers.AutoModelForTokenClassification,
    transformers.AutoModelForQuestionAnswering,
    transformers.AutoModel,
)
FEW = 2  # blocks of a stack that are passed
MANY = 32  # rows
_HEADS_SHARE = 0.05  # of all parameters that heads may add to what a shape adds up to


@dataclass(frozen=True)
class Counted:
    """What a model is made of.

    name        as its user named it; source: where a published size is from
    model       on the meta device
    parameters  total, embedding, active
    shape       None where no closed form adds up to the model; notes say so
    """

    name: str
    model: PreTrainedModel
    parameters: Parameters
    shape: Shape | None
    notes: tuple[str, ...] = ()
    source: str = ""


@cache
def table() -> dict[str, dict[str, Any]]:
    """Published models by name: hub, parameters, source, config."""
    found: dict[str, dict[str, Any]] = tomllib.loads(TABLE.read_text("utf-8"))
    return found


def config_of(name: str, runtime: Runtime) -> PretrainedConfig:
    """The config that a name stands for: a directory, a config.json, new:<size>, a name or a hub id of the table, hf:org/name.

    Raises ModelError for a name that is none of these, and for a config that transformers has no architecture for.
    """
    register_families()
    if name.startswith(NEW):
        size = name.removeprefix(NEW)
        if size not in create.sizes():
            raise ModelError(f"no size called {size!r}", wanted=nearest(size, create.sizes()), fix="penjing families lists them")
        return create.of_size(size)
    if name.startswith(hub.PREFIX):
        return _read(hub.config(name, runtime.quiet))
    if Path(name).exists():
        path = Path(name) / "config.json" if Path(name).is_dir() else Path(name)
        if not path.exists():
            raise ModelError(f"{name} has no config.json", wanted="a model directory, or a config.json", fix="name that")
        return _read(path)
    by_hub = {entry["hub"].lower(): entry for entry in table().values() if "hub" in entry}
    entry = table().get(name.lower()) or by_hub.get(name.lower())
    if entry is None:
        raise ModelError(
            f"no model called {name!r}, and no file of that name",
            wanted=nearest(name.lower(), [*table(), *by_hub]),
            fix=f"name a directory or a config.json; {hub.PREFIX}org/name reads the config of a model of the hub",
        )
    return transformers.AutoConfig.for_model(**entry["config"])


def _read(path: Path) -> PretrainedConfig:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is no config: {error}", wanted="one object of JSON", fix="name the config.json of a model") from None
    kind = found.get("model_type") if isinstance(found, dict) else None
    known = transformers.CONFIG_MAPPING.keys()
    if kind not in known:
        problem = f"{path}: " + (f"transformers has no architecture {kind!r}" if kind else "it does not say of which architecture it is")
        raise ModelError(problem, wanted=f'"model_type": {nearest(str(kind), known)}', fix="correct it, or plan a model of like size")
    try:
        return transformers.AutoConfig.for_model(**found)
    except Exception as error:  # huggingface_hub's classes of strict fields, ValueError, TypeError: whatever a config's own checks raise
        said = " ".join(str(error).split())
        raise ModelError(f"{path}: {said}", wanted=f"a config of {kind}", fix="correct the entry") from error


def counted(name: str, runtime: Runtime) -> Counted:
    """The model of a name, counted.

    Raises ModelError where there is no such model, or its config makes none.
    """
    return counted_config(config_of(name, runtime), name)


def counted_config(config: PretrainedConfig, name: str = "") -> Counted:
    """The model of a config, counted.

    Raises ModelError for a config of which no model can be made: heads that do not share out the hidden size, negative sizes.
    """
    return counted_model(outline(config), name)


def counted_model(model: PreTrainedModel, name: str = "") -> Counted:
    """A model that is there, with weights or without."""
    config = model.config
    total = sum(p.numel() for p in model.parameters())
    tables = {id(m.weight): m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding)}
    plain, found = Parameters(total, sum(tables.values()), total), shape(config, type(model).__name__)
    if found is None:
        return Counted(name, model, plain, None, (f"{config.model_type} has no closed form here: counted by a model without weights",))
    missing = total - cost.parameters(found).total
    if not 0 <= missing <= _HEADS_SHARE * total:
        told = f"the closed form of {config.model_type} lacks {missing:+,} parameters of this model: counted by a model without weights"
        return Counted(name, model, plain, None, (told,))
    found = replace(found, other=found.other + missing)
    return Counted(name, model, cost.parameters(found), found)


def outline(config: PretrainedConfig) -> PreTrainedModel:
    """A model of a config without its weights: nothing is allocated, and no code of a directory runs.

    Raises ModelError where none can be made of it.
    """
    try:
        with _silent(), torch.device("meta"):
            return _auto(config).from_config(config)  # type: ignore[no-any-return]
    except Exception as error:  # whatever a constructor raises for sizes that do not go together
        said = " ".join(str(error).split())
        raise ModelError(f"{config.model_type}: no model can be made of this config: {said}", wanted="sizes that go together") from error


def _auto(config: PretrainedConfig, kind: str = "") -> Any:
    """The class that builds it: the one that is named here or in the config, else the first there is."""
    named = kind or (config.architectures or [""])[0]
    fitting = [auto for auto in _AUTOS if type(config) in auto._model_mapping]
    if not fitting:
        raise ModelError(f"transformers builds no model of {config.model_type}", wanted="a config of a model")
    return next((auto for auto in fitting if named in map(_name, _several(auto._model_mapping[type(config)]))), fitting[0])


def _several(classes: Any) -> tuple[Any, ...]:
    """Of few configs an Auto class has several classes to choose from."""
    return classes if isinstance(classes, tuple) else (classes,)


def _name(kind: type | None) -> str:
    return kind.__name__ if kind else ""


@contextmanager
def _silent() -> Iterator[None]:
    """Without what transformers tells of generation configs."""
    log = logging.getLogger("transformers")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


class Pass(NamedTuple):
    """A forward pass of a model on the meta device.

    flops   operations, a product and a sum being two
    kept    bytes that it keeps for the backward pass, weights apart
    """

    flops: float
    kept: int


def forward(model: PreTrainedModel, rows: int = 1, length: int = 0) -> Pass:
    """Operations and kept bytes of a pass over `rows` of usual inputs, of `length` tokens where it reads tokens; nothing is computed."""
    return passed(model, inputs(model, rows, length))


def passed(model: PreTrainedModel, given: dict[str, Tensor]) -> Pass:
    """The same of a pass over these inputs, on the meta device.

    Of blocks that are alike two are passed, then one more, which costs what each of the others does.
    """
    stacks = [module for module in model.modules() if _alike(module)]
    with _cut(stacks, None):
        few = _pass(model, given)
    flops, kept = few
    for stack in stacks:
        with _cut(stacks, stack):
            more = _pass(model, given)
        others = len(stack) - FEW
        flops, kept = flops + others * (more.flops - few.flops), kept + others * (more.kept - few.kept)
    return Pass(flops, kept)


def _alike(module: nn.Module) -> TypeGuard[nn.ModuleList]:
    """Whether it is a stack of blocks of which all but the first, which may hold what others share, are of one kind and size."""
    if not isinstance(module, nn.ModuleList) or len(module) <= FEW + 1:
        return False
    return len({(type(block), *(p.shape for p in block.parameters())) for block in list(module)[1:]}) == 1


@contextmanager
def _cut(stacks: list[nn.ModuleList], longer: nn.ModuleList | None) -> Iterator[None]:
    """While stacks have FEW blocks each; `longer` one more."""
    whole = [dict(stack._modules) for stack in stacks]
    try:
        for stack in stacks:
            for name in list(stack._modules)[FEW + (stack is longer) :]:
                del stack._modules[name]
        yield
    finally:
        for stack, blocks in zip(stacks, whole):
            stack._modules.update(blocks)


def _pass(model: PreTrainedModel, given: dict[str, Tensor]) -> Pass:
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage()._cdata) not in weights:
            kept[place] = tensor  # held, so that no other takes its place
        return tensor

    counter = FlopCounterMode(display=False)
    with counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**given)
    return Pass(counter.get_total_flops(), sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))


class _Live(TorchDispatchMode):
    """What is there at a time, in bytes, and at most; `there` is not counted."""

    def __init__(self, there: Collection[Tensor]):
        super().__init__()
        self.now = self.most = 0
        self._seen = {tensor.untyped_storage()._cdata for tensor in there}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for storage in (value.untyped_storage() for value in tree_leaves(found) if isinstance(value, Tensor)):
            if storage._cdata not in self._seen:
                self._seen.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return found

    def _gone(self, place: int, size: int) -> None:
        self._seen.discard(place)
        self.now -= size


def most_held(model: PreTrainedModel, given: dict[str, Tensor], again: bool = False) -> int:
    """Bytes at the fullest moment of a forward and a backward pass on the meta device, with gradients of weights as they come.

    What a processor holds beside weights and moments, where what is freed goes back at once.

    again   whether blocks are computed again in the backward pass (engine/recomputing.py)
    """
    live = _Live([*model.parameters(), *model.buffers(), *given.values()])
    blocks = anatomy(model).blocks if again else ()
    with live:
        with recomputing(model, blocks, CheapMasks((0, 0, 0, 0))):
            first = next(value for value in model(**given).values() if isinstance(value, Tensor))
        first.sum().backward()
    model.zero_grad()
    return live.most


def held_a_row(model: PreTrainedModel, given: Callable[[int], dict[str, Tensor]], again: bool = False) -> float:
    """Bytes by which `most_held` grows with each row, where there are so many that they are what fills it.

    given   rows -> inputs
    """
    return (most_held(model, given(2 * MANY), again) - most_held(model, given(MANY), again)) / MANY


def inputs(model: PreTrainedModel, rows: int, length: int) -> dict[str, Tensor]:
    """Meta tensors as the model reads them."""
    config, name = model.config, model.main_input_name
    said = config.to_dict()
    if name == "input_ids":
        found = {name: torch.zeros(rows, length, dtype=torch.long, device="meta")}
    elif name == "input_features":
        found = {name: torch.zeros(rows, said["num_mel_bins"], 2 * said["max_source_positions"], device="meta")}
    elif name == "pixel_values":
        size = said.get("image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        found = {name: torch.zeros(rows, said.get("num_channels", said.get("channels", 3)), height, width, device="meta")}
    else:
        raise ModelError(f"{config.model_type} reads {name}, of which penjing makes none", wanted="a model of text, images or sound")
    if config.is_encoder_decoder:
        found["decoder_input_ids"] = torch.zeros(rows, length or 1, dtype=torch.long, device="meta")
    return found


def shape(config: PretrainedConfig, kind: str = "") -> Shape | None:
    """The numbers of a config that decide what it costs; None for architectures that have no closed form here.

    kind   name of the class, where the config does not name it
    """
    read = _READ.get(config.model_type)
    found = read(config) if read else None
    if found is None:
        return None
    auto = _auto(config, kind)
    masked = auto is transformers.AutoModelForMaskedLM
    more = found.biases | {"head"} if masked else found.biases
    return replace(found, head=masked or auto is transformers.AutoModelForCausalLM, transform=masked, biases=more)


ALL_BIASES = frozenset({"query", "output", "feed-forward", "norm"})


def _llama(c: Any, **more: Any) -> Shape:
    """Llama, and what differs from it in few things."""
    said = c.to_dict()
    attention, feed = said.get("attention_bias", False), said.get("mlp_bias", False)
    biases = [*(["query", "output"] if attention else []), *(["feed-forward"] if feed else [])]
    kinds = said.get("layer_types") or []
    window = (said.get("sliding_window") or 0) if said.get("use_sliding_window", True) else 0
    windowed = kinds.count("sliding_attention") if kinds else c.num_hidden_layers
    return Shape(**{
        "layers": c.num_hidden_layers, "hidden": c.hidden_size, "heads": c.num_attention_heads, "feed_forward": c.intermediate_size,
        "vocabulary": c.vocab_size, "kv_heads": c.num_key_value_heads, "head_size": said.get("head_dim") or 0, "gated": True,
        "tied": c.tie_word_embeddings, "biases": frozenset(biases), "window": window, "windowed_blocks": windowed if window else 0, **more,
    })  # fmt: skip


def _mixtral(c: Any) -> Shape:
    return _llama(c, experts=c.num_local_experts, active_experts=c.num_experts_per_tok, expert_size=c.intermediate_size)


def _experts(c: Any, **more: Any) -> dict[str, Any]:
    """Of Qwen; where they do not stand in all blocks but the first ones, the count will tell."""
    found = {"experts": c.num_experts, "active_experts": c.num_experts_per_tok, "expert_size": c.moe_intermediate_size}
    return {**found, "dense_blocks": len(c.mlp_only_layers or []), **more}


def _deepseek(c: Any) -> Shape:
    return _llama(
        c, head_size=c.qk_nope_head_dim + c.qk_rope_head_dim, value_size=c.v_head_dim, query_rank=c.q_lora_rank or 0, latent=c.kv_lora_rank,
        rotary=c.qk_rope_head_dim, experts=c.n_routed_experts, active_experts=c.num_experts_per_tok, expert_size=c.moe_intermediate_size,
        shared_size=c.n_shared_experts * c.moe_intermediate_size, dense_blocks=c.first_k_dense_replace,
    )  # fmt: skip


def _gpt2(c: Any) -> Shape:
    return Shape(
        c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.n_inner or 4 * c.hidden_size, c.vocab_size, positions=c.n_positions,
        biases=ALL_BIASES, tied=c.tie_word_embeddings, dropout=c.resid_pdrop > 0,
    )  # fmt: skip


def _bloom(c: Any) -> Shape:
    return Shape(
        c.num_hidden_layers, c.hidden_size, c.num_attention_heads, 4 * c.hidden_size, c.vocab_size, biases=ALL_BIASES, outer_norms=2,
        tied=c.tie_word_embeddings, dropout=c.hidden_dropout > 0,
    )  # fmt: skip


def _opt(c: Any) -> Shape | None:
    if c.word_embed_proj_dim != c.hidden_size or not c.do_layer_norm_before:
        return None
    return Shape(
        c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.ffn_dim, c.vocab_size, positions=c.max_position_embeddings + 2,
        biases=ALL_BIASES if c.enable_bias else frozenset({"norm"}), tied=c.tie_word_embeddings, dropout=c.dropout > 0,
    )  # fmt: skip


def _falcon(c: Any) -> Shape:
    heads, new = c.num_attention_heads, c.new_decoder_architecture
    return Shape(
        c.num_hidden_layers, c.hidden_size, heads, c.ffn_hidden_size, c.vocab_size,
        kv_heads=c.num_kv_heads if new else 1 if c.multi_query else heads, norms=2 if new or not c.parallel_attn else 1,
        biases=ALL_BIASES if c.bias else frozenset({"norm"}), tied=c.tie_word_embeddings,
    )  # fmt: skip


def _phi(c: Any) -> Shape:
    return Shape(
        c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.intermediate_size, c.vocab_size,
        kv_heads=c.num_key_value_heads, norms=1, biases=ALL_BIASES | {"head"}, tied=c.tie_word_embeddings,
    )  # fmt: skip


def _neox(c: Any) -> Shape:
    return Shape(
        c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.intermediate_size, c.vocab_size, tied=c.tie_word_embeddings,
        biases=ALL_BIASES if c.attention_bias else ALL_BIASES - {"query", "output"},
    )  # fmt: skip


def _bert(c: Any) -> Shape:
    return Shape(
        c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.intermediate_size, c.vocab_size, positions=c.max_position_embeddings,
        segments=c.type_vocab_size, biases=ALL_BIASES, causal=False, dropout=c.hidden_dropout_prob > 0,
    )  # fmt: skip


def _distilbert(c: Any) -> Shape:
    return Shape(
        c.n_layers, c.dim, c.n_heads, c.hidden_dim, c.vocab_size, positions=c.max_position_embeddings, biases=ALL_BIASES, causal=False,
        dropout=c.dropout > 0,
    )  # fmt: skip


_READ: dict[str, Callable[[Any], Shape | None]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "mistral": _llama,
    "smollm3": _llama,
    "phi3": _llama,
    "qwen2": lambda c: _llama(c, biases=frozenset({"query"})),
    "qwen3": lambda c: _llama(c, head_norms="head"),
    "olmo2": lambda c: _llama(c, head_norms="whole"),
    "gemma": _llama,
    "gemma2": lambda c: _llama(c, norms=4),
    "gemma3_text": lambda c: _llama(c, norms=4, head_norms="head"),
    "mixtral": _mixtral,
    "qwen2_moe": lambda c: _llama(
        c, biases=frozenset({"query"}), gate_of_shared=True, **_experts(c, shared_size=c.shared_expert_intermediate_size)
    ),
    "qwen3_moe": lambda c: _llama(c, head_norms="head", **_experts(c)),
    "deepseek_v3": _deepseek,
    "falcon": _falcon,
    "bloom": _bloom,
    "opt": _opt,
    "phi": _phi,
    "gpt_neox": _neox,
    "bert": _bert,
    "roberta": _bert,
    "distilbert": _distilbert,
}
