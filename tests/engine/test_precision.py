"""bf16 images of fp32 weights: what learns is fp32, what is measured is fp32, and the curve is that of fp32 but for rounding."""

import copy

import pytest
import torch

import penjing
from penjing.core.errors import OptionError
from penjing.engine.precision import LossScale, Weights
from penjing.engine.train import Share, gradients, train
from tests.engine.test_train import started


def test_matrices_and_their_biases_are_bf16_in_a_step_while_norms_and_tables_stay_fp32(runtime):
    state, task = started("text-classification", runtime, precision="bf16")
    dtypes = {name: parameter.dtype for name, parameter in state.model.named_parameters()}
    assert dtypes["bert.encoder.layer.0.attention.self.query.weight"] == dtypes["classifier.weight"] == torch.bfloat16
    assert dtypes["classifier.bias"] == torch.bfloat16
    assert dtypes["bert.embeddings.word_embeddings.weight"] == dtypes["bert.embeddings.LayerNorm.weight"] == torch.float32
    for _ in train(state, task.loss):
        pass
    assert all(weight.dtype == torch.float32 for weight in state.weights.learnt.values())
    with state.settled():
        assert {p.dtype for p in state.model.parameters()} == {torch.float32}
        settled = copy.deepcopy(state.model.state_dict())
    for name, master in state.weights.masters.items():
        assert torch.equal(state.model.get_parameter(name), master.bfloat16()) and torch.equal(settled[name], master)
    state.release()
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}
    batch = state.encoded.batch(range(4))
    with torch.autocast("cpu", torch.bfloat16):  # no hook is left behind
        assert state.model.bert.embeddings.word_embeddings(batch.inputs["input_ids"]).dtype == torch.float32


@pytest.mark.parametrize("task_name", ["text-classification", "image-classification"])
def test_gradients_in_bf16_point_where_those_in_fp32_do(task_name, runtime):
    found = []
    for precision in ("fp32", "bf16"):
        state, task = started(task_name, runtime, precision=precision)
        state.model.eval()
        gradients(state, Share([], [state.encoded.batch(range(8))], [True]), task.loss)
        found.append(torch.cat([weight.grad.flatten() for weight in state.weights.learnt.values()]))
    assert torch.cosine_similarity(*found, dim=0) > 0.999 and found[1].norm() / found[0].norm() == pytest.approx(1, abs=0.02)


def test_a_run_in_bf16_goes_on_to_the_same_weights(runtime):
    whole, task = started("text-classification", runtime, precision="bf16")
    list(train(whole, task.loss))
    first, _ = started("text-classification", runtime, precision="bf16")
    for step in train(first, task.loss):
        if step.number == 4:
            saved = copy.deepcopy(first.to_dict())
            break
    second, _ = started("text-classification", runtime, precision="bf16")
    second.from_dict(saved)
    list(train(second, task.loss))
    for name, weight in whole.weights.learnt.items():
        assert torch.equal(weight, second.weights.learnt[name]), name


def test_weights_that_two_layers_share_stay_shared():
    model = torch.nn.ModuleDict(
        {"table": torch.nn.Embedding(10, 4), "in": torch.nn.Linear(4, 4), "out": torch.nn.Linear(4, 10, bias=False)}
    )
    model["out"].weight = model["table"].weight
    weights = Weights(model, {name for name, _ in model.named_parameters()}, "bf16")
    assert model["out"].weight is model["table"].weight and model["out"].weight.dtype == torch.float32
    assert sorted(weights.masters) == ["in.bias", "in.weight"] and sorted(weights.learnt) == ["in.bias", "in.weight", "table.weight"]


def test_small_numbers_are_not_lost_in_a_sum_of_steps():
    """A bf16 weight of 1 would not feel a step of 1e-4; the fp32 one behind it does."""
    model = torch.nn.Linear(2, 2)
    torch.nn.init.ones_(model.weight)
    weights = Weights(model, {"weight"}, "bf16")
    for _ in range(100):
        weights.learnt["weight"].sub_(1e-4)
        weights.show()
    assert model.weight[0, 0].item() == pytest.approx(0.99, abs=0.004)
    weights.release()
    assert model.weight[0, 0].item() == pytest.approx(0.99, abs=1e-5)


def test_a_scale_falls_when_a_gradient_overflows_and_rises_after_many_good_steps():
    scale = LossScale("fp16")
    assert scale.skips(torch.tensor(float("inf"))) and scale.value == 32768
    assert not any(scale.skips(torch.tensor(1.0)) for _ in range(2000)) and scale.value == 65536
    other = LossScale("fp16")
    other.load_state_dict(scale.state_dict())
    assert other.value == 65536
    assert not LossScale("bf16").skips(torch.tensor(float("nan"))), "an error, where a smaller scale mends nothing"


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_a_processor_has_no_fp16_and_no_tf32(precision, reviews, tmp_path):
    words = {"task": "text-classification", "out": tmp_path / "out", "precision": precision}
    with pytest.raises(OptionError, match=f"--precision cannot be {precision} on a processor(.|\n)*bf16"):
        penjing.finetune("new:bert-tiny", reviews, **words)
