"""Layers of few bits in memory: packed until they are called, as transformers would have them, and plain again to be trained."""

import gc
import json
import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM

from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import few_bits, load
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.rewriting import from_disk
from penjing.methods.quantize import rtn
from tests.engine.test_rewriting import TASK, batch, write

pytest.importorskip("compressed_tensors")
QUIET = Runtime(quiet=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small Llama of 4 bits, its head of 8."""
    out = tmp_path_factory.mktemp("small")
    base = write(tmp_path_factory.mktemp("llama"), tie_word_embeddings=False)
    way = from_disk(base, TASK(), out, batch(), QUIET)
    facts = rtn.rewrite(way, rtn.Options(group=64))
    way.finish(out)
    (out / "config.json").write_text(json.dumps(base.config | facts["config"]))
    return ModelDir.open(out)


def logits(model):
    with torch.inference_mode():
        return model.eval()(input_ids=torch.arange(24).reshape(2, 12)).logits


def test_packed_layers_answer_bit_for_bit_as_transformers_unpacks_them_and_stay_packed(small):
    ours = load.load_model(small, TASK(), QUIET, as_stored=True)
    held = sum(value.nbytes for value in ours.parameters())
    with few_bits.quiet(), load.quiet_transformers():
        theirs = AutoModelForCausalLM.from_pretrained(small.path)
        assert torch.equal(logits(ours), logits(theirs))
    assert sum(value.nbytes for value in ours.parameters()) == held < 0.4 * sum(value.nbytes for value in theirs.parameters())
    assert TorchBackend(ours).name == "torch int4/8 weights, fp32" == f"torch {few_bits.precision(small.config)}, fp32"


def test_a_packed_model_is_gone_when_nobody_holds_it(small):
    model = load.load_model(small, TASK(), QUIET, as_stored=True)
    gone = weakref.ref(model.model.layers[0].mlp.up_proj)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_to_be_trained_it_is_a_plain_model_of_the_same_answers(small, tmp_path):
    model = load.load_model(small, TASK(), QUIET)
    torch.testing.assert_close(logits(model), logits(load.load_model(small, TASK(), QUIET, as_stored=True)))
    assert all(type(module) is torch.nn.Linear for module in model.modules() if isinstance(module, torch.nn.Linear))
    model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    assert model.model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert "quantization_config" not in ModelDir.open(tmp_path).config and torch.equal(logits(again), logits(model))


def test_other_directories_have_no_few_bits():
    assert few_bits.precision({"model_type": "llama"}) is None and few_bits.precision({"quantization_config": None}) is None
