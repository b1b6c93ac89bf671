"""Image files to pixels: the formats that are read, what is refused before it is decoded, and the stored size."""

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats of Pillow that are read. Others that it knows start programs (EPS), or are no pictures (HDF5)."""

MOST_PIXELS = 89_478_485
"""Pixels of an image, as many as Pillow takes without a warning: 256 MiB in colour."""

MOST_LONGER = 50
"""Times that the longer side may be the shorter one: the whole image is scaled before it is cut."""

ORIENTATION = 0x0112
"""The tag of EXIF that says how a camera was held; 1 is upright."""

BITS = 258
"""The tag of TIFF with the bits of each channel."""

DEEP = re.compile(r";16[BLN]")
"""Of Pillow's raw modes with 16 bits a channel, of which it drops the lower 8; `BGR;16` has 16 bits a pixel."""

DEEP_HEADERS: dict[str, tuple[re.Pattern[bytes], int]] = {
    "JPEG2000": (re.compile(rb"\xff\x4f\xff\x51.{38}([\x00-\xff])", re.DOTALL), 0x78),
    "AVIF": (re.compile(rb"av1C\x81.([\x00-\xff])", re.DOTALL), 0x40),
}
"""Formats whose depth Pillow does not tell: where its byte stands (markers SOC, SIZ; box av1C), and its deep bits."""

HEADER = 2**16
"""Bytes in which that is looked for."""

Decoded = tuple[np.ndarray, bool]
"""Pixels (H, W, C) uint8, and whether they were turned upright."""


@cache
def formats() -> list[str]:
    """Of `FORMATS`, those that this Pillow has."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of names, in lower case, of the formats that are read."""
    from PIL import Image

    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats())


def is_image(path: str) -> bool:
    """Whether a file is taken for an image: by its suffix, without one by its first bytes."""
    from PIL import UnidentifiedImageError

    if suffix := os.path.splitext(path)[1]:
        return suffix.lower() in suffixes()
    try:
        _open(path).close()
    except UnidentifiedImageError:
        return False
    except Exception:  # an image that cannot be read: said by its name when it is decoded
        return True
    return True


def _open(path: str) -> "Image.Image":
    from PIL import Image

    # `_refuse` stands for Pillow's own limit, whose warning names no file.
    Image.MAX_IMAGE_PIXELS = None
    return Image.open(path, formats=formats())


def decoder(root: Path, files: list[str]) -> Callable[[int], Decoded]:
    """Decodes image i of `files` to RGB, upright; raises what Pillow raises for a broken file.

    The first picture of an animation; transparency is dropped. `ValueError` for what is too large, too long, or has
    more than 8 bits a channel, which Pillow would cut off.
    """

    def decode(i: int) -> Decoded:
        from PIL import ImageOps, UnidentifiedImageError

        path = os.path.join(root, files[i])
        try:
            with _open(path) as image:
                _refuse(image, path)
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
                return pixels, image.getexif().get(ORIENTATION, 1) in range(2, 9)
        except UnidentifiedImageError as error:
            # Pillow's own words hold the whole path, which would make the manifest differ from machine to machine.
            raise ValueError("not in a format that is read") from error

    return decode


def _refuse(image: "Image.Image", path: str) -> None:
    """Raise `ValueError` for an image that is not to be decoded; only its header has been read."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width:,} x {height:,} pixels; allowed: at most {MOST_PIXELS:,}")
    if max(width, height) > MOST_LONGER * min(width, height):
        raise ValueError(f"{width:,} x {height:,} pixels; allowed: one side at most {MOST_LONGER} times the other")
    deep = image.mode[0] in "IF" or max(getattr(image, "tag_v2", {}).get(BITS, (8,))) > 8
    for decoder_name, _, _, arguments in image.tile:  # type: ignore[attr-defined]
        for one in arguments if isinstance(arguments, tuple) else (arguments,):
            # PPM tells the largest value of a channel.
            deep |= bool(DEEP.search(one)) if isinstance(one, str) else decoder_name.startswith("ppm") and one > 255
    if image.format in DEEP_HEADERS:
        place, bits = DEEP_HEADERS[image.format]
        with open(path, "rb") as file:
            found = place.search(file.read(HEADER))
        deep |= found is not None and found[1][0] & bits > 0
    if deep:
        raise ValueError(f"more than 8 bits a channel (mode {image.mode}); save it with 8")


def to_size(image: np.ndarray, size: int) -> np.ndarray:
    """Bring the shorter side to `size` pixels and cut the central square, as the paper does (section 2).

    Smaller images are scaled up. Bilinear, with antialiasing. (H, W, C) uint8 in, (size, size, C) uint8 out.
    """
    height, width = image.shape[:2]
    if (height, width) != (size, size):
        from PIL import Image

        scale = size / min(height, width)
        shape = (max(size, round(width * scale)), max(size, round(height * scale)))
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        image = np.asarray(picture.resize(shape, Image.Resampling.BILINEAR))
        image = image.reshape(shape[1], shape[0], -1)
        top, left = (shape[1] - size) // 2, (shape[0] - size) // 2
        image = image[top : top + size, left : left + size]
    return image
