"""One label for each image.

Data     columns `image`, `label`, or a folder a label     Metric   accuracy (primary), macro_f1
Explain  logit of the predicted label, per pixel           Letters  B rows, K channels, H x W pixels, C labels
"""

import numpy
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC, LinearSVC
from transformers import AutoImageProcessor, AutoModelForImageClassification

from penjing.core.collate import stack
from penjing.core.image import Image
from penjing.tasks import OneAnswer

BASELINE_SIDE = 32  # pixels; what a linear or kernel model gains beyond it is little
SVC_MOST_ROWS = 10_000  # the kernel matrix of a support vector machine grows with the square of the rows


class ImageClassification(OneAnswer):
    auto_model, auto_processor, media = AutoModelForImageClassification, AutoImageProcessor, "image"
    columns = {"image": Image, "label": str}

    def encode(self, example, processor):
        image = example["image"].image().convert("L" if len(processor.image_mean) == 1 else "RGB")
        pixels = processor(image, return_tensors="pt")["pixel_values"][0]  # (K, H, W)
        return {"pixel_values": pixels, **self.numbered(example)}

    def collate(self, encoded, processor):
        return stack(encoded, targets=("label",))  # inputs (B, K, H, W), label (B,)

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
        return self.simplest(FunctionTransformer(_pixels), SVC() if rows <= SVC_MOST_ROWS else LinearSVC())

    def show(self, example):
        return {"image": example["image"].thumbnail_data_uri(96)}


def _pixels(examples):
    """(B, h * w * K) values in [0, 1], every image at the size and in the colours of the smallest common form."""
    images = [example["image"].image() for example in examples]
    size = images[0].size if max(images[0].size) <= BASELINE_SIDE else (BASELINE_SIDE, BASELINE_SIDE)
    alike = (image if image.size == size else image.resize(size) for image in images)
    return numpy.stack([numpy.asarray(image.convert("L"), dtype=numpy.float32).ravel() / 255 for image in alike])


TASK = ImageClassification
