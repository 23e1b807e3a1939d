"""Optimizers and schedules against closed forms, scikit-learn, the optimizers of torch and the schedules of transformers."""

import copy

import numpy
import pytest
import torch
import transformers
from sklearn.linear_model import Lasso

from penjing.core.errors import ModelError
from penjing.core.training import Training
from penjing.engine.optimizers import SCHEDULES, make_optimizer
from penjing.engine.train import train
from penjing.methods.finetune import Rate
from tests.engine.test_train import started

WITHOUT = {"weight_decay": 0.0, "momentum": 0.0, "clip": 0.0, "warmup_share": 0.0, "schedule": "constant"}


def moved(steps, weight, gradients, blocks=(), name="weight", rate=0.1, **options):
    """(weight after each step) of one weight that is given these gradients."""
    weight = torch.tensor(weight, dtype=torch.float32)
    optimizer = make_optimizer([(name, weight)], {name: Rate()}, Training(**options), blocks)
    found = []
    for step in range(steps):
        optimizer.zero_grad()
        weight.grad = torch.tensor(gradients[step], dtype=torch.float32)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        found.append(weight.numpy().copy())
    return found


@pytest.fixture
def drawn():
    """A weight (3, 4) and five gradients."""
    draw = numpy.random.default_rng(0)
    return draw.standard_normal((3, 4)), draw.standard_normal((5, 3, 4))


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_its_closed_form(drawn, nesterov):
    """Sutskever et al. 2013, in the form of torch: v = m v + g; the step is g + m v with Nesterov's look ahead, else v."""
    weight, gradients = drawn
    found = moved(5, weight, gradients, optimizer="sgd", momentum=0.8, nesterov=nesterov, weight_decay=0)
    speed = numpy.zeros_like(weight)
    for after, gradient in zip(found, gradients):
        speed = 0.8 * speed + gradient
        weight = weight - 0.1 * (gradient + 0.8 * speed if nesterov else speed)
        numpy.testing.assert_allclose(after, weight, rtol=1e-5, atol=1e-6)


def test_adamw_is_its_closed_form(drawn):
    """Loshchilov, Hutter 2019, algorithm 2."""
    weight, gradients = drawn
    found = moved(5, weight, gradients, optimizer="adamw", weight_decay=0.3)
    m, v = numpy.zeros_like(weight), numpy.zeros_like(weight)
    for t, (after, gradient) in enumerate(zip(found, gradients), 1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        weight = weight * (1 - 0.1 * 0.3) - 0.1 * (m / (1 - 0.9**t)) / (numpy.sqrt(v / (1 - 0.999**t)) + 1e-8)
        numpy.testing.assert_allclose(after, weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 24), (16, 64), (64, 16)])
def test_a_step_of_muon_turns_the_gradient_into_nearly_its_orthogonal_factor(shape):
    """By a singular value decomposition U S V': Newton-Schulz puts the values of S, here over two decades, between 0.65 and 1.25."""
    draw = numpy.random.default_rng(0)
    u, _, v = numpy.linalg.svd(draw.standard_normal(shape), full_matrices=False)
    gradient = u @ numpy.diag(numpy.geomspace(1, 0.01, min(shape))) @ v
    (after,) = moved(1, numpy.zeros(shape), [gradient], ("b",), "b.weight", optimizer="muon", weight_decay=0)
    turned = u.T @ (-after / 0.1) @ v.T / (0.2 * max(shape) ** 0.5)
    assert abs(turned - numpy.diag(numpy.diag(turned))).max() < 0.05
    assert numpy.diag(turned).min() > 0.6 and numpy.diag(turned).max() < 1.3
    assert numpy.sqrt((after**2).mean()) == pytest.approx(0.1 * 0.2, rel=0.2), "the root mean square that AdamW has (Liu et al. 2025)"


def test_muon_moves_kernels_as_matrices_wherever_their_channels_lie_in_memory():
    draw = torch.Generator().manual_seed(0)
    weight, gradient = (torch.randn(8, 3, 2, 2, generator=draw) for _ in range(2))
    flat, kernels = weight.flatten(1).clone().requires_grad_(), []
    flat.grad = gradient.flatten(1)
    torch.optim.Muon([flat], lr=0.1, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw").step()
    for layout in (torch.contiguous_format, torch.channels_last):
        kernels.append(weight.clone(memory_format=layout))
        optimizer = make_optimizer([("b.weight", kernels[-1])], {"b.weight": Rate()}, Training(optimizer="muon", learning_rate=0.1), ("b",))
        kernels[-1].grad = gradient.clone(memory_format=torch.contiguous_format)
        optimizer.step()
        optimizer.zero_grad()
        assert kernels[-1].grad is None
        torch.testing.assert_close(kernels[-1].flatten(1), flat.detach(), atol=1e-3, rtol=0)  # bf16 inside
    torch.testing.assert_close(kernels[0].flatten(1), flat.detach())


def test_muon_is_for_matrices_of_blocks_and_adamw_does_the_rest_as_torch_would(runtime):
    state, task = started("text-classification", runtime, optimizer="muon", weight_decay=0.1, momentum=0.9, clip=0, warmup_share=0)
    twin = copy.deepcopy(state.model)
    named = dict(twin.named_parameters())
    hidden = [p for name, p in named.items() if ".layer." in name and p.ndim == 2]
    rest = [p for name, p in named.items() if not (".layer." in name and p.ndim == 2)]
    theirs = [
        torch.optim.Muon(hidden, lr=1e-3, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([p for p in rest if p.ndim > 1], lr=1e-3, weight_decay=0.1),
        torch.optim.AdamW([p for p in rest if p.ndim == 1], lr=1e-3, weight_decay=0),
    ]
    assert len(hidden) == 12 and {p.shape for p in rest if p.ndim == 2} >= {twin.classifier.weight.shape}
    state.options = Training(**{**vars(state.options), "schedule": "constant"})
    for _ in train(state, task.loss):
        for name, parameter in state.model.named_parameters():
            named[name].grad = parameter.grad.clone()
        for optimizer in theirs:
            optimizer.step()
    for name, parameter in state.model.named_parameters():
        torch.testing.assert_close(parameter, named[name], atol=1e-5, rtol=1e-4, msg=name)


def test_muon_without_a_matrix_to_move_says_so(runtime):
    with pytest.raises(ModelError, match="muon has nothing to move"):
        started("text-classification", runtime, method="probe", optimizer="muon")


def test_all_rows_in_one_batch_are_plain_gradient_descent_an_update_an_epoch(runtime):
    state, task = started("image-classification", runtime, optimizer="sgd", batch_rows=24, batch_tokens=10**8, **WITHOUT)
    plain = copy.deepcopy(state.model).train()
    batch = state.encoded.batch(range(24))
    assert [step.epoch for step in train(state, task.loss)] == [1, 2, 3]
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(plain(**batch.inputs).logits, batch.targets["label"])
        slopes = torch.autograd.grad(loss, list(plain.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(plain.parameters(), slopes):
                parameter -= 1e-3 * slope
    for (name, mine), theirs in zip(state.model.named_parameters(), plain.parameters()):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5, msg=name)


def test_full_batch_sgd_with_l1_ends_where_the_lasso_of_scikit_learn_does():
    draw = numpy.random.default_rng(0)
    x = draw.standard_normal((80, 10))
    y = x @ numpy.array([2, -1, 0.5, *[0] * 7]) + 3 + 0.1 * draw.standard_normal(80)
    lasso = Lasso(alpha=0.2, tol=1e-10).fit(x, y)  # of mean squared error / 2 + alpha |weights|
    weight, bias = torch.zeros(1, 10, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    options = Training(optimizer="sgd", momentum=0, weight_decay=0, l1=0.2)
    optimizer = make_optimizer([("w", weight), ("b", bias)], {"w": Rate(), "b": Rate()}, options, ())
    rows, wanted = torch.tensor(x), torch.tensor(y)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for _ in range(1000):
        error = (rows @ weight[0] + bias - wanted) / len(rows)
        weight.grad, bias.grad = (error @ rows)[None], error.sum()[None]
        optimizer.step()
    numpy.testing.assert_allclose(weight[0].numpy(), lasso.coef_, atol=1e-6)
    assert bias.item() == pytest.approx(lasso.intercept_, abs=1e-6)
    assert ((weight[0] == 0).numpy() == (lasso.coef_ == 0)).all() and (weight == 0).sum() >= 6


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_no_pull_acts_on_norms_and_biases(optimizer, runtime):
    state, _ = started("text-classification", runtime, optimizer=optimizer, weight_decay=0.1, l1=0.2)
    for group in state.optimizer.param_groups:
        pulled = {p.ndim > 1 for p in group["params"]}
        assert len(pulled) == 1 and (group["weight_decay"], group["l1"]) == ((0.1, 0.2) if pulled.pop() else (0.0, 0.0))
    learning = sum(p.numel() for p in state.model.parameters())
    assert sum(p.numel() for group in state.optimizer.param_groups for p in group["params"]) == learning


SCHEDULES_OF_TRANSFORMERS = {
    "constant": lambda o: transformers.get_constant_schedule(o),
    "linear": lambda o: transformers.get_linear_schedule_with_warmup(o, 0, 50),
    "cosine": lambda o: transformers.get_cosine_schedule_with_warmup(o, 0, 50),
    "wsd": lambda o: transformers.get_wsd_schedule(o, 0, 10, 50, decay_type="1-sqrt"),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_transformers(name):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs, rates = SCHEDULES_OF_TRANSFORMERS[name](optimizer), []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert [SCHEDULES[name](step / 50) for step in range(50)] == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize("task_name", ["image-classification", "text-classification"])
def test_muon_l1_and_an_average_go_on_to_the_bit_where_they_were_stopped(task_name, runtime):
    given = {"optimizer": "muon", "l1": 0.01, "average": 0.9, "schedule": "wsd"}
    whole, task = started(task_name, runtime, **given)
    list(train(whole, task.loss))
    first, _ = started(task_name, runtime, **given)
    for step in train(first, task.loss):
        if step.number == 4:
            saved = copy.deepcopy(first.to_dict())
            break
    second, _ = started(task_name, runtime, **given)
    second.from_dict(saved)
    list(train(second, task.loss))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    for name, value in whole.average.values.items():
        assert torch.equal(value, second.average.values[name]), name
