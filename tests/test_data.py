"""Packed images are the decoded ones, split as declared; what cannot be read is said or listed."""

import gzip
import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.data import embedded
from harness.data.embedded import make
from harness.data.folders import to_size
from harness.data.pack import pack
from harness.data.packed import PARTS, Packed
from harness.data.split import cut, stratified
from harness.errors import UserError
from harness.settings.schema import DataSettings

ODD_NAMES = ["café ☕", "-rf", 'it\'s "quoted"', "<b>bold & co"]


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Path:
    """Write a smooth random picture; the suffix chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).convert(mode).save(path)
    return path


def tree(root: Path, classes: list[str], each: int, parts: tuple[str, ...] = ("train", "val")) -> Path:
    for p, part in enumerate(parts):
        for c, name in enumerate(classes):
            for i in range(each):
                suffix = [".png", ".jpg"][i % 2]
                picture(root / part / name / f"image {i}{suffix}", seed=1000 * p + 100 * c + i, size=(40 + i, 30))
    return root


def settings(root: Path, **more: object) -> DataSettings:
    return DataSettings(**{"source": "folder", "root": str(root), "size": 24, "validation": 0.25, **more})  # type: ignore


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


def test_statistics_are_those_of_the_training_part(tmp_path: Path) -> None:
    pack(settings(tree(tmp_path / "images", ["a", "b", "c"], 8)), tmp_path / "packed")
    packed = Packed.open(tmp_path / "packed")
    images = packed.part("train").images.astype(np.float64)
    np.testing.assert_allclose(packed.mean, images.mean(0), rtol=1e-6)
    pixels = images.reshape(-1, 3)
    m = packed.manifest
    np.testing.assert_allclose(m.covariance, np.cov(pixels.T, ddof=0), rtol=1e-9)
    assert m.eigenvalues == sorted(m.eigenvalues, reverse=True)
    vectors = np.array(m.eigenvectors)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(vectors.T @ np.diag(m.eigenvalues) @ vectors, m.covariance, rtol=1e-9)
    assert m.counts == {"train": 18, "validation": 6, "test": 24}
    assert m.class_counts == {"train": [6, 6, 6], "validation": [2, 2, 2], "test": [8, 8, 8]}


def test_the_hash_is_the_contents_wherever_it_lies(tmp_path: Path) -> None:
    one = pack(settings(tree(tmp_path / "here", ["a", "b"], 4)), tmp_path / "one")
    two = pack(settings(tree(tmp_path / "there/deep", ["a", "b"], 4)), tmp_path / "two")
    assert one.hash == two.hash
    picture(tmp_path / "here/train/a/image 0.png", seed=99)
    assert pack(settings(tmp_path / "here"), tmp_path / "one").hash != two.hash


def test_one_tree_is_split_into_disjoint_parts(tmp_path: Path) -> None:
    tree(tmp_path, ["a", "b"], 20, parts=("images",))
    pack(settings(tmp_path / "images", test=0.3), tmp_path / "packed")
    packed = Packed.open(tmp_path / "packed")
    seen = [packed.part(part).images[i].tobytes() for part in PARTS for i in range(packed.manifest.counts[part])]
    assert len(set(seen)) == 40
    assert packed.manifest.counts == {"train": 21, "validation": 7, "test": 12}


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


def test_names_are_data_and_other_files_are_not_images(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ODD_NAMES, 4)
    for name in (".DS_Store", "Thumbs.db", "readme.txt", ".hidden.png"):
        (root / "train" / ODD_NAMES[0] / name).write_bytes(b"no image")
    manifest = pack(settings(root), tmp_path / "packed")
    assert manifest.class_names == sorted(ODD_NAMES)
    assert manifest.counts == {"train": 12, "validation": 4, "test": 16}


def test_a_broken_image_stops_with_its_path_or_is_listed(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 6)
    broken = root / "train/b/image 2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=r"train/b/image 2\.png: cannot be read as an image: .*on_error: skip"):
        pack(settings(root), tmp_path / "packed")
    assert not list(tmp_path.glob("*packed*")), "nothing half-written is left"
    manifest = pack(settings(root, on_error="skip"), tmp_path / "packed")
    assert [entry["path"] for entry in manifest.left_out] == ["train/b/image 2.png"]
    assert sum(manifest.counts.values()) == 23
    on_disk = json.loads((tmp_path / "packed/manifest.json").read_text())
    assert on_disk["left_out"] == manifest.left_out


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: None, "lacks nothing"),
        (lambda root: (root / "train/c").mkdir(), r"train/c: no image"),
        (lambda root: picture(root / "val/zebra/1.png", 0), r"val/zebra: a class that .*train lacks"),
        (lambda root: [f.unlink() for f in (root / "val/b").iterdir()], r"val/b: no image"),
    ],
)
def test_a_tree_that_is_no_data_set_is_refused(tmp_path: Path, spoil: object, told: str) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    spoil(root)  # type: ignore[operator]
    if told == "lacks nothing":
        assert pack(settings(root), tmp_path / "packed").counts["test"] == 8
        return
    with pytest.raises(UserError, match=told):
        pack(settings(root), tmp_path / "packed")


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root: .*nowhere: no such folder; allowed: train/CLASS"):
        pack(settings(tmp_path / "nowhere"), tmp_path / "packed")
    with pytest.raises(UserError, match=r"data\.root: got nothing; source folder needs the folder"):
        pack(DataSettings(source="folder"), tmp_path / "packed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no class"):
        pack(settings(tmp_path / "empty"), tmp_path / "packed")
    with pytest.raises(UserError, match=r"lacks train/CLASS/\* and val/CLASS/\*"):
        pack(DataSettings(source="imagenet", root=str(tmp_path / "empty")), tmp_path / "packed")


def test_imagenet_is_cut_to_the_central_256(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["n01440764", "n01443537"], 4)
    manifest = pack(DataSettings(source="imagenet", root=str(root), validation=0.25), tmp_path / "packed")
    assert (manifest.size, manifest.channels, manifest.counts["test"]) == (256, 3, 8)


def test_limits_are_balanced_and_checked(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 8)
    manifest = pack(settings(root, train_limit=8, test_limit=6), tmp_path / "packed")
    assert manifest.class_counts == {"train": [3, 3], "validation": [1, 1], "test": [3, 3]}
    with pytest.raises(UserError, match=r"data\.train_limit: got 17; allowed: 2 \(one a class\) to 16 \(all\)"):
        pack(settings(root, train_limit=17), tmp_path / "packed")
    with pytest.raises(UserError, match=r"data\.test_limit: got 1; allowed: 2"):
        pack(settings(root, test_limit=1), tmp_path / "packed")
    with pytest.raises(UserError, match=r"data\.validation: 0\.01 of 16 images leaves a class without"):
        pack(settings(root, validation=0.01), tmp_path / "packed")


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 60)
    peaks = []
    for limit in (120, 30):
        tracemalloc.start()
        pack(settings(root, size=96, train_limit=limit, test_limit=limit), tmp_path / "packed")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    more = 180 * 96 * 96 * 3
    assert peaks[0] - peaks[1] < 0.5 * more, (peaks, more)


def test_a_damaged_folder_is_said(tmp_path: Path, packed: Path) -> None:
    with pytest.raises(UserError, match="not packed yet; run: dvc repro data"):
        Packed.open(tmp_path)
    pack(settings(tree(tmp_path / "images", ["a", "b"], 4)), tmp_path / "packed")
    file = tmp_path / "packed/train.images.u8"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"train\.images\.u8: damaged: 10367 bytes, 10368 are needed"):
        Packed.open(tmp_path / "packed").part("train")


def idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


def test_fashion_mnist_is_read_through_torchvision_where_it_lies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (count, 28, 28)) for name, count in (("train", 40), ("t10k", 20))}
    for name, array in images.items():
        raw = tmp_path / "FashionMNIST/raw"
        idx(raw / f"{name}-images-idx3-ubyte.gz", array)
        idx(raw / f"{name}-labels-idx1-ubyte.gz", np.arange(len(array)) % 10)
        for kind in ("images-idx3", "labels-idx1"):
            packed_file = raw / f"{name}-{kind}-ubyte.gz"
            packed_file.with_suffix("").write_bytes(gzip.decompress(packed_file.read_bytes()))
    pack(DataSettings(source="fashion-mnist", root=str(tmp_path), validation=0.25), tmp_path / "packed")
    found = Packed.open(tmp_path / "packed")
    assert found.manifest.counts == {"train": 30, "validation": 10, "test": 20}
    np.testing.assert_array_equal(found.part("test").images[..., 0], images["t10k"])


@pytest.mark.parametrize("source", ["cifar10", "cifar100", "fashion-mnist", "stl10", "imagenette"])
def test_a_set_that_is_not_there_says_what_to_put_where(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No network: every connection goes to a port where nothing listens.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=rf"data\.root: {source} is not in .* and cannot be downloaded .*; put .* there"
    ):
        pack(DataSettings(source=source, root=str(tmp_path)), tmp_path / "packed")  # type: ignore[arg-type]


def test_imagenette_is_taken_from_a_tree_that_is_there(tmp_path: Path) -> None:
    tree(tmp_path / "imagenette2", ["n01440764", "n02102040"], 4)
    manifest = pack(
        DataSettings(source="imagenette", root=str(tmp_path), size=128, validation=0.25), tmp_path / "packed"
    )
    assert manifest.counts == {"train": 6, "validation": 2, "test": 8}


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    part=st.floats(0, 1),
    seed=st.integers(0, 5),
    shuffle=st.randoms(use_true_random=False),
)
def test_split_is_disjoint_stratified_and_repeatable(sizes: list[int], part: float, seed: int, shuffle: object) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    shuffle.shuffle(labels)  # type: ignore[attr-defined]
    count = round(part * len(labels))
    chosen, rest = stratified(labels, count, seed, "test")
    assert sorted([*chosen, *rest]) == list(range(len(labels)))
    assert len(chosen) == count
    for label, size in enumerate(sizes):
        assert abs((labels[chosen] == label).sum() - size * count / len(labels)) < 1
    again, _ = stratified(labels, count, seed, "test")
    np.testing.assert_array_equal(chosen, again)


def test_split_depends_on_seed_and_purpose() -> None:
    labels = np.repeat(np.arange(3), 50)
    one = cut(labels, 0.2, 0, "validation")[0]
    assert not np.array_equal(one, cut(labels, 0.2, 1, "validation")[0])
    assert not np.array_equal(one, cut(labels, 0.2, 0, "test")[0])


def test_the_embedded_images_are_8000_balanced_and_small() -> None:
    parts = embedded.load()
    assert {part: images.shape for part, (images, _) in parts.items()} == {
        "train": (3500, 28, 28, 1), "validation": (500, 28, 28, 1), "test": (4000, 28, 28, 1)
    }  # fmt: skip
    for images, labels in parts.values():
        assert set(np.bincount(labels)) == {len(images) // 10}
    everything = np.concatenate([images for images, _ in parts.values()]).reshape(8000, -1)
    assert len(np.unique(everything, axis=0)) > 7990, "parts are disjoint but for the set's own few duplicates"
    assert embedded.FILE.stat().st_size < 5e6
    card = json.loads(embedded.CARD.read_text())
    assert "MIT" in card["licence"]
    assert (embedded.FILE.parent / "LICENSE").read_text().count("Zalando SE") == 1


def test_the_embedded_images_are_chosen_by_the_documented_rule() -> None:
    if not make.ORIGINALS.is_dir():
        pytest.skip("needs the original files: Debian's package dataset-fashion-mnist")
    content, indices = make.make(make.ORIGINALS)
    assert not set(indices["train"]) & set(indices["validation"])
    import io

    with np.load(io.BytesIO(content), allow_pickle=False) as made:
        for part, (images, labels) in embedded.load().items():
            np.testing.assert_array_equal(made[f"{part}_images"], images[..., 0])
            np.testing.assert_array_equal(made[f"{part}_labels"], labels)


def test_a_damaged_embedded_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy.npz"
    copy.write_bytes(embedded.FILE.read_bytes()[:-1])
    monkeypatch.setattr(embedded, "FILE", copy)
    with pytest.raises(UserError, match="damaged: its SHA-256 is"):
        embedded.load()
