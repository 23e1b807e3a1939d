"""What a fresh head begins with; and numbers far from 0, learnt in units of their spread, are given as they are."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from penjing.core.find import find
from penjing.engine.load import Loaded
from penjing.engine.priors import begun

TASK = find("tasks", "text-classification").TASK
ROWS = [{"label": value} for value in (1000.0, 1010.0, 1030.0)]
MEAN, DEVIATION = 1013.333333, 12.472191


class Line(nn.Module):
    """A linear layer with one output, as a model of transformers gives it."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(2, 1)

    def forward(self, x):
        return SimpleNamespace(logits=self.last(x))


def loaded(fresh, head="number"):
    torch.manual_seed(0)
    return Loaded(TASK((), head), Line().double(), None, fresh=fresh)


def test_a_model_that_gives_numbers_gives_the_same_inside_and_afterwards():
    held, x = loaded(fresh=False), torch.rand(5, 2, dtype=torch.float64)
    before = held.model(x).logits.float()
    with begun(held, ROWS):
        assert held.model.last.bias.item() < 0  # standardised: far below the mean of 1013
        torch.testing.assert_close(held.model(x).logits.float(), before, atol=1e-3, rtol=0)
    torch.testing.assert_close(held.model(x).logits.float(), before, atol=1e-3, rtol=0)


def test_a_fresh_head_begins_at_the_mean_with_the_spread_of_the_data_and_stays_there():
    held, x = loaded(fresh=True), torch.rand(5, 2, dtype=torch.float64)
    standardised = held.model(x).logits
    with begun(held, ROWS):
        inside = held.model(x).logits
        torch.testing.assert_close(inside, (standardised * DEVIATION + MEAN).to(inside.dtype), atol=1e-3, rtol=1e-6)
    torch.testing.assert_close(held.model(x).logits, standardised * DEVIATION + MEAN, atol=1e-3, rtol=1e-6)


def test_the_loss_is_that_of_standardised_numbers():
    held = loaded(fresh=True)
    with begun(held, ROWS) as standardised:
        batch = SimpleNamespace(targets={"label": torch.tensor([1000.0])}, rows=torch.tensor([0]))
        loss = standardised(held.task.loss)(SimpleNamespace(logits=torch.tensor([[1010.0]])), batch)
    assert loss.mean().item() == pytest.approx((10 / DEVIATION) ** 2, rel=1e-5)


def test_labels_are_left_alone():
    held = loaded(fresh=True, head="one-label")
    before = held.model.last.weight.clone()
    with begun(held, [{"label": "a"}]) as standardised:
        assert standardised(held.task.loss) == held.task.loss
    torch.testing.assert_close(held.model.last.weight, before)


def test_a_fresh_head_of_many_labels_begins_at_their_shares_and_one_that_has_learnt_is_left_alone():
    """Its bias alone then has the least loss of all biases: the gradient of the binary cross-entropy there is nothing."""
    task = TASK(["a", "b", "c"], "many-labels")
    rows = [{"label": labels} for labels in (["a"], ["a", "b"], ["a"], [], ["a", "b"], ["b"], [], [])] * 100
    for fresh in (True, False):
        model = nn.Sequential(nn.Linear(2, 5), nn.Linear(5, 3))
        before = model[1].bias.clone()
        with begun(Loaded(task, model, None, fresh=fresh), rows) as standardised:
            assert standardised(task.loss) == task.loss
        if not fresh:
            torch.testing.assert_close(model[1].bias, before)
            continue
        shares = torch.tensor([[float(label in row["label"]) for label in task.labels] for row in rows])
        logits = model[1].bias.detach().expand(len(rows), 3).requires_grad_()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, shares).backward()
        assert logits.grad.sum(0).abs().max() < 1e-3
