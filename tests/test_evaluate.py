"""Evaluation counts what it saw, averages probabilities over crops, and leaves out what says nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import evaluated, tiny, trained
from pictures import tree
from torch import Tensor

from harness.data.batches import Images
from harness.data.pack import pack
from harness.data.packed import Packed
from harness.errors import UserError
from harness.evaluate import predictions
from harness.features import see
from harness.net.alexnet import AlexNet, Masks
from harness.net.alexnet import trained as net_of
from harness.net.predict import mean_loss, probabilities, top_errors
from harness.numerics import configure
from harness.record import Run
from harness.settings.schema import DataSettings
from harness.weights import load


@pytest.fixture(scope="module")
def run(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A trained run, whose weights lie in the cache of these tests."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(out.parent))
        yield trained(tiny(), packed, out)


def test_ten_crops_average_probabilities_not_logits(run: Run, packed: Path) -> None:
    settings, weights = run.config.resolved, load(run)
    assert weights is not None
    numerics = configure(settings)
    net = net_of(settings, 3, 10, weights)
    images = Images(Packed.open(packed), "test", settings, numerics.device)
    seen = see(net, images, numerics, ten=True)
    with torch.no_grad():
        views = next(images.test_views(100, ten=True))
        expected = torch.stack([net(view).softmax(1) for view in views]).mean(0)
        of_logits = torch.stack([net(view) for view in views]).mean(0).softmax(1)
    torch.testing.assert_close(seen["ten"], expected)
    assert torch.equal(seen["centre"], probabilities(net, images, numerics))
    assert not torch.allclose(seen["ten"], of_logits, rtol=1e-6, atol=1e-7)


def test_errors_and_loss_by_hand() -> None:
    probs = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2], [0.2, 0.2, 0.6]])
    labels = torch.tensor([0, 1, 1, 2])
    assert top_errors(probs, labels) == 50.0  # the tie counts for the lower class
    assert top_errors(probs, labels, 2) == 0.0
    assert mean_loss(probs, labels) == pytest.approx(-np.log([0.5, 0.2, 0.4, 0.6]).mean())
    table = predictions(probs, labels)
    assert table["top1"].tolist() == [0, 2, 0, 2]
    assert table["correct"].tolist() == [True, False, False, True]
    assert "top4" not in table


def test_every_part_has_its_errors_and_counts(run: Run, packed: Path, tmp_path: Path) -> None:
    evaluated(run, packed, tmp_path / "results")
    metrics = json.loads((tmp_path / "results/metrics.json").read_text())
    for part, count in (("train", 270), ("validation", 30), ("test", 100)):
        assert metrics[f"{part}_images"] == count
        assert 0 <= metrics[f"{part}_top5"] <= metrics[f"{part}_top1"] <= 100
        # A whole number of images is wrong.
        assert metrics[f"{part}_top1"] * count / 100 == pytest.approx(round(metrics[f"{part}_top1"] * count / 100))
    more = {"test_top1_mc_geometric", "fc7_precision6", "pixels_precision6", "conv1_chroma_p"}
    assert {"test_top1_10crop", "test_top5_10crop"} | more <= set(metrics)


def test_every_batch_is_shown_once_and_counted(
    run: Run, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    whole = AlexNet.forward

    def forward(
        self: AlexNet, x: Tensor, masks: Masks | None = None, start: int = 0, stop: int | None = None
    ) -> Tensor:
        if start == 0 and stop == len(self.rows) - 1:
            shown.append(len(x))
        return whole(self, x, masks, start, stop)

    monkeypatch.setattr(AlexNet, "forward", forward)
    evaluated(run, packed, tmp_path / "results")
    # Ten crops of the 100 test images; the 270 training and 30 validation images once, batches of 128.
    assert shown == [*[100] * 10, 128, 128, 14, 30]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("eval: 1 of 5 batches, ")
    assert lines[-2].startswith("eval: 5 of 5 batches, ")


def test_images_that_were_not_seen_are_noticed(
    run: Run, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Images.test_views
    monkeypatch.setattr(Images, "test_views", lambda self, *given: list(whole(self, *given))[1:])
    monkeypatch.setattr("harness.net.predict.BATCH", 32)
    with pytest.raises(UserError, match=r"142 images of the train part were seen, it has 270"):
        evaluated(run, packed, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_top5_is_left_out_with_fewer_than_ten_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = tree(tmp_path / "images", ["a", "b", "c"], 8)
    pack(DataSettings(source="folder", root=str(root), size=28, validation=0.25), tmp_path / "packed")
    metrics = evaluated(trained(tiny(batch=8, epochs=1), tmp_path / "packed", tmp_path / "run"), tmp_path / "packed")
    assert metrics["test_images"] == 24
    assert not [name for name in metrics if "top5" in name]
