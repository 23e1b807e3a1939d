"""Residual networks for small images: the CIFAR layout, 3x3 stem, stages that halve the map, global average pool.

He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", section 4.2. Departures: the shortcut into a
smaller map is a 1x1 convolution (their option B), so that every channel has weights of its own; widths are free, for
each stream and inside each block. For sounds the log-mel (frames, mel bins) is an image of one channel.

Letters   N images, C channels, H W height and width of an image, h w of a map, L labels
"""

from dataclasses import field
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForAudioClassification, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutput

MEDIA = ("image", "sound")
SIZES: dict[str, dict[str, Any]] = {
    "resnet-tiny": {"widths": [8, 16, 32], "depths": [1, 1, 1]},
    "resnet-mini": {"widths": [36, 72, 144], "depths": [1, 1, 1]},
    "resnet-small": {"widths": [64, 128, 256], "depths": [2, 2, 2]},
}


class ResNetConfig(PretrainedConfig):
    """Shape of the network.

    widths        channels of the residual stream, for each stage
    depths        blocks, for each stage; each stage but the first begins with stride 2
    inner         channels between the two convolutions, for each block; the width of its stage where the list is empty
    num_channels  of the image
    image_size    [H, W] it was made for; the network itself takes any
    """

    model_type = "penjing_resnet"

    widths: list[int] = field(default_factory=lambda: [16, 32, 64])
    depths: list[int] = field(default_factory=lambda: [3, 3, 3])
    inner: list[int] = field(default_factory=list)
    num_channels: int = 3
    image_size: list[int] = field(default_factory=lambda: [32, 32])

    def __post_init__(self, **kwargs):
        if not self.inner:
            self.inner = [width for width, depth in zip(self.widths, self.depths) for _ in range(depth)]
        super().__post_init__(**kwargs)

    def stages(self) -> list[int]:
        """The stage of each block."""
        return [stage for stage, depth in enumerate(self.depths) for _ in range(depth)]


class ConvNorm(nn.Module):
    """A convolution directly followed by its batch norm, which inference can fold into it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(maps))


class Block(nn.Module):
    """Two convolutions beside a shortcut; the shortcut is learnt where a stage begins."""

    def __init__(self, inputs: int, inner: int, outputs: int, begins: bool):
        super().__init__()
        stride = 2 if begins else 1
        self.first = ConvNorm(inputs, inner, 3, stride)
        self.second = ConvNorm(inner, outputs, 3)
        self.shortcut = ConvNorm(inputs, outputs, 1, stride) if begins else nn.Identity()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(N, inputs, h, w) to (N, outputs, h, w), halved where a stage begins."""
        return torch.relu(self.second(torch.relu(self.first(maps))) + self.shortcut(maps))


class ResNet(PreTrainedModel):
    """The network, whatever it looks at."""

    config_class = ResNetConfig

    def __init__(self, config: ResNetConfig):
        super().__init__(config)
        stages, widths = config.stages(), config.widths
        self.stem = ConvNorm(config.num_channels, widths[0], 3)
        self.blocks = nn.ModuleList(
            Block(widths[before], inner, widths[stage], begins=stage != before)
            for before, stage, inner in zip([0, *stages], stages, config.inner)
        )
        self.head = nn.Linear(widths[-1], config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):  # the default N(0, 0.02) starves a convolutional network
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def look(self, images: torch.Tensor) -> ImageClassifierOutput:
        """Logits (N, L) of images (N, C, H, W)."""
        maps = torch.relu(self.stem(images))
        for block in self.blocks:
            maps = block(maps)
        return ImageClassifierOutput(logits=self.head(maps.mean((2, 3))))


class ResNetForImageClassification(ResNet):
    """Logits (N, L) of images (N, C, H, W)."""

    main_input_name = "pixel_values"

    def forward(self, pixel_values: torch.Tensor) -> ImageClassifierOutput:
        return self.look(pixel_values)


class ResNetForAudioClassification(ResNet):
    """Logits (N, L) of log-mels (N, H frames, W mel bins)."""

    main_input_name = "input_values"

    def forward(self, input_values: torch.Tensor) -> ImageClassifierOutput:
        return self.look(input_values[:, None])


def config(size: str, facts: dict) -> ResNetConfig:
    """The config of a fresh network for these data; reads `image_size`, `channels`."""
    return ResNetConfig(
        **SIZES[size],
        num_channels=facts["channels"],
        image_size=list(facts["image_size"]),
    )


def register() -> None:
    """Let the Auto classes build and save this family; may be called again."""
    AutoConfig.register(ResNetConfig.model_type, ResNetConfig, exist_ok=True)
    AutoModelForImageClassification.register(ResNetConfig, ResNetForImageClassification, exist_ok=True)
    AutoModelForAudioClassification.register(ResNetConfig, ResNetForAudioClassification, exist_ok=True)
    ResNetConfig.register_for_auto_class()
    ResNetForImageClassification.register_for_auto_class("AutoModelForImageClassification")
    ResNetForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")


def channel_groups(model: ResNet) -> list[dict]:
    """A group for the residual stream of each stage and for the inside of each block, as keywords of ChannelGroup.

    A channel of a stream is written by every block of its stage and by what begins the stage, so these change together.
    """
    stages = model.config.stages()
    streams: list[dict[str, list[str]]] = [{"writers": [], "readers": []} for _ in model.config.widths]
    streams[0]["writers"].append("stem")
    streams[-1]["readers"].append("head.weight")
    groups = []
    for number, (before, stage) in enumerate(zip([0, *stages], stages)):
        block = f"blocks.{number}"
        streams[before]["readers"].append(f"{block}.first.conv.weight")
        streams[stage]["writers"].append(f"{block}.second")
        if stage != before:
            streams[before]["readers"].append(f"{block}.shortcut.conv.weight")
            streams[stage]["writers"].append(f"{block}.shortcut")
        groups.append(_group(("inner", number), [f"{block}.first"], [f"{block}.second.conv.weight"]))
    return groups + [_group(("widths", stage), **stream) for stage, stream in enumerate(streams)]


def _group(setting: tuple[str, int], writers: list[str], readers: list[str]) -> dict:
    """Channels that the ConvNorms at `writers` put out and the weights `readers` take in (their dimension 1)."""
    counted = ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    outputs = [(f"{writer}.{name}", 0) for writer in writers for name in counted]
    return {
        "setting": setting,
        "tensors": tuple(outputs + [(reader, 1) for reader in readers]),
        "scores": tuple(f"{writer}.norm.weight" for writer in writers),
    }
