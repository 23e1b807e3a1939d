"""Kinds of answer: their metrics against scikit-learn and scipy, their distributions against torch."""

import itertools

import numpy
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score
from sklearn.preprocessing import MultiLabelBinarizer

from penjing.tasks._heads import ManyLabels, Number, OneLabel
from penjing.tasks._one_vs_rest import OneVsRest, _best_threshold

LABELS = ["a", "b", "c", "d"]


def sets(draw, num_rows):
    return [[label for label in LABELS if draw.random() < 0.4] for _ in range(num_rows)]


@pytest.mark.parametrize("num_rows", [1, 7, 300])
def test_scores_of_many_labels_are_those_of_scikit_learn(num_rows):
    draw = numpy.random.default_rng(num_rows)
    said, true = sets(draw, num_rows), sets(draw, num_rows)
    table = MultiLabelBinarizer(classes=LABELS)
    truths, answers = table.fit_transform(true), table.fit_transform(said)
    occur = (truths + answers).any(0)
    found = ManyLabels(LABELS).scorer(said, true)(numpy.arange(num_rows))
    assert found["micro_f1"] == pytest.approx(f1_score(truths, answers, average="micro", zero_division=0))
    assert found["macro_f1"] == pytest.approx(f1_score(truths, answers, average=None, zero_division=0)[occur].mean())
    assert found["subset_accuracy"] == pytest.approx(accuracy_score(truths, answers))


def test_scores_of_numbers_are_those_of_scikit_learn_and_scipy():
    draw = numpy.random.default_rng(0)
    true = numpy.round(draw.normal(30, 5, 200))
    said = true + draw.normal(0, 3, 200)
    found = Number([]).scorer(said.tolist(), true.tolist())(numpy.arange(200))
    assert found["r2"] == pytest.approx(r2_score(true, said)) and found["mae"] == pytest.approx(mean_absolute_error(true, said))
    assert found["spearman"] == pytest.approx(spearmanr(true, said).statistic)


def test_numbers_that_are_all_alike_have_scores_too():
    every = numpy.arange(3)
    assert Number([]).scorer([2.0] * 3, [2.0] * 3)(every) == {"r2": 1.0, "spearman": 0.0, "mae": 0.0}
    assert Number([]).scorer([1.0, 2.0, 3.0], [2.0] * 3)(every)["r2"] == r2_score([2.0] * 3, [1.0, 2.0, 3.0]) == 0


def test_confusion_has_the_truth_downwards():
    assert OneLabel(["a", "b"]).confusion(["a", "a", "b"], ["b", "a", "b"]) == [[1, 0], [1, 1]]


def test_the_usual_labels_have_the_best_micro_f1_of_all_sets():
    true = sets(numpy.random.default_rng(3), 60)
    head, every = ManyLabels(LABELS), numpy.arange(60)
    known = {
        subset: head.scorer([list(subset)] * 60, true)(every)["micro_f1"] for k in range(5) for subset in itertools.combinations(LABELS, k)
    }
    assert known[tuple(head.usual(true))] == max(known.values())


def test_many_labels_are_answered_where_their_chance_is_above_a_half():
    answers = ManyLabels(["a", "b", "c"]).decode(torch.tensor([[2.0, -1.0, 0.5], [-3.0, -3.0, -3.0]]))
    assert [answer.value for answer in answers] == [["a", "c"], []]
    chances = torch.tensor([2.0, 1.0, 0.5]).sigmoid()
    assert answers[0].score == pytest.approx(float(chances.prod()))


def test_a_threshold_is_read_from_the_config_and_all_that_are_tried_are_told_there():
    head = ManyLabels(["a", "b"]).of({"threshold": 0.2})
    assert head.decode(torch.tensor([[-1.0, -2.0]]))[0].value == ["a"]  # chances of 27 and 12 %
    ways = head.ways()
    assert [ManyLabels(["a", "b"]).of(way.decision).threshold for way in ways] == [way.threshold for way in ways]
    assert ways[0].threshold == 0.5 and sorted({way.threshold for way in ways}) == pytest.approx(numpy.linspace(0.05, 0.95, 19))
    assert [head.decision for head in (OneLabel(["a"]).ways()[0], Number([]).ways()[0])] == [{}, {}]


def test_the_threshold_of_the_baseline_has_the_best_micro_f1_of_all_on_the_rows_held_out():
    draw = numpy.random.default_rng(0)
    values, table = draw.normal(size=(40, 3)), (draw.random((40, 3)) < 0.3).astype(int)
    known = [f1_score(table, values >= value, average="micro") for value in numpy.unique(values)]
    assert f1_score(table, values >= _best_threshold(values, table), average="micro") == pytest.approx(max(known))


def test_the_distributions_of_many_labels_are_no_and_yes_of_each():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found = ManyLabels(["a", "b", "c"]).distributions(logits).softmax(-1).view(5, 3, 2)
    torch.testing.assert_close(found[..., 1], logits.sigmoid())


def test_labels_keep_their_order_whatever_that_of_the_data():
    head = ManyLabels(["a", "b", "c"])
    assert (
        head.truth(["c", "a"]) == ["a", "c"] and head.numbered(["c", "a"]) == [1.0, 0.0, 1.0] and head.labels_of(["c", "a"]) == ["c", "a"]
    )


def test_a_classifier_for_each_label_learns_lists_of_labels_and_one_that_is_always_there():
    features = numpy.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 5)
    true = [[*(["a"] if x else []), *(["b"] if y else []), "c"] for x, y in features]
    assert OneVsRest(["a", "b", "c"], LogisticRegression(C=100)).fit(features, true).predict(features) == true
