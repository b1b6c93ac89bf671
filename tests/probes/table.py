"""The table of probes: short runs that pass through every setting, form and phase of the code that makes numbers.

Their settings are sparse: only keys that differ from the schema's defaults, with presets resolved here. So each side
fills in its own defaults, and a changed default is a difference. `torch.compile` is in no probe: it would take longer
than all of them, and it is one line over the net that the others test.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.files import write_json
from harness.settings.presets import AS_RUN, PRESETS
from harness.settings.schema import LATER, Settings
from tests.probes.factors import FACTORS, TINY, factor_name
from tests.probes.pictures import write_pictures

SCOPE_OF = {"pack": "data", "library": "data", "train": "train", "run": "train", "eval": "eval"}
"""Kind of a probe -> the scope whose numbers it tests."""

REFUSED = frozenset({
    "data-odd-stop", "data-no-such-folder", "data-too-few", "data-limit-too-low", "train-grey-refused",
    "train-batch-refused", "train-classes-refused", "train-crop-refused",
})  # fmt: skip
"""Probes that raise an error, as they should: any other that does tests nothing."""

NEW_SETTINGS = frozenset({"bits", "source: python"})
"""Settings, and values as `name: value`, that the code of the last proof does not know: nothing to compare with."""

SEED = 3
"""Of the runs: not 0, which is what sources of randomness are held at."""

EPOCHS = 8
"""Of runs whose rates or draws change over time: four steps each."""

IMAGES: dict[str, dict[str, Any]] = {
    "colour": {"source": "synthetic", "train_limit": 140, "test_limit": 30},
    "tested": {"source": "synthetic", "train_limit": 140, "test_limit": 150},
    "grey": {"train_limit": 140, "test_limit": 30},
    "grey-tested": {"train_limit": 140, "test_limit": 140},
    "medium": {"source": "synthetic", "train_limit": 40, "validation": 0.25, "test_limit": 12, "size": 120},
    "large": {"source": "synthetic", "train_limit": 40, "validation": 0.25, "test_limit": 12, "size": 230},
    "three": {"source": "folder", "root": "pictures/three", "size": 28},
}
"""Images that training and evaluation probes share."""

PACKED: dict[str, dict[str, Any]] = {
    "synthetic": {"source": "synthetic"},
    "synthetic-larger": {"source": "synthetic", "train_limit": 60, "test_limit": 20, "size": 45, "validation": 0.3},
    "synthetic-smaller": {"source": "synthetic", "train_limit": 60, "test_limit": 20, "size": 19, "split_seed": 5,
                          "validation": 0.2},
    "fashion": {},
    "fashion-limited": {"train_limit": 137, "test_limit": 33, "validation": 0.175},
    "fashion-test-limited": {"test_limit": 40, "size": 33},
    "fashion-seeded": {"train_limit": 90, "test_limit": 30, "split_seed": 11, "size": 20,
                       "validation": 0.2},
    "fashion-published": {"source": "fashion-mnist", "root": "pictures/fashion", "validation": 0.25},
    "odd": {"source": "folder", "root": "pictures/odd", "size": 24, "on_error": "skip", "validation": 0.4, "test": 0.3},
    "odd-seeded": {"source": "folder", "root": "pictures/odd", "size": 37, "on_error": "skip", "split_seed": 2,
                   "validation": 0.4, "test": 0.3},
    "odd-stop": {"source": "folder", "root": "pictures/odd", "size": 24, "validation": 0.4, "test": 0.3},
    "photos": {"source": "folder", "root": "pictures/photos", "size": 25},
    "photos-limited": {"source": "folder", "root": "pictures/photos", "size": 24, "train_limit": 17, "test_limit": 4,
                       "validation": 0.35, "test": 0.25, "split_seed": 3},
    "folder-size": {"source": "folder", "root": "pictures/tree", "validation": 0.3},
    "tree": {"source": "folder", "root": "pictures/tree", "size": 27, "validation": 0.3},
    "tree-three": {"source": "folder", "root": "pictures/three", "size": 24},
    "tree-three-limited": {"source": "folder", "root": "pictures/three", "size": 24, "train_limit": 12,
                           "validation": 0.3},
    "tree-tested": {"source": "folder", "root": "pictures/tested", "size": 24, "validation": 0.3},
    "imagenet": {"source": "imagenet", "root": "pictures/three", "size": 26, "validation": 0.3, "test_limit": 7},
    "imagenet-tested": {"source": "imagenet", "root": "pictures/tested", "size": 25, "validation": 0.3},
    "imagenette": {"source": "imagenette", "root": "pictures/tree", "size": 26, "validation": 0.3},
    "python": {"source": "python", "root": "pictures/own.py", "size": 20, "validation": 0.3},
    "no-such-folder": {"source": "folder", "root": "pictures/none"},
    "too-few": {"source": "synthetic", "train_limit": 12, "test_limit": 10},
    "limit-too-low": {"train_limit": 9},
}  # fmt: skip
"""What is packed."""

_ONE = {"gpus": 1}
_CIFAR = {"gpus": 1, "dropout": 0.0, "bias_init": 0.0, "fc_width": 4096, "init": "paper", "init_std_mid": 0.01}
_SMALL_FC = {"fc_width": 16, "device": "cpu"}
_MEDIUM = {"geometry": "medium", "crop": 112, "width": 0.0625, "batch": 16, "epochs": 2, **_SMALL_FC}
_LARGE = {"geometry": "imagenet", "crop": 224, "width": 0.0625, "batch": 16, "epochs": 1, **_SMALL_FC}
_RUN = {"epochs": EPOCHS}

TRAINED: dict[str, dict[str, Any]] = {
    "base": _RUN,
    "seed-0": {"epochs": 2},
    "batch-divides": {"epochs": 3, "batch": 42},
    "batch-of-one-left": {"epochs": 2, "batch": 25},
    "batch-of-all": {"epochs": 3, "batch": 126},
    "certain-and-wrong": {"epochs": 2, "init_std_out": 30.0, "lr": 1e-6},
    "diverging": {"epochs": 8, "lr": 0.5},
    "constant-rate": {**_RUN, "schedule": "fixed", "drops": []},
    "fixed-three-drops": {**_RUN, "schedule": "fixed", "drops": [0.25, 0.5, 0.875], "drop_factor": 0.3, "lr": 0.02},
    "fixed-at-the-start": {"epochs": 5, "schedule": "fixed", "drops": [0.0, 0.4, 1.0]},
    # .1 + .2 is above 3 / 10 in floating point.
    "fixed-inexact": {"epochs": 10, "schedule": "fixed", "drops": [0.1 + 0.2, 0.6, 0.7 + 0.1 + 1e-16], "batch": 63},
    "fixed-torch": {**_RUN, "schedule": "fixed", "drops": [0.25, 0.5, 0.875], "momentum_form": "torch"},
    "plateau": {"epochs": 12, "schedule": "plateau", "patience": 1, "max_drops": 3, "batch": 63, "drop_factor": 0.5},
    "plateau-two": {"epochs": 14, "schedule": "plateau", "patience": 2, "max_drops": 2, "batch": 63, "lr": 0.03},
    "plateau-no-learning": {"epochs": 9, "schedule": "plateau", "patience": 2, "lr": 1e-9, "batch": 126},
    "plateau-torch": {"epochs": 8, "schedule": "plateau", "patience": 1, "momentum_form": "torch", "batch": 63},
    "plateau-never": {"epochs": 5, "schedule": "plateau", "patience": 1, "max_drops": 0, "batch": 63},
    "cosine-long": {"epochs": 11, "batch": 63, "lr": 0.02},
    "exponential": {"epochs": 9, "schedule": "exponential", "batch": 63},
    "exponential-torch": {**_RUN, "schedule": "exponential", "momentum_form": "torch"},
    "bias-constant": {**_RUN, "schedule": "fixed", "drops": [0.25, 0.5], "bias_schedule": "constant", "bias_lr": 2.0},
    "bias-last-drop": {**_RUN, "schedule": "fixed", "drops": [0.25, 0.5], "bias_schedule": "last_drop", "bias_lr": 2.0},
    "bias-no-decay": {**_RUN, "weight_decay": 0.05, "decay_bias": False, "conv_decay": 0.5, "output_decay": 3.0},
    "decay": {**_RUN, "weight_decay": 0.05},
    "no-momentum": {"epochs": 3, "momentum": 0.0},
    "conv1-slow-freeze": {**_RUN, "conv1_slow": 0.25, "conv1_freeze": 0.625, "bias_lr": 2.0, "momentum": 0.5},
    "conv1-constant-bias": {**_RUN, "conv1_slow": 0.3, "conv1_freeze": 0.7, "bias_schedule": "constant"},
    # Five of seven epochs, which is not above 5 in floating point.
    "colour-until-inexact": {"epochs": 7, "colour_until": 5 * (1 / 7), "batch": 63},
    "colour-per-image-until": {"epochs": 4, "colour_scale": "per_image", "colour_until": 0.5, "colour": 0.3},
    "colour-divided": {"epochs": 2, "colour_divide": 1.1, "colour_scale": "root", "colour": 0.5},
    "crop-chunks": {"epochs": 3, "crop_chunk": 8, "colour": 0.3},
    "crop-whole": {"epochs": 1, "crop": 32, "crop_positions": "inclusive"},
    "crop-whole-exclusive": {"epochs": 1, "crop": 32},
    "crop-odd": {"epochs": 2, "crop": 27, "mean": "image_centre"},
    "mean-centre-scaled": {"epochs": 2, "mean": "image_centre", "input_scale": 0.02, "colour": 0.3},
    "scalar-torch": {"epochs": 2, "mean": "scalar", "input_scale": 1 / 57.4, "init": "torch"},
    "curve": {"epochs": 3, "curve_images": 50},
    "curve-all": {"epochs": 2, "curve_images": 1000},
    "workers": {"epochs": 3, "workers": 2},
    "not-reshuffled": {"epochs": 3, "reshuffle": False, "crop_chunk": 16},
    "init-paper-biases": {"epochs": 2, "init": "paper", "bias_init": 0.7},
    "init-torch-compensated": {"epochs": 2, "init": "torch", "dropout_form": "inverted_compensated", "dropout": 0.3},
    "dropout-inverted-inputs": {"epochs": 2, "dropout_form": "inverted", "dropout_place": "inputs", "dropout": 0.3},
    "dropout-compensated-inputs": {"epochs": 2, "dropout_form": "inverted_compensated", "dropout_place": "inputs",
                                   "weight_decay": 0.05},
    "dropout-inputs-no-fc7": {"epochs": 2, "dropout_place": "inputs", "depth": "-fc7"},
    "lrn-even": {"epochs": 2, "lrn_size": 4, "lrn_alpha": 0.05, "lrn_alpha_form": "over_n"},
    "lrn-wide-column": {"epochs": 2, "lrn_size": 15, "lrn_span": "column", "lrn_alpha": 0.01, "lrn_beta": 1.2},
    "lrn-first": {"epochs": 2, "order1": "norm-relu-pool", "order2": "norm-pool-relu", "lrn_alpha": 0.01},
    "spatial-norm-bfloat": {"epochs": 2, "spatial_norm": True, "precision": "bfloat16"},
    "one-gpu": {"epochs": 2, **_ONE},
    "one-gpu-deeper": {"epochs": 2, **_ONE, "depth": "+conv6", "overlap_pool": False},
    "apart-no-overlap": {"epochs": 2, "columns": "apart", "overlap_pool": False, "depth": "-conv2"},
    "dense-wide": {"epochs": 1, "columns": "dense", "width": 0.4},
    "cifar-quick-run": {**_CIFAR, "net": "cifar_quick", "epochs": 4, "output_decay": 750.0, "decay_bias": False,
                        "schedule": "fixed", "drops": [0.5, 0.75], "lr": 0.001},
    "cifar-local-lrn": {**_CIFAR, "net": "cifar_local", "lrn": True, "lrn_size": 9, "order1": "relu-pool-norm",
                        "conv_decay": 0.0, "output_decay": 2.5, "epochs": 1, "batch": 63},
}  # fmt: skip
"""Settings over `TINY` of runs on colour images that no factor by itself passes through."""

ELSEWHERE: dict[str, tuple[str, dict[str, Any]]] = {
    "grey": ("grey", {"preset": ["paper", "small"], "width": 0.25, "colour": 0.0, "epochs": 3, "batch": 32,
                      "drops": [0.4, 0.7], **_SMALL_FC}),
    "grey-refused": ("grey", TINY),
    "folder": ("three", {**TINY, "batch": 8, "crop": 24}),
    "batch-refused": ("colour", {**TINY, "batch": 127}),
    "classes-refused": ("colour", {**TINY, "classes": 9}),
    "crop-refused": ("grey", {**TINY, "crop": 30, "colour": 0.0}),
    "medium": ("medium", {"preset": ["paper", "medium"], **_MEDIUM}),
    "medium-padded": ("medium", {"preset": ["paper", "medium"], **_MEDIUM, "crop": 115, "conv1_pad": "both"}),
    "medium-as-run": ("medium", {"preset": ["as_run", "medium"], **_MEDIUM, "crop_chunk": 8}),
    "paper": ("large", {"preset": "paper", **_LARGE}),
    "as-run-pooling": ("large", {"preset": "as_run", **_LARGE, "crop_chunk": 4, "overlap_pool": False,
                                 "pool_geometry": "as_run"}),
    "caffe": ("large", {"preset": "caffe_bvlc", **_LARGE, "crop": 227}),
    "caffenet": ("large", {"preset": "caffenet", **_LARGE, "crop": 227}),
    "owt": ("medium", {"preset": "owt_torchvision", **_MEDIUM}),
    "as-run": ("colour", {**TINY, **AS_RUN, "epochs": 11, "batch": 32}),
    "one-gpu-145": ("colour", {**TINY, **PRESETS["one_gpu_145_half"], "epochs": 6, "batch": 32}),
}  # fmt: skip
"""Presets at tiny size, and other images: images and settings."""

RESUMED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # Five pauses an epoch: after each of four steps, and after its end.
    "resumed-in-an-epoch": ({"epochs": 3, "curve_images": 20}, {"stops": [7]}),
    "resumed-before-a-drop": ({"epochs": 4, "schedule": "fixed", "drops": [0.5]}, {"stops": [9]}),
    "resumed-after-a-drop": ({"epochs": 4, "schedule": "fixed", "drops": [0.5]}, {"stops": [10, 11]}),
    "resumed-plateau": ({"epochs": 6, "schedule": "plateau", "patience": 1}, {"stops": [6, 13, 20, 26]}),
    "resumed-often": ({"epochs": 2, "colour_until": 0.5}, {"stops": [*range(1, 10)]}),
    "resumed-fixed-order": ({"epochs": 2, "reshuffle": False, "workers": 1}, {"stops": [3, 8]}),
    "resumed-diverging": ({"epochs": 6, "lr": 0.5}, {"stops": [2, 5, 12]}),
    "saved-every-step": ({"epochs": 2}, {"every": 0.0}),
    "from-disk": ({"epochs": 2}, {"constants": {"held_in_memory": 0}}),
    "from-weights": ({"epochs": 2, "fc_width": 32}, {"start": {"depth": "-conv4"}}),
}
"""Stopped and resumed, saved, fetched from the file, started from other weights: settings over `TINY`, and how."""

RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "finished": ({"epochs": 2, "curve_images": 10}, {}),
    "diverged": ({"epochs": 8, "lr": 0.5}, {}),
    "diverged-between-epochs": ({"epochs": 2, "batch": 126, "lr": 1e20}, {}),
    # Its only loss is that of the initial weights; what the update did is seen in validation alone.
    "diverged-in-the-last-update": ({"epochs": 1, "batch": 126, "lr": 1e20}, {}),
    "pretrained": ({"epochs": 1, "fc_width": 32, "pretrained": "probes/start"}, {"start": {"lrn": False}}),
}
"""Through the train stage's entry point."""

LEARNED = {
    "epochs": 4, "augment": False, "fc_width": 64, "dropout": 0.35, "bias_init": 0.0, "init_std_out": 0.03,
    "init_std_fc": 0.02,
}  # fmt: skip
"""A net that has learned some classes, so that predictions differ from image to image and every error shows them."""

EVALUATED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "two-columns": ("tested", {}, {}),
    "seed-0": ("tested", {}, {}),
    "dropout-inverted": ("tested", {"dropout_form": "inverted"}, {}),
    "dropout-inputs": ("tested", {"dropout_place": "inputs"}, {}),
    "dropout-compensated": ("tested", {"dropout_form": "inverted_compensated"}, {}),
    "dropout-varied": ("tested", {"vary": "dropout"}, {}),
    "dropout-held": ("tested", {"vary": "batch_order"}, {}),
    "no-dropout": ("tested", {"dropout": 0.0}, {}),
    "dropout-half": ("tested", {"dropout": 0.5, "epochs": 6}, {}),
    "no-hidden-layer": ("tested", {**_CIFAR, "net": "cifar_quick", "init_std_fc": 0.01, "init_std_out": 0.01}, {}),
    "one-column": ("tested", {**_ONE, "lrn_span": "column"}, {}),
    "no-fc7": ("tested", {"depth": "-fc7"}, {}),
    "grey": ("grey-tested", {"colour": 0.0}, {}),
    "few-classes": ("three", {"batch": 8}, {}),
    "whole-crop": ("tested", {"crop": 32}, {}),
    "odd-crop": ("tested", {"crop": 27, "mean": "image_centre"}, {}),
    "mean-channel": ("tested", {"mean": "channel", "input_scale": 0.5}, {}),
    "bfloat16": ("tested", {"precision": "bfloat16"}, {}),
    "apart": ("tested", {"columns": "apart", "spatial_norm": True}, {}),
    "diverged": ("colour", {"lr": 5.0, "epochs": 3}, {}),
    # Every class is as probable as the others, in full or but for the last digits: ties go to the lower class.
    "ties": ("colour", {"lr": 0.0, "init": "paper", "init_std_out": 1e-30}, {}),
    "unsearched": ("colour", {}, {"constants": {"searched": 100}}),
    "pixels-unsearched": ("colour", {}, {"constants": {"searched_pixels": 1000}}),
    "searched-at-the-limit": ("colour", {}, {"constants": {"searched": 126, "searched_pixels": 156 * 24**2}}),
}
"""Trained for some epochs, then evaluated: images, settings over `TINY` and `LEARNED`, and how."""


@dataclass(frozen=True)
class Probe:
    """One probe. `kind`: what runs it (a key of `SCOPE_OF`); `images`: a name in the table; `extra`: how it is run."""

    name: str
    kind: str
    images: str
    settings: dict[str, Any]
    seed: int = SEED
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def scope(self) -> str:
        """The scope whose numbers it tests."""
        return SCOPE_OF[self.kind]


def probes() -> list[Probe]:
    """Every probe; names are unique, and begin with the scope."""
    return [*_packing(), *_training(), *_evaluation()]


def _packing() -> Iterator[Probe]:
    for name in PACKED:
        yield Probe(f"data-{name}", "pack", f"data-{name}", {})
    yield Probe("data-readers", "library", "", {})


def _training() -> Iterator[Probe]:
    for name, others, value, changes in FACTORS:
        # What changes a rate or a draw shows over time; what changes the net, at once.
        long = set(changes.split()) & {"rates", "stream", "order"} and "layers" not in changes
        values = {**TINY, "epochs": EPOCHS if long else 2, **others, name: value}
        named = factor_name(name, others, value).translate({ord(c): "-" for c in "[], "}).strip("-")
        yield Probe(f"train-factor-{named}", "train", "colour", sparse(values))
    for name, values in TRAINED.items():
        yield Probe(f"train-{name}", "train", "colour", sparse(TINY | values), 0 if name == "seed-0" else SEED)
    for name, (images, values) in ELSEWHERE.items():
        yield Probe(f"train-{name}", "train", images, sparse(values))
    for name, (values, extra) in RESUMED.items():
        yield Probe(f"train-{name}", "train", "colour", sparse(TINY | values), extra=_sparse_start(extra))
    for name, (values, extra) in RUNS.items():
        yield Probe(f"train-run-{name}", "run", "colour", sparse(TINY | values), extra=_sparse_start(extra))


def _evaluation() -> Iterator[Probe]:
    for name, (images, values, extra) in EVALUATED.items():
        settings = sparse(TINY | LEARNED | values)
        yield Probe(f"eval-{name}", "eval", images, settings, 0 if name == "seed-0" else SEED, extra)


def _sparse_start(extra: dict[str, Any]) -> dict[str, Any]:
    return extra | ({"start": sparse(TINY | {"epochs": 1} | extra["start"])} if "start" in extra else {})


def sparse(values: dict[str, Any]) -> dict[str, Any]:
    """Settings with presets as plain keys, less those at the schema's default, or as before the setting was there."""
    named = values.get("preset", [])
    flat: dict[str, Any] = {}
    for preset in named if isinstance(named, list) else [named]:
        flat |= PRESETS[preset]
    flat |= {key: value for key, value in values.items() if key != "preset"}
    usual = {name: field.get_default() for name, field in Settings.model_fields.items()} | LATER
    return {key: value for key, value in flat.items() if key not in usual or usual[key] != value}


def write_table(folder: Path, chosen: list[Probe]) -> Path:
    """Write table.json and the pictures that it names into an empty folder, for both sides; returns the table's path.

    Raises `UserError` when the disk is full.
    """
    write_pictures(folder / "pictures")
    images = IMAGES | {f"data-{name}": values for name, values in PACKED.items()}
    path = folder / "table.json"
    write_json(path, {"images": images, "probes": [asdict(probe) for probe in chosen]})
    return path
