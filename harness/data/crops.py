"""Where crops lie: the positions of a training crop, and the ten views of a test image.

Krizhevsky et al. (2012), section 4.1.
"""

from harness.settings.schema import Settings

CENTRE = 8
"""Place of the centre crop, not mirrored, among the ten test views."""


def positions(settings: Settings, size: int) -> int:
    """Positions of a training crop along a side of an image of `size` pixels.

    For 256 and a crop of 224: 32 as the text counts, 33 as run.
    """
    border = size - settings.crop
    return border + 1 if settings.crop_positions == "inclusive" else max(border, 1)


def evaluation_views(size: int, crop: int, ten: bool) -> list[tuple[tuple[int, int], bool]]:
    """Upper left corner in pixels, and whether it is mirrored, of each view of a test image.

    The centre crop, or (`ten`) the four corners and the centre, each also mirrored.
    """
    border = size - crop
    middle = (border // 2, border // 2)
    if not ten:
        return [(middle, False)]
    corners = [(0, 0), (0, border), (border, 0), (border, border), middle]
    return [(corner, mirrored) for corner in corners for mirrored in (False, True)]
