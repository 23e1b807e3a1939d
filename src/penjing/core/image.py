"""An image that is decoded when asked for."""

import base64
import builtins
import io
import warnings
from dataclasses import dataclass

import numpy
import PIL.Image
import PIL.ImageOps

from penjing.core.errors import DataError
from penjing.core.media import Media


@dataclass(frozen=True, eq=False)
class Image(Media):
    """One image, not decoded yet; decoded values are uint8 pixels (H, W) or (H, W, 3)."""

    article, noun, column = "an", "image", "image"
    suffixes = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

    def image(self) -> PIL.Image.Image:
        """The decoded image, upright as its EXIF entry says, mode L (grey) or RGB; transparency lies on white.

        Raises DataError where it cannot be decoded, or is so large that it may be an attack.
        """
        if isinstance(self.source, numpy.ndarray):
            return PIL.Image.fromarray(self.source)
        content = self.bytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Pillow's on odd metadata; the pixels are sound
                warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
                with PIL.Image.open(io.BytesIO(content)) as opened:
                    return _plain(PIL.ImageOps.exif_transpose(opened))
        except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as error:
            limit = f"at most {PIL.Image.MAX_IMAGE_PIXELS:,} pixels"
            raise DataError(f"{self.place}: the image is too large ({error})", wanted=limit, fix="scale it down first") from None
        except Exception as error:  # Pillow's plug-ins raise whatever their parsers raise: SyntaxError, struct.error, ValueError ...
            problem = "no image" if isinstance(error, PIL.UnidentifiedImageError) else str(error) or type(error).__name__
            wanted = "a complete PNG, JPEG or other image that Pillow reads"
            raise self.damaged(content, problem, wanted) from None

    def pixels(self) -> numpy.ndarray:
        """uint8 (H, W) of a grey image, (H, W, 3) of any other, for reading only; raises DataError as `image` does."""
        return self.source if isinstance(self.source, numpy.ndarray) else numpy.asarray(self.image())

    def held(self) -> "Image":
        return Image(self.pixels(), self.place)

    def encode(self, values: numpy.ndarray) -> builtins.bytes:
        return png(PIL.Image.fromarray(values))

    def key(self) -> builtins.bytes:
        image = self.image()
        return f"{image.mode} {image.width}x{image.height} ".encode() + image.tobytes()

    def thumbnail_data_uri(self, size: int) -> str:
        """The image as a PNG data URI whose longer side is `size` pixels; small ones are enlarged without smoothing."""
        image = self.image()
        longer = max(image.size)
        target = (max(1, round(image.width * size / longer)), max(1, round(image.height * size / longer)))
        how = PIL.Image.Resampling.NEAREST if longer < size else PIL.Image.Resampling.LANCZOS
        return "data:image/png;base64," + base64.b64encode(png(image.resize(target, how))).decode("ascii")


def png(image: PIL.Image.Image) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def _plain(image: PIL.Image.Image) -> PIL.Image.Image:
    """Mode L or RGB, loaded."""
    if image.has_transparency_data:
        grey = image.mode in ("LA", "La", "L", "1")
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        return PIL.Image.alpha_composite(white, image).convert("L" if grey else "RGB")
    grey = image.mode in ("L", "1", "I", "F") or image.mode.startswith("I;16")
    if image.mode.startswith("I;16"):  # 16 bits a pixel: keep the upper 8
        return PIL.Image.fromarray((numpy.asarray(image) >> 8).astype(numpy.uint8))
    return image.convert("L" if grey else "RGB")
