"""Class weights against scikit-learn and torch."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_sample_weight

from penjing.core.contracts import Batch
from penjing.core.find import find
from penjing.engine.weigh import balanced, weighted

TASK = find("tasks", "text-classification").TASK
LABELS = ["a", "b", "c"]
GIVEN = [LABELS[i] for i in (0, 0, 0, 0, 1, 1, 2)]


def test_balanced_weights_are_those_of_scikit_learn():
    found = balanced(TASK(LABELS), [{"label": label} for label in GIVEN])
    assert found.tolist() == pytest.approx(compute_sample_weight("balanced", GIVEN).tolist())


def test_a_row_of_many_labels_weighs_as_their_mean_and_one_without_labels_one():
    """Six labels named, three kinds: a thrice, b twice, c once."""
    rows = [{"label": labels} for labels in (["a", "b"], ["a"], [], ["a", "b", "c"])]
    assert balanced(TASK(LABELS, "many-labels"), rows).tolist() == pytest.approx([(2 / 3 + 1) / 2, 2 / 3, 1, (2 / 3 + 1 + 2) / 3])


@pytest.mark.parametrize("order", [[6, 0, 4], [6], [5, 0, 5, 0]])  # the last as a loss sees rows that are repeated
def test_the_weighted_loss_is_that_of_torch_with_class_weights(order):
    task = TASK(LABELS)
    weights = balanced(task, [{"label": label} for label in GIVEN])
    logits = torch.randn(len(order), 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([LABELS.index(GIVEN[i]) for i in order])
    loss = weighted(task.loss, weights)(SimpleNamespace(logits=logits), Batch({}, {"label": targets}, torch.tensor(order)))
    by_label = torch.tensor([weights[GIVEN.index(label)] for label in LABELS])
    torch.testing.assert_close(loss.mean(), F.cross_entropy(logits, targets, weight=by_label))
