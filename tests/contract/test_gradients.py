"""The slopes that training descends are those of the loss: every family, by central differences in float64."""

import pytest
import torch

from penjing.core.find import find, names
from penjing.engine.load import register_families
from tests.families.test_every_family import INPUTS, MEDIA, fresh

WEIGHTS, STEP = 20, 1e-6


@pytest.mark.parametrize(("family", "media"), MEDIA)
def test_slopes_of_every_family_are_those_of_finite_differences(family, media):
    register_families()
    torch.manual_seed(0)
    model = fresh(family, next(iter(find("families", family).SIZES)), media).double().eval()
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in INPUTS[media]().items()}

    def loss():
        return torch.nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([0, 2]))

    loss().backward()
    draw, parameters = torch.Generator().manual_seed(1), list(model.parameters())
    found, wanted = [], []
    for number in torch.randint(len(parameters), (WEIGHTS,), generator=draw).tolist():
        flat, slopes = parameters[number].data.view(-1), parameters[number].grad.view(-1)
        place = int(slopes.abs().argmax())  # where it is steep: no slope that is zero for want of an input
        own, ends = flat[place].item(), []
        for step in (STEP, -STEP):
            flat[place] = own + step
            ends.append(loss().item())
        flat[place] = own
        found.append(slopes[place].item())
        wanted.append((ends[0] - ends[1]) / (2 * STEP))
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-8)
    assert max(map(abs, found)) > 1e-3


def test_no_family_is_left_out():
    assert {family for family, _ in MEDIA} == set(names("families"))
