"""Channels that a family declares as one can be cut out as one."""

import copy

import pytest
import torch
from torch import nn

from penjing.core.contracts import ChannelGroup
from penjing.engine.watch import rows_interact
from penjing.families import cnn, resnet

LABELS = {"id2label": {0: "a", 1: "b", 2: "c"}}
PLAIN = cnn.CNNConfig(widths=[6, 8], num_channels=2, image_size=[10, 7], **LABELS)
BUILD = {
    "resnet": lambda: resnet.ResNetForImageClassification(
        resnet.ResNetConfig(widths=[6, 8, 10], depths=[2, 1, 2], inner=[5, 6, 7, 8, 9], num_channels=2, **LABELS)
    ),
    "cnn": lambda: cnn.CNNForImageClassification(PLAIN),
}
FAMILY = {"resnet": resnet, "cnn": cnn}
IMAGES = torch.randn(4, 2, 10, 7, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=BUILD)
def family(request):
    return request.param


@pytest.fixture
def model(family):
    """A network whose batch norms have seen data and been trained: nothing is 0 or 1 by luck."""
    torch.manual_seed(0)
    model = BUILD[family]()
    for norm in filter(lambda m: isinstance(m, nn.BatchNorm2d), model.modules()):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def groups(family, model):
    return [ChannelGroup(**group) for group in FAMILY[family].channel_groups(model)]


def cut(model, groups, keep):
    """The network with only the channels `keep[setting]` of each group; loads strictly or raises."""
    state, config = dict(model.state_dict()), copy.deepcopy(model.config)
    for group in groups:
        kept, (entry, index) = keep[group.setting], group.setting
        getattr(config, entry)[index] = len(kept)
        for name, dim in group.tensors:
            times = group.repeat.get(name, 1)
            places = (kept[:, None] * times + torch.arange(times)).flatten()
            state[name] = state[name].index_select(dim, places)
    small = type(model)(config)
    small.load_state_dict(state, strict=True)
    return small.eval()


def widths(model, group):
    entry, index = group.setting
    return getattr(model.config, entry)[index]


def test_every_width_in_the_config_has_one_group(model, groups):
    entries = [name for name in ("widths", "inner") if name in model.config.to_dict()]
    wanted = {(name, i) for name in entries for i in range(len(model.config.to_dict()[name]))}
    assert {group.setting for group in groups} == wanted
    assert len(groups) == len(wanted)


def test_every_tensor_of_a_group_counts_its_channels(model, groups):
    state = model.state_dict()
    for group in groups:
        width = widths(model, group)
        for name, dim in group.tensors:
            assert state[name].shape[dim] == width * group.repeat.get(name, 1), name
        assert group.scores
        assert all(state[name].shape[0] == width for name in group.scores)


def test_random_channels_cut_out_leave_a_network_that_loads_strictly_and_answers(model, groups):
    draw = torch.Generator().manual_seed(2)
    keep = {g.setting: torch.randperm(widths(model, g), generator=draw)[:3].sort().values for g in groups}
    small = cut(model, groups, keep)
    assert small(IMAGES).logits.shape == (4, 3)
    assert small.num_parameters() < model.num_parameters() / 2


def test_channels_that_batch_norm_silences_can_be_cut_without_a_trace(model, groups):
    """Weight and bias zero in every norm that writes a channel: it is zero, so its readers may forget it."""
    keep, state = {}, model.state_dict()
    for group in groups:
        kept = torch.arange(widths(model, group)) % 3 != 1
        for name in group.scores:
            for written in (name, name.removesuffix("weight") + "bias"):
                state[written][~kept] = 0
        keep[group.setting] = kept.nonzero()[:, 0]
    small = cut(model, groups, keep)
    assert small.num_parameters() < model.num_parameters()
    torch.testing.assert_close(small(IMAGES).logits, model(IMAGES).logits, atol=1e-6, rtol=1e-6)


def test_channels_that_speak_are_missed(model, groups):
    """The test above has teeth: the same cut without the silence changes the answers."""
    keep = {g.setting: (torch.arange(widths(model, g)) % 3 != 1).nonzero()[:, 0] for g in groups}
    assert (cut(model, groups, keep)(IMAGES).logits - model(IMAGES).logits).abs().max() > 1e-2


def test_every_batch_norm_folds_into_the_convolution_before_it(model):
    """As torch folds them: same answers, no norm left to compute."""
    expected = model(IMAGES).logits
    for part in [m for m in model.modules() if "norm" in m._modules]:
        part.conv, part.norm = nn.utils.fusion.fuse_conv_bn_eval(part.conv, part.norm), nn.Identity()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    torch.testing.assert_close(model(IMAGES).logits, expected, atol=1e-5, rtol=1e-5)


def test_rows_interact_in_training_and_never_in_use(model):
    other = IMAGES.clone()
    other[1:] += 1
    assert rows_interact(model)
    torch.testing.assert_close(model(other).logits[0], model(IMAGES).logits[0])
    model.train()
    assert (model(other).logits[0] - model(IMAGES).logits[0]).abs().max() > 1e-3


def test_a_fresh_network_keeps_its_signal(family):
    """He et al. 2015, section 2.2: a layer drawn with variance 2 / fan keeps the size of what passes."""
    torch.manual_seed(0)
    convolutions = [m for m in BUILD[family]().modules() if isinstance(m, nn.Conv2d)]
    fans = torch.tensor([m.out_channels * m.kernel_size[0] ** 2 for m in convolutions])
    spread = torch.tensor([m.weight.std().item() for m in convolutions])
    torch.testing.assert_close(spread, (2 / fans).sqrt(), rtol=0.35, atol=0)
