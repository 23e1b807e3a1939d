"""Two draws of dropout pulled together, against the paper's formula written out by hand; smoothed labels, against torch's."""

from types import SimpleNamespace

import pytest
import torch

from penjing.core.contracts import IMPOSSIBLE, Batch
from penjing.core.find import find
from penjing.engine.regularizers import REPEATS, agreeing, smoothing
from penjing.maths.losses import from_uniform
from tests.engine.test_train import started

TASK = find("tasks", "text-classification").TASK(["a", "b", "c"])


@pytest.mark.parametrize("num_rows", [1, 5])
def test_the_loss_is_the_papers(num_rows):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2 * num_rows, 3, generator=draw)
    label = torch.randint(0, 3, (num_rows,), generator=draw).repeat(2)
    batch = Batch({}, {"label": label}, torch.arange(num_rows).repeat(2))
    mine = agreeing(TASK, 0.7)(SimpleNamespace(logits=logits), batch).mean()
    log_p, log_q = logits.log_softmax(-1).chunk(2)
    both = ((log_p.exp() * (log_p - log_q)).sum(-1) + (log_q.exp() * (log_q - log_p)).sum(-1)) / 2
    torch.testing.assert_close(mine, torch.nn.functional.cross_entropy(logits, label) + 0.7 * both.mean())


def test_without_dropout_it_is_the_plain_loss(runtime):
    state, task = started("text-classification", runtime)
    state.repeats = REPEATS
    state.model.eval()
    twice, once = state.share([0, 1, 2], 0).parts[0], state.encoded.batch([0, 1, 2])
    assert twice.rows.tolist() == [0, 1, 2, 0, 1, 2]
    mine = agreeing(task, 5.0)(state.model(**twice.inputs), twice).mean()
    torch.testing.assert_close(mine, task.loss(state.model(**once.inputs), once).mean())


@pytest.mark.parametrize("num_rows", [1, 5])
@pytest.mark.parametrize("repeats", [1, 2])
def test_smoothed_labels_are_those_of_torch(num_rows, repeats):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(repeats * num_rows, 3, generator=draw)
    label = torch.randint(0, 3, (num_rows,), generator=draw).repeat(repeats)
    batch = Batch({}, {"label": label}, torch.arange(num_rows).repeat(repeats))
    mine = smoothing(TASK, TASK.loss, 0.2, repeats)(SimpleNamespace(logits=logits), batch)
    assert mine.count.tolist() == [1] * len(label)
    torch.testing.assert_close(mine.total, torch.nn.functional.cross_entropy(logits, label, label_smoothing=0.2, reduction="none"))


def test_what_is_impossible_takes_no_share():
    logits = torch.tensor([[1.0, 2.0, IMPOSSIBLE], [0.0, 0.0, 0.0]])
    expected = [-logits[0, :2].log_softmax(0).mean(), torch.tensor(3.0).log()]
    torch.testing.assert_close(from_uniform(logits), torch.stack(expected))
