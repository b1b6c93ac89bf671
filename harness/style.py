"""How every picture looks: its colours, its type, and a background of its own, so that it reads on any page."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

INK, GREY, BLUE, ORANGE, GREEN = "#222222", "#8a8a8a", "#0072b2", "#d55e00", "#009e73"
"""Colours of the palette `colorblind`, told apart by readers with any colour vision."""

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "alexnet-harness",  # else the names of clip paths are drawn anew each time
    "svg.fonttype": "path",  # as text it would look different wherever the font is missing
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 11,
    "axes.edgecolor": "#bbbbbb",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.titlesize": 11,
    "figure.facecolor": "white",  # opaque: readable on a dark page too
}


@contextmanager
def style() -> Iterator[None]:
    """The style inside a `with`; from matplotlib's defaults, not from what a user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        sns.set_style("whitegrid")
        mpl.rcParams.update(STYLE)
        yield


def svg(figure: Figure) -> bytes:
    """A figure as SVG: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    # A hundredth of a point is less than a pixel anywhere; six decimals are half of the file.
    return re.sub(rb' d="[^"]*"', lambda path: re.sub(rb"(\.\d\d)\d+", rb"\1", path[0]), buffer.getvalue())
