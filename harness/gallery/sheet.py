"""A sheet of small images, bars and words in pixels: what is drawn lies where it is put, and no pixel is smeared."""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from harness.style import INK

WIDTH, DPI = 1140, 150
"""Pixels across, as wide as the report's other figures, and pixels an inch."""

LIMIT = 90_000
"""Bytes of one picture; above it the picture is stored with fewer colours."""

LARGE = 64
"""Side in pixels from which an image is shown as a photograph, smaller: it needs fewer pixels to be recognised."""


class Sheet:
    """A white sheet of WIDTH x `height` pixels. Places are in pixels from its upper left corner."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI)

    def image(self, x: int, y: int, pixels: np.ndarray) -> None:
        """Put an image (h, w, 3) uint8, a pixel on a pixel."""
        self.figure.figimage(pixels, x, self.height - y - len(pixels), origin="upper")

    def box(self, x: float, y: float, width: float, height: float, **look: Any) -> None:
        """A rectangle; `look`: of matplotlib's patches, line widths in pixels."""
        look = {"facecolor": "none", "edgecolor": "none", **look, "linewidth": look.get("linewidth", 0) * 72 / DPI}
        self.figure.add_artist(
            Rectangle((x, self.height - y - height), width, height, transform=None, snap=True, **look)
        )

    def frame(self, x: int, y: int, pixels: np.ndarray, colour: str, width: int) -> None:
        for left, top, w, h in (
            (x - width, y - width, pixels.shape[1] + 2 * width, width),
            (x - width, y + len(pixels), pixels.shape[1] + 2 * width, width),
            (x - width, y, width, len(pixels)),
            (x + pixels.shape[1], y, width, len(pixels)),
        ):
            self.box(left, top, w, h, facecolor=colour)

    def text(self, x: float, y: float, words: str, size: float = 9, **look: Any) -> None:
        """Words, by default to the right of x and with y at half their height; `size` in points."""
        look = {"color": INK, "va": "center", "ha": "left"} | look
        self.figure.text(x / WIDTH, 1 - y / self.height, words, fontsize=size, **look)

    def axes(self, x: int, y: int, width: int, height: int) -> Axes:
        place = (x / WIDTH, 1 - (y + height) / self.height, width / WIDTH, height / self.height)
        return self.figure.add_axes(place)


def png(figure: Figure, limit: int = LIMIT) -> bytes:
    """A figure as PNG: the same figure gives the same bytes. Above `limit` bytes it is stored with fewer colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    picture = Image.open(drawn).convert("RGB")
    content = _encoded(picture)
    for colours in (256, 192, 128, 96, 64, 32):
        if len(content) <= limit:
            break
        content = _encoded(with_colours(picture, colours))
    return content


def with_colours(picture: Image.Image, colours: int) -> Image.Image:
    """A picture with at most that many colours: Pillow's median cut, then three rounds of k-means."""
    palette = picture.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).getpalette() or []
    centres = np.array(palette, np.float64).reshape(-1, 3)
    pixels = np.asarray(picture).reshape(-1, 3)
    # Six bits a channel tell colours well enough apart, and leave few of them.
    codes = (pixels >> 2).astype(np.int64) @ [4096, 64, 1]
    _, code, count = np.unique(codes, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(code, pixels[:, channel]) / count for channel in range(3)], axis=1)
    for _ in range(3):
        nearest = _nearest(means, centres)
        sizes = np.bincount(nearest, count, len(centres))
        sums = np.stack([np.bincount(nearest, count * means[:, c], len(centres)) for c in range(3)], axis=1)
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
    centres = centres.round()
    chosen = _nearest(means, centres)[code].astype(np.uint8)
    result = Image.frombytes("P", picture.size, chosen.tobytes())
    result.putpalette(centres.astype(np.uint8).tobytes())
    return result


def _nearest(colours: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Of each colour (N, 3) the nearest of the centres (K, 3): (N,)."""
    found = []
    for part in np.array_split(colours, 64):
        red, green, blue = (part[:, channel, None] - centres[:, channel] for channel in range(3))
        found.append((red * red + green * green + blue * blue).argmin(1))
    return np.concatenate(found)


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def tile(images: np.ndarray, small: int, large: int) -> int:
    """Pixels at which images (..., side, side, channels) are shown: at most `small` or, for photographs, `large`."""
    side = int(images.shape[-2])
    return min(side, large) if side >= LARGE else small // side * side


def fitted(image: np.ndarray, side: int) -> np.ndarray:
    """An image (h, w, 1 or 3) uint8 as (.., .., 3), as large as fits into `side` pixels.

    A small one grows by a whole factor, so that its pixels stay square; a large one shrinks.
    """
    colour = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    longest = max(image.shape[:2])
    if longest <= side:
        factor = side // longest
        return colour.repeat(factor, axis=0).repeat(factor, axis=1)
    size = (round(image.shape[1] * side / longest), round(image.shape[0] * side / longest))
    return np.asarray(Image.fromarray(np.ascontiguousarray(colour)).resize(size, Image.Resampling.LANCZOS))


def short(name: str, characters: int) -> str:
    """A name that fits: its end is left out where it is longer."""
    first = " ".join(name.split())
    return first if len(first) <= characters else first[: characters - 1].rstrip(" ,") + "…"
