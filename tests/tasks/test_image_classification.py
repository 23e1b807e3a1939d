"""Images reach the model as the processors of transformers give them, whether one by one or a batch at a time."""

import numpy
import pytest
import torch
from transformers import ConvNextImageProcessorPil, ViTImageProcessorPil

from penjing.core.collate import ROW
from penjing.core.find import find
from penjing.core.image import Image

TASK = find("tasks", "image-classification").TASK
MEAN, STD = [0.1, 0.5, 0.7], [0.2, 0.3, 0.4]
PROCESSORS = {
    "coloured": ViTImageProcessorPil(size={"height": 32, "width": 24}, image_mean=MEAN, image_std=STD, do_convert_rgb=True),
    "grey": ViTImageProcessorPil(size={"height": 32, "width": 24}, image_mean=[0.2], image_std=[0.3], do_convert_rgb=False),
    "of any size": ViTImageProcessorPil(do_resize=False, image_mean=MEAN, image_std=STD),
    "cut out of a larger one": ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875, image_mean=MEAN, image_std=STD),
}
SHAPES = [(32, 24), (32, 24, 3), (32, 32, 3), (64, 64), (64, 64, 3), (50, 70, 3)]


def images(shapes):
    draw = numpy.random.default_rng(0)
    return [Image(draw.integers(0, 256, shape, dtype=numpy.uint8), f"image {shape}") for shape in shapes]


def encoded(processor, shapes):
    return [{**TASK(["x"]).encode({"image": image}, processor), ROW: i} for i, image in enumerate(images(shapes))]


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("shapes", [[shape] for shape in SHAPES] + [SHAPES])
def test_a_batch_holds_what_the_processor_gives_for_each(name, shapes):
    processor = PROCESSORS[name]
    if name == "of any size" and len(shapes) > 1:
        pytest.skip("such images cannot be stacked")
    mode = "L" if name == "grey" else "RGB"
    wanted = [processor(image.image().convert(mode), return_tensors="pt")["pixel_values"][0] for image in images(shapes)]
    found = TASK(["x"]).collate(encoded(processor, shapes), processor).inputs["pixel_values"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.stack(wanted), atol=2e-6, rtol=1e-6)


def test_an_image_of_the_models_own_size_waits_as_bytes():
    """A quarter of the memory of floats, so that four times as many rows are kept between epochs."""
    own, other, grey = encoded(PROCESSORS["coloured"], [(32, 24, 3), (50, 70, 3), (32, 24)])
    assert own["pixel_values"].dtype == grey["pixel_values"].dtype == torch.uint8 and other["pixel_values"].dtype == torch.float32
    assert encoded(PROCESSORS["cut out of a larger one"], [(32, 32, 3)])[0]["pixel_values"].dtype == torch.float32
