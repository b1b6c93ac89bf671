"""What only a GPU can show."""

import json
from pathlib import Path

import pytest
import torch
from conftest import tiny

from harness.evaluate import evaluate
from harness.train.run import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch.cuda.is_available() is false"),
]


CIFAR = {"gpus": 1, "dropout": 0, "bias_init": 0, "fc_width": 4096, "init": "paper", "init_std_mid": 0.01}


@pytest.mark.parametrize(
    "switch",
    [
        {}, {"lrn": False}, {"overlap_pool": False}, {"dropout": 0.0}, {"augment": False}, {"gpus": 1},
        {"activation": "tanh"}, {"spatial_norm": True}, {"precision": "tf32"}, {"precision": "bfloat16"},
        {"columns": "apart"}, {"columns": "dense"}, {"depth": "+conv6"}, {"depth": "-conv3"}, {"mean": "scalar"},
        {"dropout_place": "inputs"}, {"colour_scale": "per_image"}, {"momentum_form": "torch"}, {"init": "torch"},
        CIFAR | {"net": "cifar_quick"}, CIFAR | {"net": "cifar_local"}, {"curve_images": 50}, {"vary": "dropout"},
    ],
)  # fmt: skip
def test_two_runs_on_a_gpu_are_equal_to_the_bit(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for name in ("one", "two"):
        train(tiny(device="cuda", **switch), 0, packed, tmp_path / name, 1e9, "test")
        evaluate(tmp_path / name, packed, tmp_path / f"{name}-results")
        found.append(json.loads((tmp_path / name / "provenance.json").read_text()))
    assert found[0]["hashes"] == found[1]["hashes"]
    assert found[0]["machine"]["device"] == "cuda:0"


def test_a_gpu_and_a_cpu_see_the_same_batches(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hashes = []
    for device in ("cpu", "cuda"):
        train(tiny(device=device), 0, packed, tmp_path / device, 1e9, "test")
        hashes.append(json.loads((tmp_path / device / "provenance.json").read_text())["hashes"])
    for same in ("initial", "batch_order", "augmentation"):
        assert hashes[0][same] == hashes[1][same]
