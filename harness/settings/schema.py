"""Every setting, declared once: its type, range, one line of help, section of the paper and claims.

The command line's help, the documentation, the checks and the generic tests are made from these declarations. A
default is what the paper's text says; where the text is silent, what its authors ran. Claims (C..) and differences
between the text and the run (A..) are numbered as in experiments/claims.yaml.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _field(group: str, default: Any, help: str, paper: str = "", claims: str = "", **limits: Any) -> Any:
    """A declared setting: `help` is one line, `paper` its section, `claims` what it serves."""
    extra: dict[str, Any] = {"group": group, "paper": paper, "claims": claims.split()}
    return Field(default, description=help, json_schema_extra=extra, **limits)


_net, _weights, _images = (partial(_field, group) for group in ("net", "initial weights", "images"))
_recipe, _numerics, _machine = (partial(_field, group) for group in ("recipe", "numerics", "machine"))

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Order = Literal["relu-norm-pool", "norm-pool-relu", "norm-relu-pool", "relu-pool-norm"]


class Declared(BaseModel):
    """What a user declares in a file: every key is known, and of its type."""

    # Strict: `lrn: 1` is not `true`, and `lrn: off` is a string in YAML 1.2.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(Declared):
    """Which images a study uses, and how they are brought to one size and split."""

    source: Literal[
        "fashion-mnist-8k", "fashion-mnist", "cifar10", "cifar100", "stl10", "imagenette", "imagenet", "folder",
        "python", "synthetic",
    ] = Field(
        "fashion-mnist-8k", description="where the images come from; fashion-mnist-8k is in the repository"
    )  # fmt: skip
    root: str = Field(
        "", description="folder that holds the images, for sources that are not in the repository; python: the file"
    )
    size: int | None = Field(
        None, ge=8, le=1024, description="stored side in pixels; without it the source's own (folders: 256)"
    )
    validation: float = Field(
        0.1, gt=0.0, lt=1.0, description="part of the training images kept for validation; fashion-mnist-8k has its own"
    )
    split_seed: int = Field(0, ge=0, description="seed of the rule that cuts validation and test parts")
    test: float = Field(
        0.2, gt=0.0, lt=1.0, description="part kept for the test where a folder has no train/ and val/ of its own"
    )
    train_limit: int | None = Field(None, ge=2, description="use this many training images (validation included)")
    test_limit: int | None = Field(None, ge=1, description="use this many test images")
    release: Literal["", "ilsvrc2010", "ilsvrc2012", "fall2009", "fall2011"] = Field(
        "", description="which ImageNet the images are; claims that speak of one are tested on it alone"
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="what an unreadable image does: stop, or skip and list"
    )


class Settings(Declared):
    """One run's settings, less its seed and its data. Flat, so that `dvc exp run -S lrn=false` flips one of them."""

    # ---- the net
    net: Literal["alexnet", "owt", "cifar_quick", "cifar_local"] = _net(
        "alexnet",
        "alexnet; owt: 64-192-384-256-256 kernels; cifar_quick, cifar_local: the authors' CIFAR-10 nets",
        "3.5",
        "C10 C12c",
    )
    geometry: Literal["imagenet", "medium", "small"] = _net(
        "imagenet", "kernels and strides: imagenet 224 or 227 pixels, medium 112 to 128, small 24 to 32", "3.5"
    )
    crop: int = _net(224, "side of the square that the net sees, in pixels", "4.1", ge=24, le=227)
    classes: int | None = _net(None, "classes of the last layer; without it as many as the data has", ge=2)
    gpus: Literal[1, 2] = _net(2, "2: the two-column net; 1: the paper's one-GPU net", "3.2", "C11")
    columns: Literal["joined", "apart", "dense"] = _net(
        "joined",
        "of the two-column net: joined in conv3 and fc6; apart until fc8 (wider, run #150); dense: none",
        "3.2",
        "C11 C29",
    )
    conv5: Literal["full", "half"] = _net(
        "full", "conv5 of the one-GPU net: as wide as both columns, or half like the rest", "3.2", "C11"
    )
    width: float = _net(1.0, "factor on the kernels of every convolution", claims="C31", gt=0.0, le=4.0)
    fc_width: int = _net(4096, "units of fc6 and of fc7", "3.5", ge=2, le=16384)
    depth: Literal["full", "-conv2", "-conv3", "-conv4", "-conv5", "-conv5_narrow", "-fc6", "-fc7", "+conv6"] = _net(
        "full",
        "full, a layer to leave out (-conv5_narrow: conv4 as wide as conv5), or a sixth convolution",
        "1, 7",
        "C25 C25b C05 C08",
    )
    conv1_pad: Literal["ceil", "both"] = _net(
        "ceil", "zeros beside the image: on the right and bottom as run, or 2 on every edge (later ports)", "3.5", "A14"
    )
    activation: Literal["relu", "tanh", "logistic"] = _net(
        "relu", "what follows every layer but the last", "3.1", "C10"
    )
    lrn: bool = _net(True, "local response normalisation after conv1 and conv2", "3.3", "C12")
    lrn_layers: Literal["both", "conv1", "conv2"] = _net("both", "layers that have LRN", "3.3", "C12")
    lrn_size: int = _net(5, "neighbouring kernels that LRN sums over (n)", "3.3", ge=1, le=15)
    lrn_alpha: float = _net(1e-4, "LRN's alpha", "3.3", ge=0.0)
    lrn_beta: float = _net(0.75, "LRN's beta", "3.3", ge=0.0, le=2.0)
    lrn_k: float = _net(2.0, "LRN's k", "3.3", gt=0.0)
    lrn_alpha_form: Literal["literal", "over_n"] = _net(
        "literal", "what multiplies the sum: alpha as printed, or alpha / n as run", "3.3", "A4"
    )
    lrn_span: Literal["layer", "column"] = _net(
        "layer", "LRN's window runs over the layer's kernels, or stays in its column", "3.3", "A5"
    )
    order1: Order = _net("relu-norm-pool", "what follows conv1, in order", "3.5", "A2")
    order2: Order = _net("relu-norm-pool", "what follows conv2, in order", "3.5")
    spatial_norm: bool = _net(False, "a second norm in layer 2, over 5x5 places of the same map", claims="A1")
    overlap_pool: bool = _net(True, "3x3 pooling at stride 2; false: 2x2 at stride 2, same map sizes", "3.4", "C13")
    pool_geometry: Literal["floor", "as_run"] = _net(
        "floor", "2x2 pooling rounds down, or up with less padding in conv2 and conv5 (run #147)", "3.4", "C13"
    )
    local_width: int = _net(
        32, "kernels of the first locally connected layer of cifar_local", claims="C12c", ge=1, le=1024
    )
    dropout: float = _net(
        0.5, "probability that a unit of fc6 and fc7 is dropped; 0: none", "4.2", "C19 C20", ge=0.0, lt=1.0
    )
    dropout_form: Literal["original", "inverted", "inverted_compensated"] = _net(
        "original",
        "scale at test time (original) or in training (inverted); compensated: with the original's updates",
        "4.2",
    )
    dropout_place: Literal["outputs", "inputs"] = _net(
        "outputs", "what dropout acts on: the outputs of fc6 and fc7, or (later ports) their inputs", "4.2"
    )

    # ---- initial weights
    init: Literal["paper", "fan_in", "torch"] = _weights(
        "paper", "sd as given; times sqrt(fan-in at the paper's scale / fan-in here); or uniform as in torch", "5"
    )
    init_std: float = _weights(0.01, "sd of the initial weights of conv1, conv2", "5", gt=0.0)
    init_std_mid: float = _weights(0.01, "sd of the initial weights of conv3 to conv5", "5", "A6", gt=0.0)
    init_std_fc: float = _weights(0.01, "sd of the initial weights of fc6 and fc7", "5", gt=0.0)
    init_std_out: float = _weights(0.01, "sd of the initial weights of fc8", "5", gt=0.0)
    bias_init: float = _weights(1.0, "initial biases of conv2, conv4, conv5, fc6 and fc7; 0 elsewhere", "5", "C23")
    pretrained: str = _weights(
        "",
        "STUDY/VARIANT whose run with the same seed this one starts from, where the sizes fit",
        "6",
        "C05 C06",
        pattern=r"^([a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*)?$",
    )
    vary: Literal["all", "initial_weights", "batch_order", "augmentation", "dropout"] = _weights(
        "all", "what follows the run's seed; the other sources of randomness are held at seed 0"
    )

    # ---- the images
    input_scale: float = _images(1.0, "factor on 0..255 less the mean", "2", gt=0.0)
    mean: Literal["image_aligned", "image_centre", "channel", "scalar"] = _images(
        "image_aligned", "what is subtracted: the mean image where the crop lies, its centre, or a mean", "2", "A13"
    )
    augment: bool = _images(True, "false: no crops, flips or colour noise, whatever they say", "4.1", "C16")
    crops: bool = _images(True, "random crops (false: the centre)", "4.1", "C16")
    flips: bool = _images(True, "random reflections", "4.1", "C16")
    crop_positions: Literal["exclusive", "inclusive"] = _images(
        "exclusive", "positions a side: 256 - 224 as in the text, or one more as run", "4.1", "A12"
    )
    crop_chunk: int = _images(1, "images of a batch that share one draw of crop and flip", claims="A11", ge=1, le=4096)
    colour: float = _images(
        0.1,
        "sd of the colour noise along the principal components; 0: none, as for grey images",
        "4.1",
        "C17",
        ge=0.0,
        le=10.0,
    )
    colour_scale: Literal["eigenvalue", "root", "per_image"] = _images(
        "eigenvalue",
        "noise times the eigenvalue (pixels in 0..1), its root as run, or that of each image itself",
        "4.1",
        "A10 C17",
    )
    colour_divide: float = _images(1.0, "divisor of the image after colour noise; 1.1 as run", claims="A10", gt=0.0)
    colour_until: Fraction = _images(1.0, "part of the run that has colour noise", claims="A9")

    # ---- the recipe
    epochs: int = _recipe(90, "passes over the training images", "5", "C24", ge=1, le=100000)
    batch: int = _recipe(128, "images a step", "5", ge=1, le=65536)
    reshuffle: bool = _recipe(True, "a new order of the images every epoch", claims="A15")
    lr: float = _recipe(0.01, "learning rate at the start", "5", "C24", ge=0.0)
    momentum: float = _recipe(0.9, "momentum", "5", ge=0.0, lt=1.0)
    momentum_form: Literal["paper", "torch"] = _recipe(
        "paper", "velocity holds the rate (paper) or is multiplied by it (torch): differs when the rate changes", "5"
    )
    weight_decay: float = _recipe(0.0005, "weight decay", "5", "C22", ge=0.0)
    decay_bias: bool = _recipe(True, "biases decay too", "5", "A8")
    conv_decay: float = _recipe(1.0, "factor on the decay of convolutions", claims="C12c", ge=0.0)
    output_decay: float = _recipe(1.0, "factor on the decay of the last layer", claims="C12c", ge=0.0)
    bias_lr: float = _recipe(1.0, "factor on the rate of biases", "5", "A7", ge=0.0)
    bias_schedule: Literal["weights", "constant", "last_drop"] = _recipe(
        "weights",
        "biases follow the weights' schedule, keep their rate, or drop it with the last of `drops`",
        claims="A7",
    )
    schedule: Literal["plateau", "fixed", "cosine", "exponential"] = _recipe(
        "plateau",
        "when the rate falls: validation stalls, at `drops`, a cosine, or by 250^(1/3) at each quarter",
        "5",
        "C24",
    )
    drops: list[Fraction] = _recipe(
        [25 / 91, 51 / 91, 79 / 91], "parts of the run at which `fixed` drops the rate; as run at the least", "5", "C24"
    )
    drop_factor: float = _recipe(0.1, "factor of one drop", "5", gt=0.0, le=1.0)
    patience: int = _recipe(5, "epochs without a better validation error before `plateau` drops the rate", "5", ge=1)
    max_drops: int = _recipe(3, "drops that `plateau` makes at most", "5", ge=0)
    conv1_slow: Fraction = _recipe(1.0, "part of the run after which conv1's rate is a tenth", claims="A7")
    conv1_freeze: Fraction = _recipe(1.0, "part of the run after which conv1 rests", claims="A7")
    curve_images: int = _recipe(
        0,
        "training images whose loss is measured after every epoch in evaluation mode; 0: none",
        claims="C20 C22 C23",
        ge=0,
    )

    # ---- where and how it is computed
    precision: Literal["float32", "tf32", "bfloat16"] = _numerics(
        "float32", "arithmetic of convolutions and matrix products"
    )
    compile: bool = _numerics(False, "torch.compile the net")
    bits: Literal["portable", "native"] = _numerics(
        "portable",
        "on a CPU: the same bits on every x86-64 processor with AVX2, or the processor's own",
    )
    device: str = _machine(
        "auto", "auto (cuda where there is one), cpu, cuda or cuda:N", pattern=r"^(auto|cpu|cuda(:\d+)?)$"
    )
    threads: int = _machine(1, "CPU threads a run; the numbers depend on it", ge=1, le=256)
    workers: int = _machine(0, "threads that fetch batches ahead; 0: none, for data that fits in memory", ge=0, le=64)

    @model_validator(mode="after")
    def _possible(self) -> "Settings":
        low, high = CROPS[self.geometry]
        if not low <= self.crop <= high:
            allowed = low if low == high else f"{low} to {high}"
            raise ValueError(f"crop: got {self.crop}; geometry {self.geometry} takes {allowed}")
        if self.spatial_norm and self.depth == "-conv2":
            raise ValueError("spatial_norm: it stands in layer 2, which depth: -conv2 leaves out")
        if self.augment and self.crops and self.crop_chunk > 1 and self.batch % self.crop_chunk:
            raise ValueError(f"crop_chunk: got {self.crop_chunk}; it must divide batch ({self.batch})")
        if list(self.drops) != sorted(set(self.drops)):
            raise ValueError(f"drops: got {self.drops}; they must rise")
        if self.bias_schedule == "last_drop" and (self.schedule != "fixed" or not self.drops):
            raise ValueError("bias_schedule: got 'last_drop'; allowed only with schedule: fixed and drops")
        if self.net == "owt" and self.geometry == "small":
            raise ValueError("geometry: got 'small'; net owt takes imagenet or medium")
        for name, value in MUST.get(self.net, {}).items():
            if getattr(self, name) != value:
                raise ValueError(f"{name}: got {getattr(self, name)!r}; net {self.net} takes {value!r}")
        for name, needs, met in self._needs():
            if getattr(self, name) != type(self).model_fields[name].get_default() and not met:
                raise ValueError(f"{name}: got {getattr(self, name)!r}; allowed only with {needs}")
        return self

    def _needs(self) -> list[tuple[str, str, bool]]:
        """Settings that mean something beside certain others alone: name, what it needs, and whether that is so."""
        alexnet, cifar = self.net == "alexnet", self.net in CIFAR_NETS
        whole = alexnet and self.crop == 224 and not self.overlap_pool and self.depth == "full"
        return [
            ("columns", "net: alexnet and gpus: 2", alexnet and self.gpus == 2),
            ("conv5", "net: alexnet and gpus: 1", alexnet and self.gpus == 1),
            ("depth", "net: alexnet or owt", not cifar),
            ("spatial_norm", "net: alexnet", alexnet),
            ("conv1_pad", "geometry: imagenet or medium", self.geometry != "small"),
            ("pool_geometry", "net: alexnet, crop: 224, overlap_pool: false and depth: full", whole),
            ("local_width", "net: cifar_local", self.net == "cifar_local"),
            *((name, "net: alexnet or owt", not cifar) for name in _HIDDEN),
        ]


CIFAR_NETS = ("cifar_quick", "cifar_local")
"""The authors' nets for CIFAR-10: one column, without hidden layers, with initial weights of their own."""

_CIFAR = {"gpus": 1, "geometry": "small", "dropout": 0, "bias_init": 0}

MUST: dict[str, dict[str, Any]] = {"owt": {"gpus": 1}, "cifar_quick": _CIFAR, "cifar_local": _CIFAR}
"""Settings that a net leaves no choice in."""

_HIDDEN = ("fc_width", "init_std", "init_std_mid", "init_std_fc", "init_std_out")

CROPS = {"imagenet": (224, 227), "medium": (112, 128), "small": (24, 32)}
"""Allowed sides of the crop, in pixels, of each geometry."""

MACHINE = tuple(n for n, f in Settings.model_fields.items() if f.json_schema_extra["group"] == "machine")  # type: ignore
"""Settings that say where a run is computed: not part of its fingerprint; what they come to is recorded beside it."""


LATER: dict[str, Any] = {"bits": "native"}
"""Settings that were added after the first recorded runs, with the value by which those were made."""

FOUNDING = frozenset(Settings.model_fields) - LATER.keys()
"""The settings of the first recorded runs: every one of them is part of a run's identity, whatever its value."""


def sparse(settings: Settings) -> dict[str, Any]:
    """Settings as they are stored and hashed, less those of `LATER` at the value of the first runs.

    So a new setting changes no run that was made before it, whatever its default is.
    """
    return {name: value for name, value in settings.model_dump().items() if name not in LATER or value != LATER[name]}


def recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Stored settings with those filled in that were added after them: the other way round of `sparse`."""
    return LATER | dict(values)
