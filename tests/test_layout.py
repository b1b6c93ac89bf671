"""The net's table has the paper's numbers, and a switch changes what it should."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.net.layout import Dropout, Layer, Norm, Pool, layout
from harness.settings.load import declared_names, find_study, load_study, resolve

ROOT = Path(__file__).parent.parent

# name: output side, groups, weights, biases, multiply-accumulates, neurons. Krizhevsky et al. (2012), section 3.5.
PAPER = {
    "conv1": (55, 1, 34_848, 96, 105_415_200, 290_400),
    "conv2": (27, 2, 307_200, 256, 223_948_800, 186_624),
    "conv3": (13, 1, 884_736, 384, 149_520_384, 64_896),
    "conv4": (13, 2, 663_552, 384, 112_140_288, 64_896),
    "conv5": (13, 2, 442_368, 256, 74_760_192, 43_264),
    "fc6": (1, 1, 37_748_736, 4_096, 37_748_736, 4_096),
    "fc7": (1, 1, 16_777_216, 4_096, 16_777_216, 4_096),
    "fc8": (1, 1, 4_096_000, 1_000, 4_096_000, 1_000),
}


def rows(**settings: object) -> tuple[Layer, ...]:
    return layout(resolve(settings, "test"))


def total(key: str, **settings: object) -> int:
    return sum(getattr(row, key) for row in rows(**settings))


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("preset", ["paper", "as_run"])
def test_every_row_of_the_papers_table(name: str, preset: str) -> None:
    row = next(row for row in rows(preset=preset) if row.name == name)
    assert (row.side, row.groups, row.weights, row.outputs, row.macs, row.neurons) == PAPER[name]


def test_totals_of_the_two_column_net() -> None:
    assert total("parameters") == 60_965_224
    assert total("neurons") == 659_272
    assert total("macs") == 724_406_816
    assert total("weights") == 60_954_656
    assert sum(row.macs for row in rows() if row.kind == "conv") == 665_784_864
    # 55 by zeros on the right and bottom.
    assert (rows()[0].side, rows()[0].pad, rows()[0].pad_end) == (55, 0, 3)


def test_leaving_a_hidden_layer_out() -> None:
    assert "fc7" not in [row.name for row in rows(depth="-fc7")]
    assert total("parameters", depth="-fc7") == 60_965_224 - 16_781_312
    # fc7 then sees the 9,216 of conv5 instead of the 4,096 of fc6.
    assert total("parameters", depth="-fc6") == 60_965_224 - 37_752_832 + (9216 - 4096) * 4096


@pytest.mark.parametrize(
    ("geometry", "crops"), [("small", range(24, 33)), ("medium", range(112, 129)), ("imagenet", [224])]
)
def test_pooling_without_overlap_keeps_every_maps_size(geometry: str, crops: range) -> None:
    for crop in crops:
        settings = {"geometry": geometry, "crop": crop}
        with_overlap = [(r.name, r.side, r.side_after, r.parameters) for r in rows(**settings)]
        assert with_overlap == [
            (r.name, r.side, r.side_after, r.parameters) for r in rows(**settings, overlap_pool=False)
        ]
        kernels = {op.kernel for r in rows(**settings, overlap_pool=False) for op in r.after if isinstance(op, Pool)}
        assert kernels == {2}


@pytest.mark.parametrize("geometry", ["imagenet", "medium", "small"])
def test_every_geometry_has_the_papers_places(geometry: str) -> None:
    crop = {"imagenet": 224, "medium": 112, "small": 24}[geometry]
    table = rows(geometry=geometry, crop=crop)
    places = {
        kind: [r.name for r in table if any(isinstance(op, kind) for op in r.after)] for kind in (Norm, Pool, Dropout)
    }
    assert [r.name for r in table] == list(PAPER)
    assert places == {Norm: ["conv1", "conv2"], Pool: ["conv1", "conv2", "conv5"], Dropout: ["fc6", "fc7"]}
    assert [r.name for r in table if r.groups == 2] == ["conv2", "conv4", "conv5"]


def test_lrn_multiplies_the_sum_by_alpha_as_printed_or_as_run() -> None:
    def norm(**settings: object) -> Norm:
        return next(op for op in rows(**settings)[0].after if isinstance(op, Norm))

    assert norm().alpha == pytest.approx(1e-4)
    assert norm(lrn_alpha_form="over_n").alpha == pytest.approx(2e-5)
    assert norm().columns == 1
    assert norm(lrn_span="column").columns == 2
    assert norm(lrn_span="column", gpus=1).columns == 1


def test_order_of_what_follows_a_layer() -> None:
    kinds = [[type(op).__name__ for op in row.after] for row in rows(preset="as_run")]
    assert kinds[:2] == [["Norm", "Pool", "Activation"], ["Activation", "Norm", "Norm", "Pool"]]
    assert [type(op).__name__ for op in rows()[0].after] == ["Activation", "Norm", "Pool"]


def test_fan_in_keeps_the_signal_of_the_papers_net() -> None:
    paper = {row.name: row.init_std * row.fan_in**0.5 for row in rows()}
    for small in (rows(preset="small"), rows(preset="small", gpus=1), rows(preset="small", width=0.5)):
        assert {row.name: row.init_std * row.fan_in**0.5 for row in small} == pytest.approx(paper)


def test_describe_prints_every_number_as_json_and_as_a_table() -> None:
    described = json.loads(CliRunner().invoke(app, ["describe", "--geometry", "imagenet", "--json"]).stdout)
    assert {layer["name"]: (layer["weights"], layer["biases"]) for layer in described["layers"]} == {
        name: (numbers[2], numbers[3]) for name, numbers in PAPER.items()
    }
    assert described["total"]["parameters"] == 60_965_224
    table = CliRunner().invoke(app, ["describe", "--geometry", "imagenet"]).stdout
    assert all(f"{number:,}" in table for number in (60_965_224, 659_272, 724_406_816))


def test_describe_takes_a_variant_of_any_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    def described(*words: str) -> Any:
        return json.loads(CliRunner().invoke(app, ["describe", *words, "--json"], catch_exceptions=False).stdout)

    for name in declared_names().values():
        study = load_study(find_study(Path(name)))
        nets = {variant: described("--study", name, "--variant", variant) for variant in study.variants}
        assert nets[study.baseline] == described("--study", name)
        for variant, net in nets.items():
            assert net == described(f"{name}:{variant}"), (name, variant)
    assert described("--study", "imagenet", "--variant", "one-gpu")["total"]["parameters"] == 59_798_312
    assert described("--variant", "one-gpu") == described("--study", "components", "--variant", "one-gpu")
