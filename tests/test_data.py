"""Packed images are the source's, split as declared; their statistics are the training part's; memory stays flat."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import picture, settings, tree

from harness.data.decode import to_size
from harness.data.pack import cut, limited, pack, principal_components, stratified
from harness.data.packed import PARTS, Packed
from harness.errors import UserError
from harness.settings.schema import DataSettings


def test_statistics_are_those_of_the_training_part(tmp_path: Path) -> None:
    pack(settings(tree(tmp_path / "images", ["a", "b", "c"], 8)), tmp_path / "packed")
    packed = Packed.open(tmp_path / "packed")
    images = packed.part("train").images.astype(np.float64)
    np.testing.assert_allclose(packed.mean, images.mean(0), rtol=1e-6)
    pixels = images.reshape(-1, 3)
    m = packed.manifest
    np.testing.assert_allclose(m.channel_means, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(m.covariance, np.cov(pixels.T, ddof=0), rtol=1e-9)
    assert m.eigenvalues == sorted(m.eigenvalues, reverse=True)
    vectors = np.array(m.eigenvectors)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(vectors.T @ np.diag(m.eigenvalues) @ vectors, m.covariance, rtol=1e-8)
    assert m.counts == {"train": 18, "validation": 6, "test": 24}
    assert m.class_counts == {"train": [6, 6, 6], "validation": [2, 2, 2], "test": [8, 8, 8]}


NARROW = {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
}
"""What has numpy and its library compute as on a processor without AVX-512; one that has none does so anyway."""

PACK = """
import sys
from pathlib import Path
from harness.data.pack import pack
from harness.settings.schema import DataSettings
pack(DataSettings(source="synthetic", train_limit=300, test_limit=100), Path(sys.argv[1]))
"""


def test_another_processor_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, narrow in (("own", {}), ("narrow", NARROW)):
        # Unknown names are only warned of: numpy's versions call the instructions differently.
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PACK, str(tmp_path / name)], env=os.environ | narrow, check=True
        )
    files = sorted(path.name for path in (tmp_path / "own").iterdir())
    assert "manifest.json" in files
    for file in files:
        assert (tmp_path / "own" / file).read_bytes() == (tmp_path / "narrow" / file).read_bytes(), file


@pytest.mark.parametrize("source", ["synthetic", "fashion-mnist-8k"])
def test_rounding_leaves_the_numbers_that_training_uses(source: str, tmp_path: Path) -> None:
    manifest = pack(DataSettings.model_validate({"source": source}), tmp_path / "packed")
    values, vectors = np.linalg.eigh(manifest.covariance)
    for rounded, exact in ((manifest.eigenvalues, values[::-1]), (manifest.eigenvectors, vectors.T[::-1])):
        ours, theirs = np.array(rounded).astype(np.float32), exact.astype(np.float32)
        np.testing.assert_array_equal(np.abs(ours), np.abs(theirs))


def test_components_that_are_free_are_chosen(tmp_path: Path) -> None:
    """Grey images stored in colour: one component is grey, and any two that stand on it and each other are the rest."""
    half, third, sixth = 0.7071067812, 0.5773502692, 0.4082482905
    grey = 2000.0 * np.ones((3, 3))
    values, vectors = principal_components(grey)
    assert values.tolist() == [6000.0, 0.0, 0.0]
    assert vectors.tolist() == [[third] * 3, [0.8164965809, -sixth, -sixth], [0.0, half, -half]]
    assert "-0" not in repr(values)
    for seed in range(20):
        noise = np.random.default_rng(seed).uniform(-1e-12, 1e-12, (3, 3))
        again = principal_components(grey + noise + noise.T)
        assert again[0][1:].tolist() == [0.0, 0.0]
        np.testing.assert_array_equal(again[1], vectors)
    assert principal_components(np.eye(3) * 5)[1].tolist() == np.eye(3).tolist()


def test_the_hash_is_of_images_labels_and_class_names_wherever_they_lie(tmp_path: Path) -> None:
    one = pack(settings(tree(tmp_path / "here", ["a", "b"], 4)), tmp_path / "one")
    root = tree(tmp_path / "there/deep", ["a", "b"], 4)
    hashes = [one.hash, pack(settings(root), tmp_path / "two").hash]
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    # Another image; another class name; the names exchanged.
    picture(root / "train/a/image 0.png", seed=99)
    for renames in ("", "bc", "axcaxc"):
        for old, new in zip(renames[::2], renames[1::2], strict=True):
            for part in ("train", "val"):
                (root / part / old).rename(root / part / new)
        hashes.append(pack(settings(root), tmp_path / "two").hash)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_one_tree_is_split_into_disjoint_parts(tmp_path: Path) -> None:
    tree(tmp_path, ["a", "b"], 20, parts=("images",))
    manifests = [
        pack(settings(tmp_path / "images", test=0.3, split_seed=seed), tmp_path / str(seed)) for seed in (0, 1)
    ]
    packed = Packed.open(tmp_path / "0")
    seen = [packed.part(part).images[i].tobytes() for part in PARTS for i in range(packed.manifest.counts[part])]
    assert len(set(seen)) == 40
    assert packed.manifest.counts == {"train": 21, "validation": 7, "test": 12}
    assert manifests[0].hash != manifests[1].hash, "another seed, another split"


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


def test_limits_are_applied_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    monkeypatch.setattr("harness.data.pack.to_size", lambda image, size: decoded.append(size) or to_size(image, size))
    pack(settings(tree(tmp_path / "images", ["a", "b"], 8), train_limit=8, test_limit=6), tmp_path / "packed")
    assert len(decoded) == 14


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


def test_a_damaged_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no packed images; run: harness data"):
        Packed.open(tmp_path)
    pack(settings(tree(tmp_path / "images", ["a", "b"], 4)), tmp_path / "packed")
    file = tmp_path / "packed/train.images.u8"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"train\.images\.u8: damaged: 10367 bytes, 10368 are needed"):
        Packed.open(tmp_path / "packed").part("train")
    manifest = tmp_path / "packed/manifest.json"
    manifest.write_text(json.dumps({"name": "images"}))
    with pytest.raises(UserError, match=r"manifest\.json: not a manifest of images: .*remove the folder and run again"):
        Packed.open(tmp_path / "packed")


def test_packing_replaces_packed_images_and_nothing_else(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ["a", "b"], 4)
    files = sorted(root.rglob("*"))
    pack(settings(root), tmp_path / "packed")
    pack(settings(root, size=16), tmp_path / "packed")
    assert Packed.open(tmp_path / "packed").manifest.size == 16
    with pytest.raises(UserError, match="images: holds other files than packed images; take another folder"):
        pack(settings(root), root)
    assert sorted(root.rglob("*")) == files
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UserError, match=f"{out}: cannot be written"):
            pack(settings(root), out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "images", "packed"], "nothing half-written is left"


def test_synthetic_images_follow_their_limits_and_can_be_told_apart(tmp_path: Path) -> None:
    assert pack(DataSettings(source="synthetic"), tmp_path / "one").counts == {
        "train": 461, "validation": 51, "test": 256
    }  # fmt: skip
    manifest = pack(DataSettings(source="synthetic", train_limit=300, test_limit=100), tmp_path / "two")
    assert (manifest.size, manifest.channels, len(manifest.class_names)) == (32, 3, 10)
    assert sum(manifest.counts.values()) == 400
    packed = Packed.open(tmp_path / "two")
    train, test = packed.part("train"), packed.part("test")
    centres = np.stack([train.images[train.labels == c].mean((0, 1, 2)) for c in range(10)])
    nearest = ((test.images.mean((1, 2))[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == test.labels).mean() > 0.5


sizes_of_classes = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(sizes=sizes_of_classes, part=st.floats(0, 1), seed=st.integers(0, 5), order=st.integers(0, 2**32 - 1))
def test_split_is_disjoint_stratified_and_repeatable(sizes: list[int], part: float, seed: int, order: int) -> None:
    labels = np.random.default_rng(order).permutation(np.repeat(np.arange(len(sizes)), sizes))
    count = round(part * len(labels))
    chosen, rest = stratified(labels, count, seed, "test")
    assert sorted([*chosen, *rest]) == list(range(len(labels)))
    assert len(chosen) == count
    for label, size in enumerate(sizes):
        assert abs((labels[chosen] == label).sum() - size * count / len(labels)) < 1
    again, _ = stratified(labels, count, seed, "test")
    np.testing.assert_array_equal(chosen, again)


@given(sizes=sizes_of_classes, part=st.floats(0, 1))
def test_a_limit_keeps_every_class_or_is_refused(sizes: list[int], part: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    limit = round(part * len(labels))
    try:
        chosen = limited(labels, limit, 0, "test_limit")
    except UserError as error:
        assert "data.test_limit: " in str(error)  # noqa: PT017 - either outcome is right; none loses a class
    else:
        assert len(chosen) == limit
        assert set(labels[chosen]) == set(labels)


def test_split_depends_on_seed_and_purpose() -> None:
    labels = np.repeat(np.arange(3), 50)
    one = cut(labels, 0.2, 0, "validation")[0]
    assert not np.array_equal(one, cut(labels, 0.2, 1, "validation")[0])
    assert not np.array_equal(one, cut(labels, 0.2, 0, "test")[0])
