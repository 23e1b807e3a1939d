"""Every method of explanation against closed forms, captum called by hand, and a formula written out."""

import captum.attr
import numpy
import pytest
import torch
from torch import nn

from penjing.core.errors import OptionError
from penjing.core.find import find, names
from penjing.methods.explain import Asked

FOLDER = "methods.explain"
METHODS = names(FOLDER)
UNITS = torch.tensor([[0, 0, 1, 1, 2, 3]])  # of six numbers; the last frames


def apply(method, asked, **words):
    module = find(FOLDER, method)
    return module.apply(asked, module.Options(**words))


def linear():
    """A sum of six numbers with weights, in three units and a frame."""
    weights, seen = torch.tensor([1.0, -2, 3, 0.5, -1, 7]), torch.tensor([[2.0, 1, 1, 4, 3, 5]])
    nothing = torch.tensor([[1.0, 0, 0, 0, 1, 5]])
    truth = ((seen - nothing) * weights)[0]
    each = torch.tensor([truth[0] + truth[1], truth[2] + truth[3], truth[4]], dtype=torch.float64)
    return Asked(lambda inputs: inputs @ weights, seen, nothing, UNITS, 3), each


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_what_it_needs_and_whether_its_scores_add_up(method):
    module = find(FOLDER, method)
    assert module.NEEDS in ("answers", "gradients", "attention", "maps") and isinstance(module.COMPLETE, bool)
    assert module.__doc__ and any(letter.isdigit() for letter in module.__doc__)  # a source with its year


@pytest.mark.parametrize("method", ["integrated-gradients", "gradient-input", "occlusion", "shapley"])
def test_of_a_sum_every_unit_has_what_it_adds(method):
    asked, each = linear()
    torch.testing.assert_close(apply(method, asked), each)


def test_smooth_gradient_of_a_sum_is_the_same_whatever_the_noise():
    asked, each = linear()
    torch.testing.assert_close(apply("smooth-gradient", asked, noise=0.5), each, atol=1e-5, rtol=1e-5)


class Bent(nn.Module):
    """A small network with a bend in it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inside, self.outside = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, inputs):
        return self.outside(torch.tanh(self.inside(inputs)))[:, 0]


def bent():
    torch.manual_seed(1)
    model = Bent()
    return model, Asked(model, torch.randn(1, 6), torch.zeros(1, 6), UNITS, 3)


def test_gradients_agree_with_captum_called_by_hand():
    model, asked = bent()
    by_hand = captum.attr.IntegratedGradients(model).attribute(asked.free(), asked.nothing, n_steps=64)[0]
    wanted = torch.stack([by_hand[:2].sum(), by_hand[2:4].sum(), by_hand[4]]).double()
    torch.testing.assert_close(apply("integrated-gradients", asked), wanted, atol=1e-6, rtol=1e-6)
    by_hand = captum.attr.InputXGradient(model).attribute(asked.free())[0]  # from zero, as here
    wanted = torch.stack([by_hand[:2].sum(), by_hand[2:4].sum(), by_hand[4]]).double()
    torch.testing.assert_close(apply("gradient-input", asked), wanted, atol=1e-6, rtol=1e-6)


def test_shapley_values_of_three_units_are_the_mean_over_all_six_orders():
    import itertools

    model, asked = bent()

    def worth(units):
        there = torch.tensor([[unit in units for unit in range(3)]])
        return model(asked.partly(there)).item()

    exact = numpy.zeros(3)
    for order in itertools.permutations(range(3)):
        for i, unit in enumerate(order):
            exact[unit] += (worth(order[: i + 1]) - worth(order[:i])) / 6
    found = apply("shapley", asked, samples=3000).numpy()
    numpy.testing.assert_allclose(found, exact, atol=0.02)
    frame = model(asked.partly(torch.ones(1, 3, dtype=torch.bool))) - model(asked.partly(torch.zeros(1, 3, dtype=torch.bool)))
    assert found.sum() == pytest.approx(frame.item(), abs=1e-4)  # whatever the sample, they add up


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.maps, self.head = nn.Conv2d(2, 5, 3, padding=1), nn.Linear(5, 1)

    def forward(self, pixels):
        return self.head(torch.relu(self.maps(pixels)).mean((2, 3)))[:, 0]


def test_grad_cam_agrees_with_captum_called_by_hand():
    torch.manual_seed(1)
    model, seen = Convolved(), torch.randn(1, 2, 4, 4)
    cells = torch.arange(16).view(1, 1, 4, 4).expand(1, 2, 4, 4)
    asked = Asked(model, seen, torch.zeros_like(seen), cells, 16, maps=model.maps)
    by_hand = captum.attr.LayerGradCam(model, model.maps).attribute(seen, relu_attributions=True)
    torch.testing.assert_close(apply("grad-cam", asked), by_hand.flatten().double(), atol=1e-6, rtol=1e-6)


def test_attention_is_the_row_of_the_place_that_is_read_in_the_layer_and_head_that_are_named():
    weights = numpy.random.default_rng(0).dirichlet(numpy.ones(4), (3, 2, 4))
    units = torch.tensor([3, 0, 1, 1])  # a token of no unit, then two words, the second of two tokens
    asked = Asked(None, None, None, units, 3, attention=lambda: (torch.from_numpy(weights), units))
    row = weights[1, 1, 0]
    numpy.testing.assert_allclose(apply("attention", asked, layer=1, head=1).numpy(), [row[1], row[2] + row[3], 0])
    mean = weights[-1].mean(0)[0]
    numpy.testing.assert_allclose(apply("attention", asked).numpy(), [mean[1], mean[2] + mean[3], 0])
    with pytest.raises(OptionError, match="--layer cannot be 3"):
        apply("attention", asked, layer=3)
    with pytest.raises(OptionError, match="--head cannot be 2"):
        apply("attention", asked, head=2)
    onward = Asked(None, None, None, units, 3, attention=lambda: (torch.from_numpy(numpy.tril(weights)), units))
    last = weights[-1].mean(0)[3]  # what reads in one direction tells its answer at the end
    numpy.testing.assert_allclose(apply("attention", onward).numpy(), [last[1], last[2] + last[3], 0])


def test_rollout_is_the_product_of_the_layers_each_half_itself():
    draw = numpy.random.default_rng(0)
    weights = draw.dirichlet(numpy.ones(4), (3, 2, 4))  # 3 layers, 2 heads, 4 positions that look at 4
    units = torch.tensor([3, 0, 1, 2])  # a token of no unit stands before three words
    whole = numpy.eye(4)
    for layer in weights:
        whole = (layer.mean(0) / 2 + numpy.eye(4) / 2) @ whole
    asked = Asked(None, None, None, units, 3, attention=lambda: (torch.from_numpy(weights), units))
    numpy.testing.assert_allclose(apply("attention-rollout", asked).numpy(), whole[0, 1:])
