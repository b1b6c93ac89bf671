"""Trees of image files: every file is decoded as it looks, and a tree that is no data set is refused in one line."""

import inspect
import json
import os
import shutil
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import picture, settings, tree
from PIL import Image, ImageFile

from harness.data.decode import decoder, suffixes, to_size
from harness.data.folders import find
from harness.data.notes import Note, lines
from harness.data.pack import pack
from harness.data.packed import PARTS, Packed
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


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".tiff", ".ppm", ".jp2"])
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


def deep(path: Path, *changes: tuple[bytes, int, bytes]) -> None:
    """A picture whose header says that it has more than 8 bits a channel: bytes some way behind a place are others."""
    content = picture(path, 0).read_bytes()
    for place, offset, there in changes:
        start = content.index(place) + offset
        content = content[:start] + there + content[start + len(there) :]
    path.write_bytes(content)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(path: Path, width: int, height: int, bits: int, kind: int) -> None:
    """A black PNG: 0 is grey, 2 colour; written by hand, as Pillow writes no 16 bits in colour."""
    row = bytes(1 + width * bits * (1 + kind) // 8 + (width * bits * (1 + kind) % 8 > 0))
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    data = zlib.compress(row * height, 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


DEEP = "more than 8 bits a channel .*; save it with 8"
HUGE = r"13,000 x 13,000 pixels; allowed: at most 89,478,485"
LONG = "pixels; allowed: one side at most 50 times the other"


@pytest.mark.parametrize(
    ("name", "write", "why"),
    [
        ("x.png", lambda path: Image.fromarray(np.full((30, 30), 30000, np.uint16)).save(path), DEEP),
        ("x.tif", lambda path: Image.fromarray(np.full((30, 30), 0.5, np.float32)).save(path), DEEP),
        ("x.png", lambda path: png(path, 30, 30, 16, 2), DEEP),
        ("x.tif", lambda path: Image.fromarray(np.zeros((9, 9), np.uint16)).save(path, compression="tiff_lzw"), DEEP),
        ("x.ppm", lambda path: path.write_bytes(b"P6 2 2 65535\n" + bytes(24)), DEEP),
        ("x.jp2", lambda path: deep(path, (b"\xff\x4f\xff\x51", 42, b"\x0f")), DEEP),
        ("x.avif", lambda path: deep(path, (b"pixi", 9, b"\n\n\n"), (b"av1C", 6, b"L")), DEEP),
        ("x.png", lambda path: png(path, 13000, 13000, 1, 0), HUGE),
        ("x.png", lambda path: png(path, 20000, 1, 8, 2), f"20,000 x 1 {LONG}"),
        ("x.png", lambda path: png(path, 10, 501, 8, 0), f"10 x 501 {LONG}"),
    ],
)
def test_what_would_lose_bits_or_fill_the_memory_is_refused_undecoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], object], why: str
) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    if f".{name[2:]}" not in suffixes():
        pytest.skip(f"this Pillow reads no {name}")
    write(root / "train/a" / name)
    files = find(root, True).parts["train"][0]
    with monkeypatch.context() as patch, warnings.catch_warnings(action="error"):
        patch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
        with pytest.raises(ValueError, match=why):
            decoder(root, files)(files.index(f"train/a/{name}"))
    with pytest.raises(UserError, match=rf"train/a/{name}: cannot be read as an image: {why}"):
        pack(settings(root), tmp_path / "packed")
    left_out = pack(settings(root, on_error="skip"), tmp_path / "packed").left_out
    assert [entry["path"] for entry in left_out] == [f"train/a/{name}"]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.png", lambda path: png(path, 500, 10, 8, 2)),
        ("x.ppm", lambda path: path.write_bytes(b"P6 2 2 255\n" + bytes(12))),
        ("x.pgm", lambda path: path.write_bytes(b"P2 2 1 15\n3 4\n")),
        ("x.pbm", lambda path: path.write_bytes(b"P1 2 1\n1 0\n")),
        # 16 bits a pixel, 5 to 6 a channel.
        ("x.bmp", lambda path: path.write_bytes(
            b"BM" + struct.pack("<IIIIiiHHIIiiIIIII", 74, 0, 66, 40, 2, 2, 1, 16, 3, 8, 0, 0, 0, 0, 63488, 2016, 31)
            + bytes(8))),
    ],
)  # fmt: skip
def test_what_loses_no_bit_and_fits_is_read(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    write(root / "val/a" / name)
    assert pack(settings(root), tmp_path / "packed").class_counts["test"] == [5, 4]


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
    place = f"train/{ODD_NAMES[0]}"
    assert manifest.notes == {"files": Note(2, [f"{place}/Thumbs.db", f"{place}/readme.txt"])}


def test_files_in_folders_of_a_class_are_its_images(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    picture(root / "train/a/more/even more/IMAGE.JPEG", 1)
    found = find(root, needs_parts=True)
    assert found.class_names == ["a", "b"]
    assert found.parts["train"][0][4] == "train/a/more/even more/IMAGE.JPEG"
    assert found.parts["train"][1].tolist() == [0] * 5 + [1] * 4


JPEG = [".jfif", ".jpe", ".JPG", ""]


@pytest.mark.parametrize("suffix", [*JPEG, ".jp2", ".avif", ".jxl", ".txt"])
def test_an_image_is_read_whatever_its_suffix_or_counted_and_named(tmp_path: Path, suffix: str) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    path, read = root / f"val/a/image{suffix}", suffix in suffixes() or suffix in JPEG
    picture(
        root / "spare", 7, form="AVIF" if suffix == ".avif" and read else "JPEG2000" if suffix == ".jp2" else "JPEG"
    )
    (root / "spare").rename(path)
    (root / "val/a/README").write_text("no suffix, and no image")
    manifest = pack(settings(root), tmp_path / "packed")
    assert manifest.counts["test"] == 8 + read
    names = ["val/a/README"] + ([] if read else [f"val/a/image{suffix}"])
    assert manifest.notes == {"files": Note(len(names), names)}


def test_what_is_not_upright_or_large_enough_is_counted_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 6)
    assert not pack(settings(root), tmp_path / "packed").notes
    assert "notes" not in json.loads((tmp_path / "packed/manifest.json").read_text()), (
        "stands there where it says something"
    )
    exif = Image.Exif()
    for orientation in (1, 6, 8):
        exif[0x0112] = orientation
        image = Image.open(picture(root / "spare.png", 50 + orientation))
        image.save(root / f"val/b/turned {orientation}.png", exif=exif)
    (root / "spare.png").unlink()
    for i in range(5):
        picture(root / f"val/a/small {i}.png", 60 + i, size=(23 + i, 40))
    capsys.readouterr()
    manifest = pack(settings(root), tmp_path / "packed")
    expected = {
        "enlarged": Note(1, ["val/a/small 0.png"]), "turned": Note(2, ["val/b/turned 6.png", "val/b/turned 8.png"])
    }  # fmt: skip
    assert manifest.notes == expected
    assert Packed.open(tmp_path / "packed").manifest.notes == expected
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if "turned" in line] == [f"data: {lines(expected)[0]}"]
    assert [line for line in printed if "small 0.png" in line] == [f"data: {lines(expected)[1]}"]
    many = pack(settings(root, size=30), tmp_path / "packed").notes["enlarged"]
    assert (many.count, len(many.first)) == (5, 3), "the first are named"


def copy(root: Path, source: str, *targets: str) -> None:
    for target in targets:
        shutil.copy(root / source, root / target)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda root: copy(root, "train/a/image 0.png", "test/a/again.png"),
         {"test_in_train": Note(1, ["test/a/again.png = train/a/image 0.png"])}),
        (lambda root: copy(root, "train/a/image 0.png", "validation/a/x.png", "test/a/y.png"),
         {"validation_in_train": Note(1, ["validation/a/x.png = train/a/image 0.png"]),
          "test_in_train": Note(1, ["test/a/y.png = train/a/image 0.png"])}),
        (lambda root: copy(root, "test/a/image 2.png", "validation/a/x.png"),
         {"test_in_validation": Note(1, ["test/a/image 2.png = validation/a/x.png"])}),
        (lambda root: copy(root, "train/a/image 0.png", "train/b/x.png"),
         {"two_classes": Note(2, ["train/a/image 0.png = train/b/x.png", "train/b/x.png = train/a/image 0.png"])}),
        (lambda root: copy(root, "train/a/image 0.png", "test/b/x.png"),
         {"test_in_train": Note(1, ["test/b/x.png = train/a/image 0.png"]),
          "two_classes": Note(2, ["train/a/image 0.png = test/b/x.png", "test/b/x.png = train/a/image 0.png"])}),
        (lambda root: copy(root, "train/a/image 0.png", "train/a/x.png"), {}),
        # The same pixels in another file: a PNG of what the JPEG holds.
        (lambda root: Image.open(root / "train/b/image 1.jpg").save(root / "test/b/x.png"),
         {"test_in_train": Note(1, ["test/b/x.png = train/b/image 1.jpg"])}),
    ],
)  # fmt: skip
def test_equal_pixels_in_several_parts_or_classes_are_counted(
    tmp_path: Path, spoil: Callable[[Path], object], expected: dict[str, Note]
) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4, parts=("train", "validation", "test"))
    spoil(root)
    assert pack(settings(root), tmp_path / "packed").notes == expected


def test_equal_checksums_alone_are_no_equal_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.pack.zlib", SimpleNamespace(crc32=lambda content: 7))
    root = tree(tmp_path / "images", ["a", "b"], 4)
    assert pack(settings(root), tmp_path / "packed").notes == {}
    copy(root, "train/a/image 0.png", "val/a/x.png")
    assert pack(settings(root), tmp_path / "packed").notes.keys() == {"test_in_train"}


LINKS = ("val/c", "val/a/more", "val/a/more/even", "val/a/more.png", "val/a/to nothing.png")


@pytest.mark.parametrize(
    ("given", "place"), [("", "val"), *(("", place) for place in LINKS), *(("val", p) for p in LINKS)]
)
def test_a_link_out_of_the_folder_is_refused_at_every_level(tmp_path: Path, given: str, place: str) -> None:
    """In the form of parts, and as one tree of classes."""
    root, outside = (tree(tmp_path / name, ["a", "b"], 4) for name in ("images", "images outside"))
    copy(outside, "val/a/image 0.png", "val/a/more.png")
    for folder in ("val/c", "val/a/more/even"):
        shutil.copytree(outside / "train/a", outside / folder)
    shutil.rmtree(root / place, ignore_errors=True)
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).symlink_to(outside / place)
    (tmp_path / "linked").symlink_to(root / given)
    for path, link in ((root / given, root / place), (tmp_path / "linked", place.removeprefix(f"{given}/"))):
        with pytest.raises(UserError) as refused:
            pack(settings(path), tmp_path / "packed")
        assert str(refused.value).startswith(f"{path / link}: a link that leads out of data.root; allowed: links to ")
        assert len(str(refused.value).splitlines()) == 1


def test_links_inside_the_folder_and_the_folder_itself_may_be_links(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    (root / "held").mkdir()
    (root / "train/a/image 0.png").rename(root / "held/one.png")
    (root / "train/a/image 0.png").symlink_to("../../held/one.png")
    (root / "val/b").rename(root / "held/b")
    (root / "val/b").symlink_to(root / "held/b")
    (root / "val/a/below").symlink_to(root / "held")
    (tmp_path / "link").symlink_to(root)
    manifest = pack(settings(tmp_path / "link"), tmp_path / "packed")
    assert sum(manifest.counts.values()) == 16
    assert manifest.notes == {"folders": Note(1, ["held/"]), "links": Note(1, ["val/a/below/"])}


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
    unknown = "not in a format that is read"
    assert [(entry["path"], entry["why"]) for entry in Packed.open(tmp_path / "packed").manifest.left_out] == [
        ("train/a/text.png", unknown),
        ("val/a/caf\\xe9.png", unknown),
        ("val/b/nothing.jpg", unknown),
        ("val/b/to nowhere.jpg", "No such file or directory"),
    ]


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_class_whose_every_image_is_broken_is_refused_though_they_are_skipped(tmp_path: Path, part: str) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    for file in (root / part / "b").iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"b: no readable image in the (train|test) part"):
        pack(settings(root, on_error="skip"), tmp_path / "packed")


def flat(folder: Path) -> None:
    """Its images without the folders of their classes."""
    for path in [*folder.glob("*/*")]:
        path.rename(folder / f"{path.parent.name} {path.name}")
    for path in [*folder.glob("*/")]:
        path.rmdir()


def nested(folder: Path) -> None:
    """Its images in two folders below."""
    shutil.copytree(folder, folder / "fold 1")
    shutil.copytree(folder / "fold 1", folder / "fold 2")
    for path in folder.glob("*.*"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "train/c").mkdir(), r"train/c: no image; allowed: .*\.bmp, .*\.webp"),
        (lambda root: picture(root / "val/zebra/1.png", 0), r"val/zebra: a class that .*train lacks"),
        (lambda root: shutil.rmtree(root / "val/a"), r"val: one class alone: b; two are needed"),
        (lambda root: shutil.rmtree(root / "train/a"), r"train: one class alone: b"),
        (lambda root: [file.unlink() for file in (root / "val/b").iterdir()], r"val/b: no image"),
        (lambda root: shutil.rmtree(root / "val"), r"data\.root: .*images: lacks val/CLASS/\*"),
        (lambda root: (root / "train").rename(root / "Test"), r"images: lacks train/CLASS/\*"),
        (
            lambda root: shutil.copytree(root / "train", root / "Training"),
            "Training/ and train/ are both the train part",
        ),
        (lambda root: shutil.copytree(root / "val", root / "dev"), "dev/ and val/ are both the validation part"),
        (
            lambda root: flat(root / "val"),
            "val: images without folders of classes, .*; or set data.root to .*/train, of which all parts are cut",
        ),
        (lambda root: flat(root / "train"), "train: images without folders of classes"),
        (
            lambda root: [nested(root / "train" / name) for name in "ab"],
            r"train: its folders \(a, b\) hold no images, but each .* \(fold 1, fold 2\)",
        ),
        (
            lambda root: [(root / "train").rename(root / "one"), (root / "val").rename(root / "two")],
            r"images: its folders \(.*\) hold no images, but each the same folders \(a, b\)",
        ),
        (lambda root: (root / "train/a").rename(os.fsdecode(bytes(root / "train") + b"/\xe9")), r"\\xe9.*not UTF-8"),
    ],
)
def test_a_tree_that_is_no_data_set_is_refused(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    assert pack(settings(root), tmp_path / "packed").counts["test"] == 8
    spoil(root)
    with pytest.raises(UserError, match=message):
        pack(settings(root), tmp_path / "packed")


def test_folders_that_are_nested_too_deep_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 2)
    picture(root / "train/a" / "/".join("d" * 200) / "x.png", 1)
    assert len(find(root, True).parts["train"][0]) == 5
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        with pytest.raises(UserError, match=r"data\.root: .*images: .* nested too deep"):
            find(root, True)
    finally:
        sys.setrecursionlimit(limit)


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
    ("folders", "needs_parts", "expected", "unread"),
    [
        ("train val", False, {"train": "train", "test": "val"}, ""),
        ("train test", False, {"train": "train", "test": "test"}, ""),
        ("train val test", False, {"train": "train", "validation": "val", "test": "test"}, ""),
        ("train validation test", False, {"train": "train", "validation": "validation", "test": "test"}, ""),
        ("train val", True, {"train": "train", "test": "val"}, ""),
        ("train val test", True, {"train": "train", "test": "val"}, "test/"),  # ImageNet's test images have no labels
        ("Training Test", False, {"train": "Training", "test": "Test"}, ""),
        ("TRAIN valid TESTING", False, {"train": "TRAIN", "validation": "valid", "test": "TESTING"}, ""),
        ("train Dev", False, {"train": "train", "test": "Dev"}, ""),
        ("train test extra old", False, {"train": "train", "test": "test"}, "extra/ old/"),
        ("cats dogs", False, {"train": ""}, ""),
        ("valid invalid", False, {"train": ""}, None),
    ],
)
def test_folders_are_the_parts_that_their_names_say_or_classes_and_others_are_named(
    tmp_path: Path, folders: str, needs_parts: bool, expected: dict[str, str], unread: str | None
) -> None:
    if expected["train"]:
        tree(tmp_path, ["a", "b"], 2, parts=tuple(folders.split()))
    else:
        tree(tmp_path.parent, folders.split(), 2, parts=(tmp_path.name,))
    found = find(tmp_path, needs_parts)
    places = {part: files[0].rpartition("/")[0].rpartition("/")[0] for part, (files, _) in found.parts.items()}
    assert places == expected
    assert list(places) == [part for part in PARTS if part in places]
    notes = {"folders": unread.split()} if unread else {"part_names": ["valid/"]} if unread is None else {}
    assert {kind: note.first for kind, note in found.notes.items()} == notes


def test_a_part_without_labels_is_refused_with_what_goes_on_without_it(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4, parts=("train", "val", "test"))
    flat(root / "test")
    with pytest.raises(UserError, match=r"test: images without .*; or move it out of .*: val/ is then the test part$"):
        find(root, False)
    assert find(root, True).notes.keys() == {"folders"}, "ImageNet's is not read"
    (root / "test").rename(tmp_path / "test")
    assert find(root, False).parts["test"][0][0].startswith("val/")
    shutil.copytree(root / "val", root / "test")
    flat(root / "val")
    with pytest.raises(
        UserError, match=r"val: images .* move it out of .*: train/ is then cut for the validation part$"
    ):
        find(root, False)
    shutil.rmtree(root / "test")
    with pytest.raises(UserError, match=r"val: images .*; or set data\.root to .*/train, of which all parts are cut$"):
        find(root, False)
    assert set(find(root / "train", False).parts) == {"train"}


def test_images_beside_the_folders_of_classes_are_counted_and_texts_are_not(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    for place in ("", "train", "val"):
        picture(root / place / "stray.png", 0)
        (root / place / "labels.csv").write_text("no image")
    assert find(root, False).notes == {"files": Note(3, ["stray.png"])}
    assert find(root / "train", False).notes == {"files": Note(1, ["stray.png"])}


@pytest.mark.parametrize("inner", ["images", "images/large"])
def test_one_folder_in_each_class_is_no_level_too_many(tmp_path: Path, inner: str) -> None:
    """As of Tiny ImageNet: train/CLASS/images/*."""
    root = tree(tmp_path / "images", ["a", "b"], 4)
    for place in root.glob("*/*"):
        place.rename(root / "held")
        (place / inner).parent.mkdir(parents=True)
        (root / "held").rename(place / inner)
    assert pack(settings(root), tmp_path / "packed").counts["test"] == 8
