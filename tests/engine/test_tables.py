"""AdamW by rows against torch's AdamW of the whole table."""

import copy

import pytest
import torch
from torch import nn

from penjing.core.training import Training
from penjing.engine import tables
from penjing.engine.optimizers import make_optimizer
from penjing.engine.tables import RowsAdamW, large_tables
from penjing.engine.train import train
from penjing.methods.finetune import Rate
from tests.engine.test_train import started

STEPS = 40


def batches():
    """Ids of each step: rows that are read often, seldom, once and never."""
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(0, 3 + 5 * (step % 4), (2, 6), generator=draw) for step in range(STEPS)]


def trained(table, optimizer, settle=lambda: None, size=1.0):
    """The weights after the steps, under a learning rate that falls, with gradients of about this size."""
    wanted = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    for step, ids in enumerate(batches()):
        optimizer.zero_grad()
        (size * (table(ids) - wanted[ids]).square().sum()).backward()
        if table.sparse:
            table.weight.grad = table.weight.grad.coalesce()
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - step / STEPS)
        optimizer.step()
    settle()
    return table.weight.detach()


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-7])
def test_each_row_ends_where_adamw_of_the_whole_table_would_have_moved_it(size):
    """Small gradients are of the order of AdamW's epsilon."""
    torch.manual_seed(0)
    one = nn.Embedding(25, 4)
    other = copy.deepcopy(one)
    expected = trained(one, torch.optim.AdamW(one.parameters(), weight_decay=0.2), size=size)
    rows = RowsAdamW([{"params": [other.weight], "weight_decay": 0.2}], [other], 0.1)
    torch.testing.assert_close(trained(other, rows, rows.settle, size), expected, rtol=1e-4, atol=1e-5 if size == 1 else 0.02)
    rows.release()
    assert not other.sparse and not other._forward_pre_hooks


def test_only_tables_of_many_rows_that_serve_nowhere_else_are_moved_by_rows(monkeypatch):
    monkeypatch.setattr(tables, "MANY_ROWS", 20)
    model = nn.ModuleDict(
        {"words": nn.Embedding(20, 4), "places": nn.Embedding(10, 4), "tied": nn.Embedding(30, 4), "head": nn.Linear(4, 30)}
    )
    model["head"].weight = model["tied"].weight
    assert list(large_tables(model, [name for name, _ in model.named_parameters()])) == ["words.weight"]
    assert large_tables(model, ["head.weight"]) == {}


@pytest.mark.parametrize("options", [{"optimizer": "sgd"}, {"l1": 0.1}, {"average": 0.9}])
def test_where_all_rows_are_wanted_in_every_step_none_waits(options):
    words = nn.Embedding(20, 4)
    optimizer = make_optimizer([("w", words.weight)], {"w": Rate()}, Training(**options), (), {"w": words})
    assert not words.sparse and not any(isinstance(part, RowsAdamW) for part in optimizer._parts)


def test_a_training_by_rows_is_that_of_whole_tables_and_goes_on_to_the_bit(runtime, monkeypatch):
    whole, task = started("text-classification", runtime)
    expected = [step.loss for step in train(whole, task.loss)]
    monkeypatch.setattr(tables, "MANY_ROWS", 10)
    by_rows, _ = started("text-classification", runtime)
    losses = []
    for step in train(by_rows, task.loss):
        losses.append(step.loss)
        if step.number == 4:
            saved = copy.deepcopy(by_rows.to_dict())
    again, _ = started("text-classification", runtime)
    again.from_dict(saved)
    list(train(again, task.loss))
    assert "RowsAdamW" in saved["optimizer"]
    for state in (by_rows, again):
        state.release()
    for (name, one), other in zip(by_rows.model.state_dict().items(), again.model.state_dict().values()):
        assert torch.equal(one, other), name
    assert losses == pytest.approx(expected, rel=1e-3)
