"""Trees of image files: every file is decoded as it looks, and a tree that is no data set is refused in one line."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import picture, settings, tree
from PIL import Image

from harness.data.folders import find, to_size
from harness.data.pack import pack
from harness.data.packed import Packed
from harness.errors import UserError
from harness.settings.schema import DataSettings

ODD_NAMES = ["café ☕", "-rf", 'it\'s "quoted"', "<b>bold & co", "*", "a\nb"]


def test_pixels_are_those_of_a_direct_decode(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["cat", "dog"], 8)
    pack(settings(root), tmp_path / "packed")
    packed = Packed.open(tmp_path / "packed")
    expected = []
    for name in ("cat", "dog"):
        for file in sorted((root / "val" / name).iterdir()):
            with Image.open(file) as image:
                width, height = image.size
                scaled = image.convert("RGB").resize((round(24 * width / height), 24), Image.Resampling.BILINEAR)
                left = (scaled.width - 24) // 2
                expected.append(np.asarray(scaled.crop((left, 0, left + 24, 24))))
    part = packed.part("test")
    np.testing.assert_array_equal(part.images, np.stack(expected))
    assert part.labels.tolist() == [0] * 8 + [1] * 8
    assert not part.images.flags.writeable


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".tiff"])
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_three_channels(tmp_path: Path, suffix: str, mode: str) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 3)
    try:
        path = picture(root / f"val/a/odd{suffix}", 7, mode=mode)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"{suffix} holds no {mode}")
    pack(settings(root), tmp_path / "packed")
    with Image.open(path) as image:
        expected = to_size(np.asarray(image.convert("RGB")), 24)
    images = Packed.open(tmp_path / "packed").part("test").images
    assert any(np.array_equal(image, expected) for image in images)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_packed_upright(tmp_path: Path, orientation: int) -> None:
    """EXIF (CIPA DC-008, orientation tag): what the camera's sensor recorded is turned and mirrored to be looked at."""
    root = tree(tmp_path / "images", ["a", "b"], 3)
    upright = np.zeros((24, 24, 3), np.uint8)
    upright[:12, :12], upright[:12, 12:], upright[12:, :12] = 250, 160, 80
    undo = {
        1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.transpose(1, 0, 2),
        6: np.rot90, 7: lambda x: np.rot90(x, 2).transpose(1, 0, 2), 8: lambda x: np.rot90(x, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    recorded = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    recorded.save(root / "val/a/a.jpg", exif=exif, quality=100, subsampling=0)
    pack(settings(root), tmp_path / "packed")
    found = Packed.open(tmp_path / "packed").part("test").images[0]
    assert np.abs(found.astype(int) - upright).mean() < 3


def test_an_image_below_the_stored_size_is_scaled_up(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    Image.new("RGB", (3, 5), (10, 20, 30)).save(root / "val/a/a tiny.png")
    pack(settings(root, size=64), tmp_path / "packed")
    first = Packed.open(tmp_path / "packed").part("test").images[0]
    assert first.shape == (64, 64, 3)
    assert (first == (10, 20, 30)).all()


@pytest.mark.parametrize(("height", "width"), [(256, 256), (300, 200), (375, 500), (31, 517), (256, 257), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_shape_comes_to_the_size(height: int, width: int, channels: int) -> None:
    image = np.full((height, width, channels), 77, np.uint8)
    out = to_size(image, 256)
    assert out.shape == (256, 256, channels)
    assert (out == 77).all()


def test_grey_of_sixteen_bits_is_refused_and_not_cut_off_at_white(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    Image.fromarray(np.full((30, 30), 30000, np.uint16)).save(root / "train/a/x-ray.png")
    with pytest.raises(UserError, match=r"train/a/x-ray\.png: .*more than 8 bits a pixel .*save it with 8"):
        pack(settings(root), tmp_path / "packed")


def test_names_are_data_and_other_files_are_not_images(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ODD_NAMES, 4)
    first = root / "train" / ODD_NAMES[0]
    for name in (".DS_Store", "Thumbs.db", "readme.txt", ".hidden.png"):
        (first / name).write_bytes(b"no image")
    picture(first / ".ipynb_checkpoints/image-checkpoint.png", 0)
    (first / "folder.png").mkdir()
    (root / "train/.cache").mkdir()
    manifest = pack(settings(root), tmp_path / "packed")
    assert manifest.class_names == sorted(ODD_NAMES)
    assert manifest.counts == {"train": 18, "validation": 6, "test": 24}


def test_files_in_folders_of_a_class_are_its_images(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    picture(root / "train/a/more/even more/IMAGE.JPEG", 1)
    names, parts = find(root, needs_parts=True)
    assert names == ["a", "b"]
    assert parts["train"][0][4] == "train/a/more/even more/IMAGE.JPEG"
    assert parts["train"][1].tolist() == [0] * 5 + [1] * 4


def test_a_broken_image_stops_with_its_path_or_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 6)
    broken = root / "train/b/image 2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=r"train/b/image 2\.png: cannot be read as an image: .*on_error: skip"):
        pack(settings(root), tmp_path / "packed")
    assert not list(tmp_path.glob("*packed*")), "nothing half-written is left"
    capsys.readouterr()
    manifest = pack(settings(root, on_error="skip"), tmp_path / "packed")
    assert [entry["path"] for entry in manifest.left_out] == ["train/b/image 2.png"]
    assert sum(manifest.counts.values()) == 23
    assert Packed.open(tmp_path / "packed").manifest.left_out == manifest.left_out
    lines = capsys.readouterr().out.splitlines()
    assert "data: 1 images left out, listed in the manifest; the first: train/b/image 2.png" in lines
    assert any(line.startswith("data: 24 of 24 images") for line in lines), "what is left out is done, too"


def test_what_was_left_out_is_told_the_same_wherever_the_tree_lies(tmp_path: Path) -> None:
    manifests = []
    for place in ("here", "there/deep"):
        root = tree(tmp_path / place, ["a", "b"], 6)
        (root / "train/a/text.png").write_text("this is no image " * 10)
        (root / "val/b/nothing.jpg").touch()
        (root / "val/b/to nowhere.jpg").symlink_to("nowhere.jpg")
        shutil.copy(root / "train/a/text.png", os.fsdecode(os.fsencode(root / "val/a") + b"/caf\xe9.png"))
        pack(settings(root, on_error="skip"), tmp_path / "packed")
        manifests.append((tmp_path / "packed/manifest.json").read_bytes())
    assert manifests[0] == manifests[1]
    assert [(entry["path"], entry["why"]) for entry in Packed.open(tmp_path / "packed").manifest.left_out] == [
        ("train/a/text.png", "no format that Pillow knows"),
        ("val/a/caf\\xe9.png", "no format that Pillow knows"),
        ("val/b/nothing.jpg", "no format that Pillow knows"),
        ("val/b/to nowhere.jpg", "No such file or directory"),
    ]


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_class_whose_every_image_is_broken_is_refused_though_they_are_skipped(tmp_path: Path, part: str) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    for file in (root / part / "b").iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"b: no readable image in the (train|test) part"):
        pack(settings(root, on_error="skip"), tmp_path / "packed")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "train/c").mkdir(), r"train/c: no image; allowed: \.bmp, .*\.webp"),
        (lambda root: picture(root / "val/zebra/1.png", 0), r"val/zebra: a class that .*train lacks"),
        (lambda root: shutil.rmtree(root / "val/a"), r"val: one class alone: b; two are needed"),
        (lambda root: shutil.rmtree(root / "train/a"), r"train: one class alone: b"),
        (lambda root: [file.unlink() for file in (root / "val/b").iterdir()], r"val/b: no image"),
        (lambda root: shutil.rmtree(root / "val"), r"data\.root: .*images: lacks val/CLASS/\*"),
        (lambda root: (root / "train/a").rename(os.fsdecode(bytes(root / "train") + b"/\xe9")), r"\\xe9.*not UTF-8"),
    ],
)
def test_a_tree_that_is_no_data_set_is_refused(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    assert pack(settings(root), tmp_path / "packed").counts["test"] == 8
    spoil(root)
    with pytest.raises(UserError, match=message):
        pack(settings(root), tmp_path / "packed")


def test_a_root_that_is_not_there_or_the_folder_above_is_refused(tmp_path: Path) -> None:
    tree(tmp_path / "above/images", ["a", "b"], 4)
    with pytest.raises(UserError, match="above: one class alone: images"):
        pack(settings(tmp_path / "above"), tmp_path / "packed")
    with pytest.raises(UserError, match=r"data\.root: .*nowhere: no such folder; allowed: train/CLASS"):
        pack(settings(tmp_path / "nowhere"), tmp_path / "packed")
    with pytest.raises(UserError, match=r"data\.root: got nothing; source folder needs the folder"):
        pack(DataSettings(source="folder"), tmp_path / "packed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no class"):
        pack(settings(tmp_path / "empty"), tmp_path / "packed")
    with pytest.raises(UserError, match=r"lacks train/CLASS/\* and val/CLASS/\*"):
        pack(DataSettings(source="imagenet", root=str(tmp_path / "empty")), tmp_path / "packed")


@pytest.mark.parametrize(
    ("others", "needs_parts", "expected"),
    [
        (("val",), False, {"test": "val"}),
        (("test",), False, {"test": "test"}),
        (("val", "test"), False, {"validation": "val", "test": "test"}),
        (("validation", "test"), False, {"validation": "validation", "test": "test"}),
        (("val",), True, {"test": "val"}),
        (("val", "test"), True, {"test": "val"}),  # ImageNet's test images have no labels
    ],
)
def test_folders_beside_train_are_the_parts_that_their_names_say(
    tmp_path: Path, others: tuple[str, ...], needs_parts: bool, expected: dict[str, str]
) -> None:
    root = tree(tmp_path, ["a", "b"], 2, parts=("train", *others))
    _, parts = find(root, needs_parts)
    assert {part: files[0].split("/")[0] for part, (files, _) in parts.items()} == {"train": "train", **expected}
