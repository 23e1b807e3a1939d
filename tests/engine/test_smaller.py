"""A model that is pruned where it lies: bit for bit what it becomes in memory, going on where it was killed, a few tensors at a time."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Qwen3Config,
    RobertaConfig,
)

from penjing.core.errors import ModelError
from penjing.core.find import find, names
from penjing.core.model_dir import CHECKPOINTS
from penjing.core.new_text import NewText
from penjing.core.runtime import Runtime, resident_bytes
from penjing.engine import create, load, rewriting, room
from penjing.engine.smaller import take_away

QUIET = Runtime(quiet=True)
ROWS = [{"text": f"The {i}th tree of the garden is old, 盆景 {i} is small; who waters it?"} for i in range(8)]
OTHERS = [{"text": f"Nobody {word} splendid gardeners, somebody {word} unbelievably"} for word in ("knows", "teaches", "pays", "hears")]
DATA = SimpleNamespace(role=lambda name, most=None: ROWS)
SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
SHARED = {**SMALL, "num_key_value_heads": 2}
CLASSES = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
MODELS = {  # config and what it is made of, which methods fit it
    "bert": (BertConfig, {**SMALL, **CLASSES}, "feed-forward hidden layers vocabulary weights"),
    "roberta": (RobertaConfig, {**SMALL, **CLASSES}, "feed-forward hidden layers vocabulary weights"),
    "electra": (ElectraConfig, {**SMALL, **CLASSES, "embedding_size": 32}, "feed-forward hidden layers vocabulary weights"),
    "gpt2": (GPT2Config, {"n_embd": 64, "n_head": 4, "n_layer": 3, "n_positions": 64}, "hidden layers vocabulary weights"),
    "llama": (LlamaConfig, SHARED, "feed-forward heads hidden layers vocabulary weights"),
    "tied": (LlamaConfig, {**SHARED, "tie_word_embeddings": True}, "feed-forward heads hidden layers vocabulary weights"),
    "mistral": (MistralConfig, SHARED, "feed-forward heads hidden layers vocabulary weights"),
    "qwen3": (Qwen3Config, {**SHARED, "head_dim": 8}, "feed-forward heads hidden layers vocabulary weights"),
}


def written(config, settings, folder):
    """A model of drawn weights on disk, in files of at most 100 kB."""
    causal = "id2label" not in settings
    task = find("tasks", "text-generation" if causal else "text-classification").TASK([] if causal else ["a", "b"])
    size, tokenizer = ("llama-tiny", "bpe") if causal else ("bert-tiny", "wordpiece")
    processor = create.create(size, task, ROWS + OTHERS * 4, QUIET, new_text=NewText(tokenizer, 400)).processor
    marks = {"eos_token_id": processor.eos_token_id, "bos_token_id": processor.eos_token_id} if causal else {}
    auto = AutoModelForCausalLM if causal else AutoModelForSequenceClassification
    torch.manual_seed(0)
    model = auto.from_config(config(vocab_size=len(processor), pad_token_id=processor.pad_token_id, **marks, **settings))
    model.save_pretrained(folder, max_shard_size="100kB")
    return load.save_beside(load.Loaded(task, model, processor), folder, "fp32")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Each of MODELS, written when it is asked for."""
    found = {}

    def base(name):
        if name not in found:
            found[name] = written(*MODELS[name][:2], tmp_path_factory.mktemp(name))
        return found[name]

    return base


def options(method, **words):
    """Settings of a method that looks at no row."""
    settings = find("methods.prune", method).Options
    return settings(**words, **({"importance": "magnitude"} if "importance" in settings.__dataclass_fields__ else {}))


def pruned(loaded, *steps):
    """What is left after several methods."""
    for method, settings in steps:
        taken = take_away(loaded, DATA, method, settings, QUIET)
        loaded = taken.loaded
    return taken


def tensors(folder):
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("name", "method"), [(name, method) for name, made in MODELS.items() for method in made[2].split()])
def test_a_model_pruned_where_it_lies_is_bit_for_bit_what_it_becomes_in_memory(name, method, bases, tmp_path):
    base = bases(name)
    task = load.task_for(base)
    for number, words in enumerate([{}, {"pattern": "2:4"}] if method == "weights" else [{}]):
        step = (method, options(method, **words))
        whole, asleep = load.load(base, task, QUIET), rewriting.on_disk(base, task, QUIET)
        one, other = pruned(whole, step), pruned(asleep, step)
        assert {value.device.type for value in other.loaded.model.parameters()} == {"meta"}
        assert (one.facts, one.share, one.zeros) == (other.facts, other.share, other.zeros)
        found = load.save(one.loaded, tmp_path / f"memory-{number}")
        left = rewriting.write(other.loaded, torch.float32, tmp_path / f"disk-{number}", QUIET)
        assert same(tensors(found.path), tensors(left.path)) and found.whole_sha256() == left.whole_sha256()
        assert one.loaded.parameters == other.loaded.parameters < whole.parameters or method == "weights"


def test_what_is_taken_away_in_several_steps_is_so_on_disk_too(bases, tmp_path):
    base = bases("tied")
    task = load.task_for(base)
    steps = [(method, options(method, keep_share=0.6)) for method in ("hidden", "layers", "heads", "feed-forward", "vocabulary", "weights")]
    found = load.save(pruned(load.load(base, task, QUIET), *steps).loaded, tmp_path / "memory")
    left = rewriting.write(pruned(rewriting.on_disk(base, task, QUIET), *steps).loaded, torch.float32, tmp_path / "disk", QUIET)
    assert same(tensors(found.path), tensors(left.path)) and len(load.load(left, task, QUIET).processor) == left.config["vocab_size"]


def test_every_method_but_that_of_channels_is_tried_here():
    assert {method for _, _, fitting in MODELS.values() for method in fitting.split()} == {*names("methods.prune")} - {"channels"}


def test_a_run_that_was_killed_goes_on_with_what_is_written(bases, tmp_path, monkeypatch):
    monkeypatch.setattr(rewriting, "PIECE_BYTES", 30_000)
    base = bases("mistral")
    task, put, read = load.task_for(base), rewriting.Rewriter.put, list[str]()
    dtype = torch.float32

    def left():
        return pruned(rewriting.on_disk(base, task, QUIET), ("heads", options("heads"))).loaded

    whole = rewriting.write(left(), dtype, tmp_path / "whole", QUIET)

    def dies(self, path, tensors):
        if len(read) == 12:
            raise KeyboardInterrupt
        read.append(path)
        put(self, path, tensors)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rewriting.Rewriter, "put", dies)
        rewriting.write(left(), dtype, tmp_path / "parts", QUIET)
    kept = [*(tmp_path / "parts" / CHECKPOINTS).glob("step-*.safetensors")]
    monkeypatch.setattr(rewriting.Rewriter, "put", lambda self, path, tensors: (read.append(path), put(self, path, tensors)))
    again = rewriting.write(left(), dtype, tmp_path / "parts", QUIET)
    modules = 3 * 9 + 3  # of a block seven layers and two norms; a table, a norm and a head
    assert len(kept) > 2 and modules < len(read) < modules + 12 and len({*read}) == modules
    assert again.sha256() == whole.sha256()


@pytest.mark.parametrize("method", ["layers", "feed-forward", "heads", "hidden", "weights"])
def test_memory_holds_a_few_tensors_of_a_model_and_never_all(method, tmp_path, monkeypatch):
    """20 blocks of 1.6 MB, pieces of 1 MB: with less than a quarter of the model above what was there before."""
    shape = {"hidden_size": 192, "num_hidden_layers": 20, "num_attention_heads": 6, "num_key_value_heads": 6, "intermediate_size": 512}
    monkeypatch.setattr(rewriting, "PIECE_BYTES", 1 << 20)
    base = written(LlamaConfig, shape, tmp_path / "base")
    task = load.task_for(base)
    step = (method, options(method))

    def whole_way(out):
        rewriting.write(pruned(rewriting.on_disk(base, task, QUIET), step).loaded, torch.float32, tmp_path / out, QUIET)

    whole_way("first")  # imports, buffers of kernels, the model without weights
    room.give_back()
    before = resident_bytes()
    assert room._peak(lambda: whole_way("second"), "cpu") - before < base.bytes() / 2


def test_tensors_by_other_names_are_refused_before_any_is_read(tmp_path):
    base = written(MixtralConfig, {**SHARED, "num_local_experts": 2}, tmp_path)
    with pytest.raises(ModelError, match=r"(?s)the weights lack model.layers.0.mlp.gate.weight, or name it otherwise.*save_pretrained"):
        rewriting.on_disk(base, load.task_for(base), QUIET)


def test_a_weight_is_read_when_it_is_asked_for_and_not_before(bases):
    base = bases("llama")
    files = rewriting.Files(base)
    assert "lm_head.weight" in files and "lm_head.bias" not in files and len(files) == len([*files])
    shapes = [files[name].shape for name in itertools.islice(files, 3)]
    assert shapes == [tensors(base.path)[name].shape for name in itertools.islice(files, 3)]
