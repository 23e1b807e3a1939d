"""Images come out upright, grey or in colour, whatever file they came in."""

import base64
import io

import numpy
import pytest
from PIL import Image

from penjing.core.errors import DataError
from penjing.core.media import Media


def encoded(image, kind="png", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


@pytest.mark.parametrize(
    "mode, becomes", [("L", "L"), ("1", "L"), ("I;16", "L"), ("RGB", "RGB"), ("P", "RGB"), ("RGBA", "RGB"), ("LA", "L")]
)
def test_images_are_grey_or_in_colour(mode, becomes):
    image = Media(encoded(Image.new(mode, (3, 2)))).image()
    assert (image.mode, image.size) == (becomes, (3, 2))


def test_transparent_pixels_lie_on_white():
    assert Media(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 0)))).image().getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_keep_their_upper_eight():
    image = Image.fromarray(numpy.array([[0, 256, 65535]], numpy.uint16))
    assert numpy.asarray(Media(encoded(image)).image()).tolist() == [[0, 1, 255]]


def test_the_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show the stored image turned right by a quarter
    stored = Image.new("RGB", (4, 2))
    assert Media(encoded(stored, "jpeg", exif=exif)).image().size == (2, 4)


def test_the_key_is_of_pixels_not_of_files():
    image = Image.effect_noise((9, 5), 80).convert("RGB")
    assert Media(encoded(image)).key() == Media(encoded(image, "bmp")).key() == Media(numpy.asarray(image)).key()
    assert Media(encoded(image.transpose(Image.Transpose.ROTATE_180))).key() != Media(encoded(image)).key()
    assert Media(numpy.zeros((2, 3), numpy.uint8)).key() != Media(numpy.zeros((3, 2), numpy.uint8)).key()


def test_a_thumbnail_enlarges_pixels_without_smoothing():
    media = Media(numpy.array([[0, 255]], numpy.uint8))
    head, data = media.thumbnail_data_uri(8).split(",")
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == "data:image/png;base64" and numpy.asarray(shown).tolist() == [[0] * 4 + [255] * 4] * 4


def test_a_thumbnail_of_a_large_image_is_small():
    data = Media(numpy.zeros((300, 600, 3), numpy.uint8)).thumbnail_data_uri(96).split(",")[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (96, 48)


def test_a_file_that_is_gone_is_an_error_with_its_place(tmp_path):
    with pytest.raises(DataError, match=r"a.csv, row 7: cannot read the image(.|\n)*take out the row"):
        Media(tmp_path / "gone.png", "a.csv, row 7").image()
