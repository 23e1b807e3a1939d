"""A model written anew module by module: from disk as from memory, and going on where it was killed."""

import json

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from penjing.core.contracts import Batch
from penjing.core.errors import ModelError
from penjing.core.find import find
from penjing.core.model_dir import CHECKPOINTS, ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import load, rewriting
from penjing.methods.quantize import gptq, rtn

pytest.importorskip("compressed_tensors")
TASK = find("tasks", "text-generation").TASK
QUIET = Runtime(quiet=True)


def write(folder, **more):
    """A small Llama of two blocks on disk, in files of at most 200 kB."""
    shape = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 256}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**shape, vocab_size=300, **more)).save_pretrained(folder, max_shard_size="200kB")
    return ModelDir.open(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write(tmp_path_factory.mktemp("llama"), tie_word_embeddings=False)


def batch():
    ids = torch.randint(0, 300, (6, 16), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 9:] = 0
    return Batch({"input_ids": ids, "attention_mask": mask}, {}, torch.arange(6))


def tensors(folder):
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", [rtn, gptq])
@pytest.mark.parametrize("tied", [False, True])
def test_a_model_read_from_disk_becomes_bit_for_bit_what_it_becomes_in_memory(method, tied, base, tmp_path):
    base = write(tmp_path / "tied", tie_word_embeddings=True) if tied else base
    loaded = load.Loaded(TASK(), AutoModelForCausalLM.from_pretrained(base.path), None, base)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    for name in ("memory", "disk"):
        (tmp_path / name).mkdir()
    ways = [
        rewriting.from_memory(loaded, tmp_path / "memory", batch(), QUIET),
        rewriting.from_disk(base, TASK(), tmp_path / "disk", batch(), QUIET),
    ]
    for way, name in zip(ways, ("memory", "disk")):
        assert method.rewrite(way, method.Options(group=64))["layers"] == 14 + (not tied)
        way.finish(tmp_path / name)
    written = tensors(tmp_path / "disk")
    assert same(tensors(tmp_path / "memory"), written) and same(loaded.model.state_dict(), before)
    assert ("lm_head.weight_packed" in written) == (not tied) and "lm_head.weight" not in written


def test_rounding_holds_one_module_at_a_time(base, tmp_path, monkeypatch):
    monkeypatch.setattr(rewriting, "PIECE_BYTES", 1)
    way = rewriting.from_disk(base, TASK(), tmp_path, batch(), QUIET)
    assert {value.device.type for value in way.model.parameters()} == {"meta"}
    rtn.rewrite(way, rtn.Options())
    assert not way._out._waiting and {value.device.type for value in way.model.parameters()} == {"meta"}
    way.finish(tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == tensors(tmp_path).keys()
    assert len({*index["weight_map"].values()}) == len([*tmp_path.glob("*.safetensors")]) == 21  # 15 layers, 5 norms and a table


@pytest.mark.parametrize("method", [rtn, gptq])
def test_a_run_that_was_killed_goes_on_with_what_is_written(method, base, tmp_path, monkeypatch):
    monkeypatch.setattr(rewriting, "PIECE_BYTES", 30_000)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = rewriting.from_disk(base, TASK(), tmp_path / "whole", batch(), QUIET)
    method.rewrite(whole, method.Options())
    whole.finish(tmp_path / "whole")

    put, written = rewriting.Rewriter.put, []

    def dies(self, path, tensors):
        written.append(path)
        if len(written) == 9:
            raise KeyboardInterrupt
        put(self, path, tensors)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rewriting.Rewriter, "put", dies)
        method.rewrite(rewriting.from_disk(base, TASK(), tmp_path / "parts", batch(), QUIET), method.Options())
    kept = [*(tmp_path / "parts" / CHECKPOINTS).glob("step-*.safetensors")]
    (tmp_path / "parts" / CHECKPOINTS / "step-00099.safetensors.tmp").write_bytes(b"half of a file")
    again, first = rewriting.from_disk(base, TASK(), tmp_path / "parts", batch(), QUIET), set(written)
    monkeypatch.setattr(rewriting.Rewriter, "put", lambda self, path, tensors: (written.append(path), put(self, path, tensors)))
    method.rewrite(again, method.Options())
    again.finish(tmp_path / "parts")
    assert kept and len(written) < 9 + 21 and first < set(written)
    assert same(tensors(tmp_path / "parts"), tensors(tmp_path / "whole"))


def test_tensors_by_other_names_are_refused(base, tmp_path):
    for path in base.path.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors.index.json").unlink()
    save_file({f"old.{name}": value for name, value in tensors(base.path).items()}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"(?s)the weights lack model.embed_tokens.weight, or name it otherwise.*save_pretrained"):
        rewriting.from_disk(ModelDir.open(tmp_path), TASK(), tmp_path / "out", batch(), QUIET)


def test_a_calibration_batch_holds_as_many_of_the_first_rows_as_have_room(monkeypatch):
    monkeypatch.setattr(rewriting, "CALIBRATION_TOKENS", 100)
    assert rewriting.rows_at_once(numpy.array([10, 20, 20, 30])) == 3
    assert rewriting.rows_at_once(numpy.array([500, 20])) == 1
    assert rewriting.rows_at_once(numpy.full(7, 10)) == 7


def test_padding_is_no_input():
    inputs, mask = torch.arange(24.0).reshape(2, 3, 4), torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert torch.equal(rewriting._tokens(inputs, mask), inputs.flatten(0, 1)[[0, 1, 3]])
    assert rewriting._tokens(inputs, mask[:1]).shape == rewriting._tokens(inputs, None).shape == (6, 4)
