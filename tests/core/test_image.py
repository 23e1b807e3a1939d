"""Images come out upright, grey or in colour, whatever file they came in."""

import base64
import io

import numpy
import PIL.Image
import pytest

from penjing.core.errors import DataError
from penjing.core.image import Image


def encoded(image, kind="png", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


@pytest.mark.parametrize(
    "mode, becomes", [("L", "L"), ("1", "L"), ("I;16", "L"), ("RGB", "RGB"), ("P", "RGB"), ("RGBA", "RGB"), ("LA", "L")]
)
def test_images_are_grey_or_in_colour(mode, becomes):
    image = Image(encoded(PIL.Image.new(mode, (3, 2)))).image()
    assert (image.mode, image.size) == (becomes, (3, 2))


def test_transparent_pixels_lie_on_white():
    assert Image(encoded(PIL.Image.new("RGBA", (1, 1), (0, 0, 0, 0)))).image().getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_keep_their_upper_eight():
    image = PIL.Image.fromarray(numpy.array([[0, 256, 65535]], numpy.uint16))
    assert numpy.asarray(Image(encoded(image)).image()).tolist() == [[0, 1, 255]]


def test_the_exif_orientation_is_applied():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show the stored image turned right by a quarter
    stored = PIL.Image.new("RGB", (4, 2))
    assert Image(encoded(stored, "jpeg", exif=exif)).image().size == (2, 4)


def test_the_key_is_of_pixels_not_of_files():
    image = PIL.Image.effect_noise((9, 5), 80).convert("RGB")
    assert Image(encoded(image)).key() == Image(encoded(image, "bmp")).key() == Image(numpy.asarray(image)).key()
    assert Image(encoded(image.transpose(PIL.Image.Transpose.ROTATE_180))).key() != Image(encoded(image)).key()
    assert Image(numpy.zeros((2, 3), numpy.uint8)).key() != Image(numpy.zeros((3, 2), numpy.uint8)).key()


def test_a_thumbnail_enlarges_pixels_without_smoothing():
    media = Image(numpy.array([[0, 255]], numpy.uint8))
    head, data = media.thumbnail_data_uri(8).split(",")
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == "data:image/png;base64" and numpy.asarray(shown).tolist() == [[0] * 4 + [255] * 4] * 4


def test_a_thumbnail_of_a_large_image_is_small():
    data = Image(numpy.zeros((300, 600, 3), numpy.uint8)).thumbnail_data_uri(96).split(",")[1]
    assert PIL.Image.open(io.BytesIO(base64.b64decode(data))).size == (96, 48)


def test_a_file_that_is_gone_is_an_error_with_its_place(tmp_path):
    with pytest.raises(DataError, match=r"a.csv, row 7: cannot read the image(.|\n)*take out the row"):
        Image(tmp_path / "gone.png", "a.csv, row 7").image()
