"""One label for each image.

Data     columns `image`, `label`, or a folder a label     Metric   accuracy (primary), macro_f1
Explain  logit of the predicted label, per pixel           Letters  B rows, K channels, H x W pixels, C labels
"""

import functools
from typing import NamedTuple

import numpy
import PIL.Image
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

from penjing.core.collate import stack
from penjing.core.image import Image
from penjing.tasks import OneAnswer

BASELINE_SIDE = 32  # pixels; what a linear or kernel model gains beyond it is little
SVC_MOST_ROWS = 5_000  # the kernel matrix of a support vector machine grows with the square of the rows
RIDGE = 1000.0  # pull on the weights of standardised pixels; few of neighbouring ones say anything of their own


class ImageClassification(OneAnswer):
    auto_model, auto_processor, media = AutoModelForImageClassification, AutoImageProcessor, "image"
    columns = {"image": Image, "label": str}

    def encode(self, example, processor):
        """An image of the model's own size stays uint8, a quarter of the memory, until it is in a batch."""
        pixels, plain = _in_colours(example["image"].pixels(), len(processor.image_mean)), _plain(processor)
        if plain and pixels.shape[:2] == plain.size:
            values = torch.from_numpy(numpy.array(pixels.reshape(*plain.size, -1).transpose(2, 0, 1)))  # (K, H, W)
        else:
            values = _processed(processor, pixels)
        return {"pixel_values": values, **self.numbered(example)}

    def collate(self, encoded, processor):
        if len({entry["pixel_values"].dtype for entry in encoded}) > 1:
            encoded = [{**entry, "pixel_values": _floats(processor, entry["pixel_values"])} for entry in encoded]
        batch = stack(encoded, targets=("label",))  # inputs (B, K, H, W), label (B,)
        return batch._replace(inputs={"pixel_values": _floats(processor, batch.inputs["pixel_values"])})

    def facts(self, examples):
        """Size, channels, mean and deviation of up to 1,000 images, evenly drawn from the rows."""
        images = [examples[i]["image"].image() for i in numpy.linspace(0, len(examples) - 1, min(len(examples), 1000)).astype(int)]
        width, height = (int(numpy.median([image.size[side] for image in images])) for side in (0, 1))
        channels = 1 if all(image.mode == "L" for image in images) else 3
        mode = "L" if channels == 1 else "RGB"
        values = [numpy.asarray(image.convert(mode), numpy.float64).reshape(-1, channels) / 255 for image in images]
        mean = numpy.mean([v.mean(0) for v in values], axis=0)
        square = numpy.mean([(v**2).mean(0) for v in values], axis=0)
        deviation = numpy.sqrt(numpy.maximum(square - mean**2, 1e-4))
        return {"image_size": (height, width), "channels": channels, "mean": mean.tolist(), "std": deviation.tolist()}

    def baseline(self, rows):
        from sklearn.linear_model import RidgeClassifier
        from sklearn.preprocessing import FunctionTransformer, StandardScaler
        from sklearn.svm import SVC

        pixels = FunctionTransformer(_pixels)
        return self.simplest(pixels, SVC()) if rows <= SVC_MOST_ROWS else self.simplest(pixels, StandardScaler(), RidgeClassifier(RIDGE))

    def show(self, example):
        return {"image": example["image"].thumbnail_data_uri(96)}


class _Plain(NamedTuple):
    """What a processor does to images of one size, where that is no more than to scale and to shift their values.

    size          (H, W)
    scale, shift  (K, 1, 1) float32
    """

    size: tuple[int, int]
    scale: torch.Tensor
    shift: torch.Tensor


@functools.lru_cache(maxsize=8)
def _plain(processor):
    """The size of image that this processor leaves as it is but for the values; None where there is none. Found by trying.

    A call of it takes 0.25 ms on 32 x 32 pixels, most of it for checks of its options; in a batch of 500 these pixels take 0.005.
    """
    shape = () if len(processor.image_mean) == 1 else (3,)
    size = tuple(_processed(processor, numpy.zeros((64, 64, *shape), numpy.uint8)).shape[1:])
    noise = numpy.random.default_rng(0).integers(0, 256, (*size, *shape), dtype=numpy.uint8)
    black, white, seen = (_processed(processor, pixels) for pixels in (0 * noise, 0 * noise + 255, noise))
    shift, scale = black[:, :1, :1], (white - black)[:, :1, :1] / 255
    known = torch.from_numpy(noise.reshape(*size, -1).transpose(2, 0, 1))
    alike = seen.shape == known.shape and torch.allclose(known * scale + shift, seen, atol=1e-5)
    return _Plain(size, scale, shift) if alike else None


def _processed(processor, pixels):
    """float32 (K, H, W) as the processor gives it."""
    return processor(PIL.Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]


def _floats(processor, values):
    """uint8 (..., K, H, W) of the processor's own size as the model reads them; floats are so already."""
    if values.dtype != torch.uint8:
        return values
    plain = _plain(processor)
    return values.float().mul_(plain.scale).add_(plain.shift)


def _in_colours(pixels, channels):
    """(H, W) for one channel, (H, W, 3) for three."""
    if pixels.ndim == (2 if channels == 1 else 3):
        return pixels
    return numpy.asarray(PIL.Image.fromarray(pixels).convert("L" if channels == 1 else "RGB"))


def _pixels(examples):
    """(B, h * w * K) values in [0, 1], every image at the size and in the colours of the smallest common form."""
    images = [example["image"].image() for example in examples]
    size = images[0].size if max(images[0].size) <= BASELINE_SIDE else (BASELINE_SIDE, BASELINE_SIDE)
    alike = (image if image.size == size else image.resize(size) for image in images)
    return numpy.stack([numpy.asarray(image.convert("L"), dtype=numpy.float32).ravel() / 255 for image in alike])


TASK = ImageClassification
