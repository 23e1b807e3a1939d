"""The moving average against the weighted mean that it stands for, and what a training keeps of it."""

import copy

import numpy
import pytest
import torch

from penjing.core.find import find
from penjing.core.training import Training
from penjing.engine import create, fit, train
from penjing.engine.average import Average, holding, moving
from penjing.engine.curve import MOST_POINTS, Curve
from tests.contract.test_tasks import LABELS, rows
from tests.engine.test_train import started


def test_the_average_is_the_mean_of_all_weights_so_far_with_counts_that_fall_by_the_decay():
    seen = numpy.random.default_rng(0).standard_normal((7, 5))
    weight = torch.full((5,), 100.0, dtype=torch.float64)  # where it begins has no part
    average = Average({"w": weight}, 0.8)
    for n, now in enumerate(seen, 1):
        weight.copy_(torch.tensor(now))
        average.update()
        wanted = numpy.average(seen[:n], axis=0, weights=0.8 ** numpy.arange(n)[::-1])
        numpy.testing.assert_allclose(average.values["w"].numpy(), wanted, rtol=1e-12)


def test_a_training_averages_weights_and_statistics_and_leaves_its_own_course_as_it_was(runtime):
    plain, task = started("image-classification", runtime)
    list(train.train(plain, task.loss))
    state, _ = started("image-classification", runtime, average=0.7)
    seen = []
    for _ in train.train(state, task.loss):
        seen.append({name: value.clone() for name, value in moving(state.model, state.learner.rates).items()})
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, state.model.state_dict()[name]), name
    counts = 0.7 ** torch.arange(len(seen)).flip(0)
    for name, value in state.average.values.items():
        wanted = sum(count * now[name] for count, now in zip(counts, seen)) / counts.sum()
        torch.testing.assert_close(value, wanted, msg=name)
    assert any("running_mean" in name for name in state.average.values)


def test_a_model_holds_the_average_for_a_while_and_then_its_own_weights_again():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    own = copy.deepcopy(model.state_dict())
    others = {name: torch.full_like(value, 7) for name, value in moving(model, {"0.weight"}).items()}
    with pytest.raises(ZeroDivisionError), holding(model, others):
        assert (model[0].weight == 7).all() and (model[1].running_var == 7).all() and torch.equal(model[0].bias, own["0.bias"])
        raise ZeroDivisionError
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_what_is_measured_and_kept_is_the_average(runtime, monkeypatch, tmp_path):
    """A training at a mad rate whose last measure is its best: the model is left with the weighted mean, not with the last weights."""

    kind, seen, measured = find("tasks", "image-classification").TASK, [], []
    examples = rows(kind, 24)
    loaded = create.create("resnet-tiny", kind(LABELS), examples, runtime)

    def noted(state, loss):
        for step in train.train(state, loss):
            seen.append(state.model.head.weight.detach().clone())
            yield step

    def measures(backend, task, tuning, tune_rows):
        measured.append(loaded.model.head.weight.detach().clone())
        return task, float(len(measured)), []

    monkeypatch.setattr(fit, "train", noted)
    monkeypatch.setattr(fit, "best_way", measures)
    options = Training(epochs=2, learning_rate=0.1, batch_rows=8, precision="fp32", average=0.5)
    facts = fit.fit(loaded, kind(LABELS).loss, examples, examples, options, runtime, tmp_path)
    counts = 0.5 ** torch.arange(len(seen)).flip(0)
    wanted = sum(count * weight for count, weight in zip(counts, seen)) / counts.sum()
    torch.testing.assert_close(loaded.model.head.weight.detach(), wanted)
    assert torch.equal(measured[-1], loaded.model.head.weight) and not torch.allclose(seen[-1], wanted)
    assert [step for step, _, _ in facts["losses"]] == list(range(1, 7))


def test_a_curve_of_many_losses_keeps_few_points_whose_means_are_those_of_the_steps():
    losses, curve = numpy.random.default_rng(0).random(10_000), Curve()
    for step, loss in enumerate(losses, 1):
        curve.note(step, 0.5, loss)
    assert MOST_POINTS / 2 <= len(curve.points) < MOST_POINTS
    every = curve.points[0][0]
    for i, (step, seconds, loss) in enumerate(curve.points):
        assert step == (i + 1) * every and seconds == step / 2
        assert loss == pytest.approx(losses[step - every : step].mean())
