"""The slopes that training descends are those of the loss: every family, by central differences in float64."""

import pytest
import torch

from penjing.core.find import find, names
from penjing.engine.load import register_families
from tests.families.test_every_family import MEDIA, fresh, inputs_of, logits_of

WEIGHTS = 20
ALL_IN_FP64 = 1e-6, {"rel": 1e-4, "abs": 1e-8}  # step, and how near the slopes must be
SOME_IN_FP32 = 1e-3, {"rel": 2e-2, "abs": 1e-3}  # where transformers computes norms or rotary positions so, whatever the model holds
CLOSENESS = dict.fromkeys(("llama", "mixtral", "modernbert", "t5"), SOME_IN_FP32)


@pytest.mark.parametrize(("family", "media"), MEDIA)
def test_slopes_of_every_family_are_those_of_finite_differences(family, media):
    register_families()
    torch.manual_seed(0)
    model = fresh(family, next(iter(find("families", family).SIZES)), media).double().eval()
    if family == "mixtral":
        model.set_experts_implementation("eager")  # the product of all experts at once knows no fp64
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in inputs_of(model, media).items()}

    def loss():
        return torch.nn.functional.cross_entropy(logits_of(model, inputs), torch.tensor([0, 2]))

    loss().backward()
    size, near = CLOSENESS.get(family, ALL_IN_FP64)
    draw, parameters = torch.Generator().manual_seed(1), [p for p in model.parameters() if p.requires_grad]
    found, wanted = [], []
    for number in torch.randint(len(parameters), (WEIGHTS,), generator=draw).tolist():
        flat, slopes = parameters[number].data.view(-1), parameters[number].grad.view(-1)
        place = int(slopes.abs().argmax())  # where it is steep: no slope that is zero for want of an input
        own, ends = flat[place].item(), []
        for step in (size, -size):
            flat[place] = own + step
            ends.append(loss().item())
        flat[place] = own
        found.append(slopes[place].item())
        wanted.append((ends[0] - ends[1]) / (2 * size))
    assert found == pytest.approx(wanted, **near)
    assert max(map(abs, found)) > 1e-3


def test_no_family_is_left_out():
    assert {family for family, _ in MEDIA} == set(names("families"))
