"""What evaluation finds in a trained net is what a slow and plain computation finds."""

import gc
import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, tiny, trained
from torch import Tensor

from harness import features
from harness.data.batches import Images
from harness.data.packed import Packed
from harness.ensemble import ensembles, mixed, tuned
from harness.errors import UserError
from harness.files import write_text
from harness.net.alexnet import AlexNet
from harness.net.alexnet import trained as net_of
from harness.net.predict import probabilities, top_errors
from harness.numerics import configure
from harness.record import RunFolder
from harness.settings.load import load_study, resolve
from harness.weights import load


def net_and_images(packed: Path, part: str = "test", **settings: object) -> tuple[AlexNet, Images]:
    chosen = tiny(**settings)
    numerics = configure(chosen)
    net = AlexNet(chosen, 3, 10)
    net.initialise(0)
    return net, Images(Packed.open(packed), part, chosen, numerics.device)


def test_thinned_nets_are_averaged_over_their_masks(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MASKS", 3)
    net, images = net_and_images(packed)
    seen = features.see(net, images, configure(tiny()), thinned=7)
    found = seen["geometric"], seen["arithmetic"]
    view = next(images.test_views(100, ten=False))[0]
    with torch.no_grad():
        logs = torch.stack([net(view, net.draw_masks(100, 7, 0, number)).log_softmax(1) for number in range(3)])
    torch.testing.assert_close(found[0], logs.mean(0).softmax(1))
    torch.testing.assert_close(found[1], logs.exp().mean(0))
    torch.testing.assert_close(found[0].sum(1), torch.ones(100))


def test_a_net_without_dropout_has_no_thinned_nets(packed: Path) -> None:
    net, images = net_and_images(packed, dropout=0)
    assert "geometric" not in features.see(net, images, configure(tiny()), thinned=0)


def test_scaled_outputs_are_the_geometric_mean_where_the_net_is_linear_above_dropout(packed: Path) -> None:
    """Section 4.2: exact for one layer of dropout below a softmax, in the limit of many masks."""
    net, images = net_and_images(packed, depth="-fc7")
    found = features.see(net, images, configure(tiny()), thinned=0)["geometric"]
    with torch.no_grad():
        scaled = net(next(images.test_views(100, ten=False))[0]).softmax(1)
    assert (found - scaled).abs().max() < 0.05


def searched(queries: Tensor, others: Tensor, batch: int = 16) -> features.Search:
    search = features.Search(queries)
    for part in torch.split(others, batch):
        search.add(part)
    return search


def at_once(queries: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """What evaluation computed while it held all images: every committed number is of it."""
    squares = (others * others).sum(1)
    found = [
        (squares - 2 * part @ others.mT).topk(min(features.NEIGHBOURS, len(others)), largest=False)
        for part in torch.split(queries, 1024)
    ]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


@pytest.mark.parametrize("block", [features.BLOCK, 32, 1])
def test_neighbours_are_those_of_a_search_through_all(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", block)
    draws = torch.Generator().manual_seed(0)
    queries, others = torch.randn(20, 6, generator=draws), torch.randn(50, 6, generator=draws)
    expected = torch.cdist(queries, others).argsort(1)[:, : features.NEIGHBOURS]
    found = searched(queries, others).nearest()
    assert torch.equal(found, expected)
    labels, other_labels = torch.arange(20) % 3, torch.arange(50) % 3
    by_hand = np.mean([[other_labels[j] == labels[i] for j in expected[i]] for i in range(20)])
    assert features.precision(found, labels, other_labels) == pytest.approx(by_hand)
    assert searched(queries, others[:4]).nearest().sort(1).values.tolist() == [[0, 1, 2, 3]] * 20


def few_values(count: int, units: int, seed: int) -> Tensor:
    """Features of which many are equal, and whose distances float32 holds exactly: all depends on how ties go."""
    return torch.randint(0, 2, (count, units), generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("count", [5, 383, 384, 3000])
@pytest.mark.parametrize("units", [1, 12])
def test_ties_in_a_part_of_one_block_go_as_in_a_search_of_all_at_once(count: int, units: int) -> None:
    """topk takes another way from 64 times as many values as it looks for: each has its own order of equal ones."""
    queries, others = few_values(1100, units, 0), few_values(count, units, 1)
    assert torch.equal(searched(queries, others, 128).nearest(), at_once(queries, others)[1])


def test_a_part_of_one_block_is_searched_as_all_at_once_to_the_last_bit() -> None:
    draws = torch.Generator().manual_seed(2)
    queries, others = torch.randn(1500, 200, generator=draws), torch.randn(3501, 200, generator=draws)
    search = searched(queries, others, 128)
    values, places = at_once(queries, others)
    assert torch.equal(search.nearest(), places)
    assert torch.equal(search._nearest[0], values)


@pytest.mark.parametrize("units", [1, 4, 12])
def test_ties_between_blocks_change_no_distance(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a part of several blocks the nearest are as near; among those as far as the last the earlier block's stay."""
    queries, others = few_values(50, units, 0), few_values(3000, units, 1)
    values, places = at_once(queries, others)
    monkeypatch.setattr(features, "BLOCK", 512)
    search = searched(queries, others)
    found = search.nearest()
    assert torch.equal(search._nearest[0], values)
    nearer = values < values[:, -1:]
    for row in range(len(queries)):
        assert set(found[row][nearer[row]].tolist()) == set(places[row][nearer[row]].tolist())
        assert len(set(found[row].tolist())) == features.NEIGHBOURS


def test_a_search_holds_no_more_of_a_longer_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", 64)

    def peak(images: int) -> int:
        """Most numbers that all tensors held, between two batches."""
        gc.collect()
        search, most = features.Search(torch.zeros(10, 50)), 0
        for batch in torch.arange(images).split(16):
            search.add(batch[:, None].float().repeat(1, 50))
            most = max(most, sum(one.numel() for one in gc.get_objects() if type(one) is Tensor and one.dim() == 2))
        assert search.nearest().tolist() == [[0, 1, 2, 3, 4, 5]] * 10
        return most

    peak(128)
    assert peak(256) == peak(128)


def test_hidden_units_are_given_away_batch_by_batch(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BATCH", 10)
    net, images = net_and_images(packed, part="train")
    given: list[weakref.ref[Tensor]] = []
    alive, told = [], []

    def take(units: Tensor) -> None:
        assert units.shape == (10, 16)
        given.append(weakref.ref(units))
        alive.append(sum(one() is not None for one in given))

    features.see(net, images, configure(tiny()), hidden=take, advance=lambda units, note: told.append(units))
    assert len(given) == sum(told) == 27
    assert max(alive) <= 2


def test_hidden_units_are_those_before_the_last_layer(packed: Path) -> None:
    net, images = net_and_images(packed)
    given: list[Tensor] = []
    seen = features.see(net, images, configure(tiny()), ten=True, hidden=given.append)
    units = torch.cat(given)
    assert torch.equal(seen["centre"], probabilities(net, images, configure(tiny())))
    with torch.no_grad():
        logits = net.layers["fc8"](units)
        expected = net(next(images.test_views(100, ten=False))[0])
    torch.testing.assert_close(logits, expected)


def test_a_net_without_hidden_units_gives_none(packed: Path) -> None:
    net = AlexNet(resolve({"preset": "cifar_13pct", "device": "cpu"}, "net"), 3, 10)
    _, images = net_and_images(packed)
    net.initialise(0)
    assert not features.hides(net)
    given: list[Tensor] = []
    features.see(net, images, configure(tiny()), hidden=given.append)
    assert given == []


def test_chroma_is_nothing_for_grey_kernels_and_all_for_opposed_colours() -> None:
    grey = torch.ones(1, 3, 5, 5)
    opposed = torch.cat([torch.ones(1, 1, 5, 5), -torch.ones(1, 1, 5, 5), torch.zeros(1, 1, 5, 5)], 1)
    red = torch.cat([torch.ones(1, 1, 5, 5), torch.zeros(1, 2, 5, 5)], 1)
    assert features.chroma(torch.cat([grey, opposed, red])) == pytest.approx([0, 1, 2 / 3], abs=1e-6)


def test_columns_that_differ_in_colour_are_told_from_those_that_do_not(packed: Path) -> None:
    net, _ = net_and_images(packed, width=1.0)
    apart = features.column_chroma(net, 0)
    assert apart["conv1_chroma_p"] > 0.001
    weight = net.get_parameter("layers.conv1.weight")
    with torch.no_grad():
        weight[: len(weight) // 2] = weight[: len(weight) // 2].mean(1, keepdim=True)
    split = features.column_chroma(net, 0)
    assert split["conv1_chroma_column1"] == pytest.approx(0, abs=1e-6)
    assert split["conv1_chroma_p"] < 0.001
    assert features.column_chroma(net_and_images(packed, gpus=1)[0], 0) == {}


@pytest.mark.parametrize(
    ("columns", "net"),
    [
        (True, {"preset": ["paper", "medium"]}),
        (True, {"preset": ["paper", "small"]}),
        (False, {"preset": ["paper", "small"], "gpus": 1}),
        (False, {"preset": "owt_torchvision", "fc_width": 8}),
        (False, {"preset": "cifar_19pct"}),
    ],
)
def test_columns_are_told_apart_in_the_first_layer_of_every_net_whatever_its_name(
    columns: bool, net: dict[str, object]
) -> None:
    built = AlexNet(resolve(net, "net"), 3, 10)
    built.initialise(0)
    with torch.no_grad():
        weight = built.get_parameter(f"layers.{built.rows[0].name}.weight")
        weight[: len(weight) // 2] = weight[: len(weight) // 2].mean(1, keepdim=True)
    found = features.column_chroma(built, 0)
    assert (found.get("conv1_chroma_column1", 1.0) < 1e-6) == columns
    # The same layer under another name, and the second one under the first one's.
    first, second, *others = built.rows
    layers = {"stem": built.layers[first.name], first.name: built.layers[second.name]}
    built.layers = torch.nn.ModuleDict(layers | {row.name: built.layers[row.name] for row in others})
    built.rows = (replace(first, name="stem"), replace(second, name=first.name), *others)
    assert features.column_chroma(built, 0) == found


def test_weights_are_tuned_on_validation_and_never_do_worse_there() -> None:
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (60,), generator=draws)
    good = torch.eye(3)[labels] + 0.9 * torch.rand(60, 3, generator=draws)
    bad = torch.rand(60, 3, generator=draws) * 4
    said = torch.stack([p / p.sum(1, keepdim=True) for p in (good, bad)])
    weights = tuned(said, labels)
    assert top_errors(mixed(said, weights), labels) <= top_errors(said.mean(0), labels)
    assert weights[1] < weights[0]
    same = torch.stack([said[0], said[0]])
    assert tuned(same, labels).tolist() == [1.0, 1.0]


def test_an_ensemble_is_the_mean_of_its_nets(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"name": "s", "title": "t", "purpose": "p", "data": {"source": "synthetic"}, "seeds": [0, 1],
              "variants": {"base": TINY, "no-lrn": TINY | {"lrn": False}},
              "ensembles": ["base", "base+no-lrn"]}  # fmt: skip
    write_text(tmp_path / "study.yaml", json.dumps(values))
    study = load_study(tmp_path / "study.yaml")
    images = Packed.open(packed)
    monkeypatch.setattr("harness.ensemble.images_of", lambda study, root: images)
    with pytest.raises(UserError, match=r"reports/s/runs/base-0/train/config\.json: no such file"):
        ensembles(study, tmp_path, {})
    said = []
    for cell in study.cells:
        run = trained(study.variants[cell.variant], packed, RunFolder.of(tmp_path / cell.results).training, cell.seed)
        weights, settings = load(run), run.config.resolved
        assert weights is not None
        assert run.provenance.status == "finished"
        numerics = configure(settings)
        net = net_of(settings, 3, 10, weights).to(numerics.device)
        test = Images(images, "test", settings, numerics.device)
        said.append(probabilities(net, test, numerics))
    found = ensembles(study, tmp_path, {})
    assert found["base"]["seeds"] == [0, 1]
    assert found["base+no-lrn"]["nets"] == ["base-0", "base-1", "no-lrn-0", "no-lrn-1"]
    assert found["base"]["test_top1"] == top_errors(torch.stack(said[:2]).mean(0), test.labels)
    assert found["base+no-lrn"]["test_top1"] == top_errors(torch.stack(said).mean(0), test.labels)
    # One of the same nets by the same code is kept, though the nets may be gone; one of others is not.
    shutil.rmtree(tmp_path / "runs")
    assert ensembles(study, tmp_path, found) == found
    kept = {"base": {"made_of": found["base"]["made_of"], "test_top1": 1.0}, "base+no-lrn": found["base+no-lrn"]}
    assert ensembles(study, tmp_path, kept) == kept
    # Runs that diverged are left out; of a variant that has no other, there is no ensemble.
    diverging = tiny(lr=1e30)
    values["variants"], values["ensembles"] = {"base": TINY | {"lr": 1e30}}, ["base"]
    write_text(tmp_path / "study.yaml", json.dumps(values | {"name": "d"}))
    study = load_study(tmp_path / "study.yaml")
    for cell in study.cells:
        trained(diverging, packed, RunFolder.of(tmp_path / cell.results).training, cell.seed)
    assert ensembles(study, tmp_path, {}) == {}
