"""The pictures show what the net has and says: each is compared with the same thing computed another way."""

import io
import json
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY
from fake_study import diverge, make_results, make_run, make_study
from PIL import Image
from reading import section

from harness.data.batches import Images, TrainingBatches
from harness.data.packed import Packed
from harness.data.store import images_of, pack_study
from harness.errors import UserError
from harness.evaluate import evaluate
from harness.gallery import compute, draw
from harness.gallery.compute import MAPS, Gallery
from harness.gallery.render import captions, draw_all, find_cell, render
from harness.net.alexnet import AlexNet, trained
from harness.net.layout import Norm
from harness.net.lrn import response_norm
from harness.numerics import configure
from harness.record import Run, RunFolder, read_run
from harness.report.build import gallery as pictures
from harness.report.build import render as render_report
from harness.report.runs import read_results
from harness.settings.load import load_study, resolve
from harness.settings.study import Cell, Study
from harness.train.run import train
from harness.weights import load

NAMES = ["kernels", "predictions", "neighbours", "confusion", "augmentations", "lrn"]

STUDY = """
name: tiny
title: A tiny study
purpose: One run.
data: DATA
seeds: [0]
variants:
  base: SETTINGS
"""

SYNTHETIC = {"source": "synthetic", "train_limit": 300, "test_limit": 100}


@dataclass(frozen=True)
class Made:
    """A study of one run, which has been trained below `root`."""

    study: Study
    root: Path
    run: Run
    packed: Packed

    @property
    def cell(self) -> Cell:
        return self.study.cells[0]

    def gallery(self, out: Path) -> dict[str, Any]:
        return render(self.cell, self.study, self.root, out)

    def compute(self) -> Gallery:
        return compute.compute(self.run, self.cell.key, self.packed)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        found = load(self.run)
        assert found is not None
        return found


def write_study(root: Path, data: dict[str, Any], settings: dict[str, Any]) -> Path:
    path = root / "experiments/study.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(STUDY.replace("SETTINGS", json.dumps(settings)).replace("DATA", json.dumps(data)))
    return path


def trained_run(root: Path, data: dict[str, Any] = SYNTHETIC, **settings: object) -> Made:
    study = load_study(write_study(root, data, TINY | settings))
    pack_study(study, root)
    packed = images_of(study, root)
    files = RunFolder.of(root / study.cells[0].results)
    train(study.variants["base"], 0, packed, files.training, 1e9, "test")
    return Made(study, root, read_run(files), packed)


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One folder for the packed images and the weights of all these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture(scope="module")
def made(caches: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return trained_run(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="module")
def shown(made: Made) -> Gallery:
    return made.compute()


@pytest.fixture(scope="module")
def drawn(made: Made) -> Path:
    """The gallery in the folder of the study's report."""
    made.gallery(made.root / "reports/tiny/gallery")
    return made.root / "reports/tiny/gallery"


def size_of(content: bytes) -> tuple[int, int]:
    """Width and height of a picture, which is opaque and no larger than a page can carry."""
    assert len(content) < 150_000
    picture = Image.open(io.BytesIO(content))
    assert picture.mode in ("RGB", "P")
    assert "transparency" not in picture.info
    return picture.size


def test_a_gallery_made_twice_is_the_same_to_the_byte(drawn: Path, made: Made, tmp_path: Path) -> None:
    made.gallery(tmp_path / "again")
    files = sorted(path.name for path in drawn.iterdir())
    assert files == sorted([*(f"{name}.png" for name in NAMES), "gallery.json"])
    for file in files:
        assert (drawn / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file
        assert file == "gallery.json" or size_of((drawn / file).read_bytes())
    assert {path.name for path in tmp_path.iterdir()} == {"again"}


def test_the_index_says_which_run_and_which_images(drawn: Path, made: Made, shown: Gallery) -> None:
    index = json.loads((drawn / "gallery.json").read_text())
    fingerprint = made.run.fingerprint
    assert index["run"] | {"key": "base-0", "seed": 0, "fingerprint": fingerprint} == index["run"]
    assert [picture["name"] for picture in index["pictures"]] == NAMES
    assert all(picture["caption"] and picture["title"] for picture in index["pictures"])
    images = {picture["name"]: picture["images"] for picture in index["pictures"]}
    assert images["predictions"]["test"] == shown.predictions.indices.tolist()
    assert images["neighbours"]["train"] == shown.neighbours.near.tolist()
    assert index["left_out"] == []


def test_kernels_of_each_column_are_the_halves_of_the_weights(made: Made, shown: Gallery) -> None:
    weights = made.weights["conv1.weight"].permute(0, 2, 3, 1).numpy()
    half = len(weights) // 2
    assert len(shown.kernels) == 2
    np.testing.assert_array_equal(shown.kernels[0], weights[:half])
    np.testing.assert_array_equal(shown.kernels[1], weights[half:])


def test_a_kernels_zero_is_grey_and_its_largest_weight_is_an_end() -> None:
    kernels = np.zeros((2, 2, 2, 1), np.float32)
    kernels[0, ..., 0] = [[0, 0.5], [-1, 0.25]]
    assert draw.kernel_pixels(kernels)[..., 0].tolist() == [[[128, 191], [0, 159]], [[128, 128], [128, 128]]]


def test_predictions_and_confusion_are_what_evaluation_finds(made: Made, shown: Gallery, tmp_path: Path) -> None:
    opened = made.packed
    test = opened.part("test")
    found = shown.predictions
    assert sorted(found.labels.tolist()) == list(range(10))  # one image of each class
    np.testing.assert_array_equal(found.labels, test.labels[found.indices])
    edge = (opened.manifest.size - 24) // 2
    np.testing.assert_array_equal(found.images, test.images[found.indices, edge : edge + 24, edge : edge + 24])
    metrics = evaluate(made.run, "base-0", opened, tmp_path / "results").numbers
    table = pd.read_parquet(tmp_path / "results/predictions.parquet")
    for place, index in enumerate(found.indices):
        assert [table[f"top{rank}"][index] for rank in range(1, 6)] == found.top[place].tolist()
        assert table["p1"][index] == pytest.approx(found.probabilities[place, 0], abs=6e-4)
    counts = shown.confusion
    assert counts.sum() == metrics["test_images"] == 100
    assert 100 - 100 * np.trace(counts) / counts.sum() == pytest.approx(metrics["test_top1"])
    np.testing.assert_array_equal(counts.sum(1), opened.manifest.class_counts["test"])


def test_neighbours_are_those_of_a_brute_force_search(made: Made, shown: Gallery) -> None:
    opened, settings = made.packed, shown.config.resolved
    net = trained(settings, 3, 10, made.weights)

    def units(part: str) -> np.ndarray:
        images = Images(opened, part, settings, torch.device("cpu"))
        with torch.no_grad():
            views = torch.cat([views[0] for views in images.test_views(16, ten=False)])
            traced = [x for name, _, x in net.trace(views) if name == "fc7"]
        last: np.ndarray = traced[-1].double().numpy()
        return last

    found = shown.neighbours
    assert found.layer == "fc7"
    train, test = units("train"), units("test")
    for row, index in enumerate(found.indices):
        distances = np.linalg.norm(train - test[index], axis=1)
        assert found.near[row].tolist() == distances.argsort(kind="stable")[:6].tolist()
        np.testing.assert_array_equal(found.near_labels[row], opened.part("train").labels[found.near[row]])
        np.testing.assert_array_equal(found.near_images[row], opened.part("train").images[found.near[row], 4:28, 4:28])


def test_normalised_maps_are_those_of_the_nets_own_lrn(made: Made, shown: Gallery) -> None:
    found = shown.response
    assert found is not None
    expected = response_norm(torch.from_numpy(found.before)[None], found.norm)[0].numpy()
    np.testing.assert_allclose(found.after, expected, rtol=1e-6)
    assert found.layer == "conv1"
    assert found.shown == list(range(found.centre - 2, found.centre + 3)) or len(found.before) < 5
    image = made.packed.part("test").images[found.index, 4:28, 4:28]
    np.testing.assert_array_equal(found.image, image)
    # The maps are of that image: conv1 by hand.
    weights = made.weights
    x = torch.from_numpy(image.astype(np.float32) - made.packed.mean[4:28, 4:28]).permute(2, 0, 1)[None]
    by_hand = torch.nn.functional.conv2d(x, weights["conv1.weight"], weights["conv1.bias"], padding=2).relu()[0]
    np.testing.assert_allclose(found.before, by_hand.numpy(), rtol=1e-3, atol=1e-3)


def test_the_window_of_a_kernel_stays_in_its_column() -> None:
    norm = Norm(5, 1e-4, 0.75, 2.0)
    assert compute.window(norm, 16, 7) == [5, 6, 7, 8, 9]
    assert compute.window(norm, 16, 0) == [0, 1, 2]
    assert compute.window(Norm(5, 1e-4, 0.75, 2.0, columns=2), 16, 7) == [5, 6, 7]
    assert compute.window(Norm(4, 1e-4, 0.75, 2.0), 16, 7) == [5, 6, 7, 8]
    assert len(compute.window(Norm(15, 1e-4, 0.75, 2.0), 32, 16)) == MAPS


def test_augmentations_are_what_training_drew(made: Made, shown: Gallery) -> None:
    found = shown.augmentations
    assert found is not None
    assert found.epochs == [1, 2]
    opened, settings = made.packed, shown.config.resolved
    batches = TrainingBatches(opened, settings, 0, torch.device("cpu"))
    stored = opened.part("train").images[found.index]
    np.testing.assert_array_equal(found.image, stored)
    assert found.colour is not None
    for number, epoch in enumerate(found.epochs):
        order = batches.order(epoch).tolist()
        step, place = divmod(order.index(found.index), settings.batch)
        draws = batches.draw(epoch, step, min(settings.batch, len(order) - step * settings.batch))
        row, column = draws.corners[place].tolist()
        assert found.corners[number].tolist() == [row, column]
        assert found.flips[number] == bool(draws.flips[place])
        assert draws.colour is not None
        expected = stored[row : row + 24, column : column + 24].astype(np.float32)
        expected = expected[:, ::-1] if draws.flips[place] else expected
        expected = np.clip(expected + draws.colour[place].numpy(), 0, 255)
        assert np.abs(found.views[number].astype(float) - expected).max() <= 0.51


def test_what_does_not_apply_is_left_out_and_said(tmp_path: Path) -> None:
    # Spatial normalisation is not taken for local response normalisation.
    made = trained_run(tmp_path, lrn=False, spatial_norm=True, augment=False, gpus=1, depth="-fc7", epochs=1)
    index = made.gallery(tmp_path / "gallery")
    assert [picture["name"] for picture in index["pictures"]] == NAMES[:4]
    assert {one["name"] for one in index["left_out"]} == {"augmentations", "lrn"}
    assert {path.name for path in (tmp_path / "gallery").iterdir()} == {
        *(f"{name}.png" for name in NAMES[:4]), "gallery.json",
    }  # fmt: skip
    shown = made.compute()
    assert shown.neighbours.layer == "fc6"
    assert len(shown.kernels) == 1
    texts = captions(shown)
    assert "fc6" in texts["neighbours"][1]
    assert "column" not in texts["kernels"][1]


@pytest.mark.parametrize(
    ("settings", "columns", "layer"),
    [
        (TINY | {"columns": "apart"}, 2, "fc7"),
        (TINY | {"columns": "dense"}, 1, "fc7"),
        (TINY | {"depth": "-conv2"}, 1, "fc7"),  # conv3 reads both columns of conv1, so there are none to tell apart
        ({"preset": ["cifar_19pct"], "device": "cpu"}, 1, "conv3"),
    ],
)
def test_columns_and_last_hidden_layer_are_read_from_the_net(
    packed: Path, settings: dict[str, Any], columns: int, layer: str
) -> None:
    resolved = resolve(settings, "test")
    net = AlexNet(resolved, 3, 10)
    net.initialise(0)
    opened = Packed.open(packed)
    numerics = configure(resolved)
    test, train = (Images(opened, part, resolved, numerics.device) for part in ("test", "train"))
    assert len(compute.kernels(net)) == columns
    assert compute.neighbours(net, test, train, numerics, 0).layer == layer


def test_as_run_norms_before_relu_and_its_crops_can_be_shown(tmp_path: Path) -> None:
    shown = trained_run(tmp_path, preset=["as_run", "small"], epochs=1).compute()
    assert shown.response is not None
    assert (shown.response.before < 0).any()
    assert shown.response.norm.columns == 2
    assert sorted(draw_all(shown)) == sorted(NAMES)


def test_grey_images_and_fewer_than_five_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_data import tree

    monkeypatch.chdir(tmp_path)
    root = tree(tmp_path / "images", ["a $x$", "b", "c_<d>"], 8)
    data: dict[str, Any] = {"source": "folder", "root": str(root), "size": 28, "validation": 0.25}
    shown = trained_run(tmp_path / "first", data, batch=8, epochs=1).compute()
    assert shown.predictions.top.shape == (10, 3)
    assert sorted(draw_all(shown)) == sorted(NAMES)

    data = {"source": "fashion-mnist-8k", "train_limit": 100, "test_limit": 40}
    shown = trained_run(tmp_path / "second", data, colour=0, epochs=1).compute()
    assert shown.kernels[0].shape[-1] == 1
    assert shown.augmentations is not None
    assert shown.augmentations.colour is None
    for name, (content, _) in draw_all(shown).items():
        assert size_of(content)[0] == 1140 or name == "confusion"


def test_many_classes_show_those_that_are_confused_most() -> None:
    rng = np.random.default_rng(0)
    counts = np.diag(rng.integers(30, 50, 100)).astype(np.int64)
    counts[7, 93] = counts[12, 40] = 19
    shown = draw.shown_classes(counts)
    assert len(shown) == draw.MATRIX
    assert {7, 93, 12, 40} <= set(shown)
    assert draw.shown_classes(counts[:10, :10]) == list(range(10))
    names = [f"a class with a rather long name, {number}" for number in range(100)]
    assert size_of(draw.confusion(counts, names))[0] == 1140
    counts = np.zeros((1000, 1000), np.int64)
    counts[7, 93] = 1
    tracemalloc.start()
    assert draw.shown_classes(counts) == [*range(draw.MATRIX - 1), 93]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * counts.nbytes


def test_the_first_layer_fits() -> None:
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=(48, 11, 11, 3)).astype(np.float32) for _ in range(2)]
    for shown in (columns, [np.concatenate(columns)], *([rng.normal(size=(n, 5, 5, 1))] * 2 for n in (2, 6, 14, 22))):
        assert size_of(draw.kernels(shown))[1] < 500


def test_photographs_are_stored_with_fewer_colours_and_look_the_same(shown: Gallery) -> None:
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)) for _ in range(10)]
    images = np.stack([np.asarray(one.resize((224, 224))) for one in small])
    figure = draw.Figure(figsize=(7.6, 3))
    figure.figimage(np.hstack(images[:4]), 20, 20)
    full, less = (
        np.asarray(Image.open(io.BytesIO(draw.png(figure, limit))).convert("RGB")) for limit in (10**9, 90_000)
    )
    assert 0 < np.abs(full.astype(int) - less).mean() < 6
    assert (less[:10] == 255).all()
    assert size_of(draw.predictions(replace(shown.predictions, images=images), ["a class, with a long name"] * 10))
    assert draw.short("Egyptian cat, of the Nile", 14) == "Egyptian cat…"


def test_a_diverged_run_is_one_line_and_no_pictures(tmp_path: Path) -> None:
    made = trained_run(tmp_path, lr=1e9, epochs=1)
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery/kernels.png").write_text("of an earlier run")
    index = made.gallery(tmp_path / "gallery")
    assert index["note"] == "the run diverged in epoch 1"
    assert [path.name for path in (tmp_path / "gallery").iterdir()] == ["gallery.json"]


def test_a_users_mistakes_are_one_line(made: Made, tmp_path: Path) -> None:
    study = make_study(tmp_path)
    assert find_cell(study, None, None) == Cell("components", "base", 0)
    with pytest.raises(UserError, match=r"--variant: got 'lrn'; allowed: base, no-lrn"):
        find_cell(study, "lrn", None)
    with pytest.raises(UserError, match=r"--seed: got 7; allowed: 0, 1"):
        find_cell(study, None, 7)
    with pytest.raises(UserError, match=r"base-0: "):
        render(study.cells[0], study, tmp_path, tmp_path / "gallery")
    other = load_study(write_study(tmp_path / "other", SYNTHETIC | {"test_limit": 90}, TINY))
    shutil.copytree(made.root / "reports", tmp_path / "other/reports")
    pack_study(other, tmp_path / "other")
    with pytest.raises(UserError, match=r"base-0: was trained on other images"):
        render(other.cells[0], other, tmp_path / "other", tmp_path / "gallery")
    assert not (tmp_path / "gallery").exists()


# ---- in the report


def test_the_report_shows_every_picture_with_its_caption(drawn: Path, made: Made) -> None:
    evaluate(made.run, "base-0", made.packed, made.run.folder.evaluation)
    render_report(made.study, None, made.root)
    section_text = section(drawn.with_name("details.md").read_text(), "Pictures")
    assert "`base-0`" in section_text
    assert "Warning" not in section_text
    assert all(f"](gallery/{name}.png)" in section_text for name in NAMES)
    assert "of all 100 test images" in section_text


def test_a_report_without_a_gallery_has_no_section(tmp_path: Path) -> None:
    checked = make_study(tmp_path)
    make_results(checked, tmp_path)
    render_report(checked, None, tmp_path)
    assert "## Pictures" not in (tmp_path / checked.folder / "details.md").read_text()


def test_pictures_of_another_run_than_the_tables_are_said_to_be(drawn: Path, made: Made, tmp_path: Path) -> None:
    shutil.copytree(drawn, tmp_path / "reports/tiny/gallery")
    make_run(tmp_path / made.cell.results, made.study.variants["base"], 0)
    index = pictures(made.study, read_results(made.study, None, tmp_path), tmp_path)
    assert any("Warning" in line for line in index["lines"])


def test_the_report_says_that_a_diverged_run_has_no_pictures(drawn: Path, made: Made, tmp_path: Path) -> None:
    make_run(tmp_path / made.cell.results, made.study.variants["base"], 0)
    diverge(tmp_path / made.cell.results, 2)
    (tmp_path / "reports/tiny/gallery").mkdir()
    index = json.loads((drawn / "gallery.json").read_text()) | {"note": "the run diverged in epoch 2", "pictures": []}
    (tmp_path / "reports/tiny/gallery/gallery.json").write_text(json.dumps(index))
    render_report(made.study, None, tmp_path)
    text = (tmp_path / "reports/tiny/details.md").read_text()
    assert "None: of the run `base-0`, the run diverged in epoch 2." in section(text, "Pictures")


def test_a_broken_gallery_is_one_line(drawn: Path, made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "reports/tiny/gallery"
    folder.mkdir(parents=True)
    results = read_results(made.study, None, tmp_path)
    for content, message in (
        ((drawn / "gallery.json").read_text(), r"kernels\.png: missing"),
        ("{}", r"gallery\.json: "),
    ):
        (folder / "gallery.json").write_text(content)
        with pytest.raises(UserError, match=message):
            pictures(made.study, results, tmp_path)
