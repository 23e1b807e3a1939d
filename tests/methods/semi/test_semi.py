"""Learning from rows without labels, against what can be counted by hand."""

from types import SimpleNamespace

import pytest
import torch

from penjing.core.contracts import Batch, Prediction, RowLoss
from penjing.core.find import find, names
from penjing.methods.semi import Functions, sure
from penjing.methods.semi.consistency import MOST_FOR_ONE, consistent


class Rows(list):
    """Rows as a method uses them."""

    def take(self, chosen):
        return Rows(self[i] for i in chosen)


def school(scores):
    """Functions that note what they are asked; the answer to every row is "yes" with its score."""
    trained = []

    def train(rows, loss=None, strengths=(1.0,)):
        trained.append((list(rows), loss, strengths))
        return len(trained)

    def join(labelled, unlabelled, labels=None):
        return Rows([*labelled, *zip(unlabelled, labels or ["any"] * len(unlabelled))])

    def answer(model, rows):
        return [Prediction("yes", scores[row]) for row in rows]

    return trained, Functions(train, answer, join, None, None)


SCORES = {"a": 0.99, "b": 0.5, "c": 0.95, "d": 0.9499}


@pytest.mark.parametrize("name", names("methods.semi"))
def test_every_method_tells_of_how_many_rows_a_model_was_sure(name):
    _, functions = school(SCORES)
    method = find("methods.semi", name)
    assert method.apply(functions, Rows(["known"]), Rows(SCORES), 0.95)[1] == 2
    assert method.COMPARES_VIEWS in (True, False)


def test_pseudo_labels_train_anew_on_the_rows_the_first_model_was_sure_of():
    trained, functions = school(SCORES)
    model, _ = find("methods.semi", "pseudo-labels").apply(functions, Rows(["known"]), Rows(SCORES), 0.95)
    assert [rows for rows, *_ in trained] == [["known"], ["known", ("a", "yes"), ("c", "yes")]] and model == 2


def test_where_no_row_is_sure_the_first_model_stays():
    trained, functions = school(SCORES)
    assert find("methods.semi", "pseudo-labels").apply(functions, Rows(["known"]), Rows(SCORES), 1.0) == (1, 0)
    assert len(trained) == 1


def test_answers_without_a_score_are_never_sure():
    assert sure([Prediction("a"), Prediction("b", 0.3)], 0.0) == [1]


def test_consistency_repeats_labelled_rows_until_there_is_one_for_seven():
    trained, functions = school({str(i): 1.0 for i in range(70)})
    find("methods.semi", "consistency").apply(functions, Rows(["x", "y"]), Rows(str(i) for i in range(70)), 0.95)
    (rows, loss, strengths) = trained[0]
    assert len(rows) == 10 + 70 and rows[:10] == ["x", "y"] * 5 and MOST_FOR_ONE == 7
    assert loss is not None and len(strengths) == 2 and strengths[0] < strengths[1]


def test_the_loss_of_consistency_is_that_of_fixmatch_on_average():
    """Section 2.2, equations 3 and 4: H(p, true) over labelled rows plus 1(max q >= tau) H(argmax q, strong) over all others."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(2 * 10, 4, dtype=torch.float64)
    logits.requires_grad_()
    rows, labels = torch.arange(10).repeat(2), torch.randint(4, (10,)).repeat(2)
    cross = torch.nn.functional.cross_entropy

    def hard(outputs, batch):
        return RowLoss(cross(outputs.logits, batch.targets["label"], reduction="none"), torch.ones(20))

    functions = Functions(None, None, None, hard, lambda outputs, batch: (outputs.logits, batch.rows))
    batch = Batch({}, {"label": labels}, rows)
    found = consistent(functions, num_known=3, num_rows=10, confidence=0.8)(SimpleNamespace(logits=logits), batch)
    assert found.total.shape == found.count.shape == (10,)
    weak, strong = logits.detach()[3:10], logits[13:]
    chance, said = weak.softmax(-1).max(-1)
    assert 0 < (chance >= 0.8).sum() < 7
    unlabelled = (cross(strong, said, reduction="none") * (chance >= 0.8)).mean()
    labelled = (cross(logits[:3], labels[:3]) + cross(logits[10:13], labels[:3])) / 2
    torch.testing.assert_close(found.mean(), labelled + unlabelled, check_dtype=False)
    found.mean().backward()
    assert (logits.grad[3:10] == 0).all(), "the weak view teaches and does not learn"
