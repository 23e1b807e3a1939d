"""Shortcuts of a training: the same outputs and the same gradients, for less work."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForSequenceClassification

from penjing.engine.anatomy import anatomy
from penjing.engine.shortcuts import shortcuts

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50,
    "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "n_embd": 16, "n_layer": 2, "n_head": 2,
    "embedding_size": 16, "pad_token_id": 0,
}  # fmt: skip


def drawn(kind):
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **SMALL)).eval()


def passed(model, ids):
    """Logits, gradients by name, and operations of the forward pass."""
    model.zero_grad()
    with FlopCounterMode(display=False) as counted:
        logits = model(input_ids=ids).logits
    logits.square().sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, counted.get_total_flops()


@pytest.mark.parametrize(
    "kind, spared",
    [(kind, True) for kind in ("bert", "roberta", "electra", "distilbert")] + [(kind, False) for kind in ("gpt2", "albert", "squeezebert")],
)
@pytest.mark.parametrize("first", [9, 1])
def test_outputs_and_gradients_stay_and_the_last_block_does_less_where_the_head_reads_one_position(kind, spared, first):
    """A first row of one position tells nothing, so all of them are computed."""
    model, ids = drawn(kind), torch.randint(1, 50, (3, 9))
    model.config.use_cache, spared = False, spared and first > 1
    ids[:, -1] = 0 if kind == "gpt2" else ids[:, -1]
    logits, gradients, operations = passed(model, ids)
    with shortcuts(model, anatomy(model).blocks, lambda: model(input_ids=ids[:1, :first])):
        found, others, fewer = passed(model, ids)
    torch.testing.assert_close(found, logits)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-6)
    assert (fewer < operations) == spared
    assert passed(model, ids)[2] == operations, "nothing is left behind"
    assert all("forward" not in vars(module) for module in model.modules())
