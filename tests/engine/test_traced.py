"""A graph gives what its model gives, for any shape, or there is none."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import load
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.traced import traced
from tests.engine.test_dropping import FAMILIES as PUBLIC
from tests.families.test_every_family import INPUTS, MEDIA, fresh

alike = partial(torch.allclose, rtol=1e-4, atol=1e-5)
UNTRACED = ("gpt", "llama", "mixtral")  # they give a cache beside logits


def texts(*lengths):
    """Token ids of texts of these lengths, with what is padding."""
    longest = max(lengths)
    draw = torch.Generator().manual_seed(0)
    mask = torch.tensor([[1] * length + [0] * (longest - length) for length in lengths])
    return {"input_ids": torch.randint(5, 100, mask.shape, generator=draw) * mask, "attention_mask": mask}


PROBES = [texts(7), texts(3), texts(7, 3), texts(3, 12, 5, 1)]


class Toy(nn.Module):
    """Sums its tokens; `odd` spoils what a graph could hold."""

    def __init__(self, odd):
        super().__init__()
        self.odd = odd

    def forward(self, input_ids, attention_mask):
        logits = (input_ids * attention_mask).sum(1, keepdim=True).float()
        if self.odd == "branch" and len(input_ids) > 1:
            logits = logits + 1
        if self.odd == "number":
            logits = logits * float(input_ids.max())
        return SequenceClassifierOutput(logits=logits, hidden_states=(logits,) if self.odd == "nested" else None)


def test_a_graph_gives_the_logits_of_the_model_for_other_shapes_than_its_own(text_parent):
    base = ModelDir.open(text_parent)
    model = load.load_model(base, load.task_for(base), Runtime()).eval()
    graph = traced(model, PROBES)
    with torch.inference_mode():
        for lengths in [(1,), (2, 2), (30,), (9, 31, 4)]:
            found, true = graph(**texts(*lengths)), model(**texts(*lengths))
            assert type(found) is type(true) and alike(found.logits, true.logits)


@pytest.mark.parametrize("odd", ["branch", "number", "nested"])
def test_a_model_that_no_graph_can_stand_for_has_none(odd):
    assert traced(Toy(None), PROBES) is not None
    assert traced(Toy(odd), PROBES) is None


def test_a_backend_of_a_slow_model_stays_as_it_is(text_parent, monkeypatch):
    base = ModelDir.open(text_parent)
    backend = TorchBackend(load.load_model(base, load.task_for(base), Runtime()), threads=2)
    before = copy.copy(vars(backend))
    monkeypatch.setattr("penjing.engine.backends.torch.SOON_S", 0.0)
    assert not backend.trace(PROBES) and vars(backend) == before
    monkeypatch.undo()
    assert backend.trace(PROBES) and backend.threads == 1
    asked = texts(4, 6)
    assert alike(backend(**asked).logits, backend.model(**asked).logits)
    assert torch.isfinite(backend(input_ids=asked["input_ids"]).logits).all()  # of other names than the graph's


TEXTS = [name for name, (_, _, inputs) in PUBLIC.items() if "input_ids" in inputs]
FIRST = [(family, media) for family, media in MEDIA if family not in ("marian", "t5")]


def asked_text(model, *lengths):
    """Texts that are padded where the model expects it; ids within its table."""
    found = texts(*lengths)
    return {**found, "input_ids": found["input_ids"] % (model.config.vocab_size - 5) + 3 * found["attention_mask"]}


@pytest.mark.parametrize("name", TEXTS)
def test_a_graph_of_a_public_model_never_gives_anything_else(name):
    model = PUBLIC[name][0](PUBLIC[name][1]).eval()
    graph = traced(model, [asked_text(model, *lengths) for lengths in [(7,), (3,), (7, 3), (7, 3, 9, 5)]])
    for lengths in [(1,), (4,), (2, 2), (15,), (9, 15, 4), (1, 13)]:
        inputs = asked_text(model, *lengths)
        with torch.inference_mode():
            assert graph is None or alike(graph(**inputs)[0], model(**inputs)[0]), lengths


@pytest.mark.parametrize(("family", "media"), FIRST)
def test_a_graph_of_a_family_never_gives_anything_else(family, media):
    torch.manual_seed(0)
    model = fresh(family, next(iter(find("families", family).SIZES)), media).eval()

    def inputs(rows, length):
        if media == "text":
            return asked_text(model, *(max(1, length - 2 * i) for i in range(rows)))
        return {name: value.repeat(rows, *[1] * (value.ndim - 1)) for name, value in INPUTS[media]().items()}

    graph = traced(model, [inputs(1, 7), inputs(1, 3), inputs(2, 7), inputs(4, 9)])
    for shape in [(1, 1), (1, 12), (3, 5), (5, 15)]:
        each = inputs(*shape)
        with torch.inference_mode():
            assert graph is None or alike(graph(**each).logits, model(**each).logits), shape
    assert graph is not None or family in UNTRACED
