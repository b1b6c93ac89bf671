"""Small trees of image files for the tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from harness.settings.schema import DataSettings


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB", form: str = "") -> Path:
    """Write a smooth random picture; the suffix chooses the format where none is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).convert(mode).save(path, form or None)
    return path


def tree(root: Path, classes: list[str], each: int, parts: tuple[str, ...] = ("train", "val")) -> Path:
    """Write PART/CLASS/FILE: PNG and JPEG by turns, none like another, of different widths."""
    for p, part in enumerate(parts):
        for c, name in enumerate(classes):
            for i in range(each):
                suffix = [".png", ".jpg"][i % 2]
                picture(root / part / name / f"image {i}{suffix}", seed=1000 * p + 100 * c + i, size=(40 + i, 30))
    return root


def settings(root: Path, **more: object) -> DataSettings:
    """Settings for the tree at `root`, at 24 pixels."""
    return DataSettings(**{"source": "folder", "root": str(root), "size": 24, "validation": 0.25, **more})  # type: ignore
