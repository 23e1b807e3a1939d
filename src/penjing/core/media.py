"""An image that is decoded when asked for, wherever its bytes lie: a file, a cell of a table, a zip archive, an array."""

import base64
import builtins
import io
import os
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from PIL import Image, ImageOps

from penjing.core.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""Files that count as images when a folder is read; upper case too."""


class Member(NamedTuple):
    """A file inside a zip archive; it is read where it lies, nothing is extracted."""

    archive: Path
    name: str


@dataclass(frozen=True, eq=False)
class Media:
    """One image, not decoded yet.

    source    a file, encoded bytes, a zip member, or uint8 pixels (H, W) or (H, W, 3)
    place     what errors call it: "reviews.csv, row 7"
    """

    source: Path | bytes | Member | numpy.ndarray = field(repr=False)
    place: str = "image"

    @classmethod
    def of(cls, folder: Path, value: Any, place: str) -> "Media":
        """The image of a table's cell: bytes, {"bytes", "path"} as the Hugging Face hub writes them, or a path relative to `folder`."""
        if isinstance(value, dict):
            value = value["bytes"] if value["bytes"] is not None else value["path"]
        return cls(value if isinstance(value, bytes) else folder / value, place)

    def bytes(self) -> bytes:
        """The encoded image; pixels are encoded as PNG.

        Raises DataError where the file is missing or its archive damaged.
        """
        try:
            if isinstance(self.source, Path):
                return self.source.read_bytes()
            if isinstance(self.source, Member):
                return archive(self.source.archive).read(self.source.name)
        except (OSError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self.place}: cannot read the image ({error})", fix="put the file in its place or take out the row") from None
        return png(Image.fromarray(self.source)) if isinstance(self.source, numpy.ndarray) else self.source

    def image(self) -> Image.Image:
        """The decoded image, upright as its EXIF entry says, mode L (grey) or RGB; transparency lies on white.

        Raises DataError where it cannot be decoded, or is so large that it may be an attack.
        """
        if isinstance(self.source, numpy.ndarray):
            return Image.fromarray(self.source)
        content = self.bytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Pillow's on odd metadata; the pixels are sound
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(content)) as opened:
                    return _plain(ImageOps.exif_transpose(opened))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            limit = f"at most {Image.MAX_IMAGE_PIXELS:,} pixels"
            raise DataError(f"{self.place}: the image is too large ({error})", wanted=limit, fix="scale it down first") from None
        except Exception as error:  # Pillow's plug-ins raise whatever their parsers raise: SyntaxError, struct.error, ValueError ...
            start = f"{len(content)} bytes that begin with {content[:8]!r}"
            raise DataError(
                f"{self.place}: damaged image ({error or type(error).__name__}; {start})",
                wanted="a complete PNG, JPEG or other image that Pillow reads",
                fix="replace the image or take out the row",
            ) from None

    def key(self) -> builtins.bytes:
        """What the image shows, as bytes: equal for the same pixels whatever their file format."""
        image = self.image()
        return f"{image.mode} {image.width}x{image.height} ".encode() + image.tobytes()

    def thumbnail_data_uri(self, size: int) -> str:
        """The image as a PNG data URI whose longer side is `size` pixels; small ones are enlarged without smoothing."""
        image = self.image()
        longer = max(image.size)
        target = (max(1, round(image.width * size / longer)), max(1, round(image.height * size / longer)))
        how = Image.Resampling.NEAREST if longer < size else Image.Resampling.LANCZOS
        return "data:image/png;base64," + base64.b64encode(png(image.resize(target, how))).decode("ascii")


def archive(path: Path) -> zipfile.ZipFile:
    """An opened zip archive, shared within this process: its table of contents is parsed once."""
    return _archive(path, os.getpid())  # by process: a fork would share, and move, one file position


@lru_cache(maxsize=8)
def _archive(path: Path, _process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def _plain(image: Image.Image) -> Image.Image:
    """Mode L or RGB, loaded."""
    if image.has_transparency_data:
        grey = image.mode in ("LA", "La", "L", "1")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("L" if grey else "RGB")
    grey = image.mode in ("L", "1", "I", "F") or image.mode.startswith("I;16")
    if image.mode.startswith("I;16"):  # 16 bits a pixel: keep the upper 8
        return Image.fromarray((numpy.asarray(image) >> 8).astype(numpy.uint8))
    return image.convert("L" if grey else "RGB")
