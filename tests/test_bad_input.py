"""A user's mistake is one line that says which file and key, what was found and what is allowed; nothing is lost."""

import contextlib
import io
import json
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from conftest import write_yaml as write

from harness.cli import main
from harness.files import write_json
from harness.settings.load import load_study

ROOT = Path(__file__).parent.parent


Done = subprocess.CompletedProcess[str]


def harness(*words: object, cwd: Path) -> Done:
    """Run the command line in `cwd`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    inside = contextlib.ExitStack()
    inside.enter_context(pytest.MonkeyPatch.context()).setattr("sys.argv", ["harness", *map(str, words)])
    for one in (contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)):
        inside.enter_context(one)
    with inside, pytest.raises(SystemExit) as end:
        main()
    return Done(words, int(end.value.code or 0), out.getvalue(), err.getvalue())


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refused(done: Done, *parts: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


STUDY: dict[str, Any] = {
    "name": "tiny", "title": "Tiny", "purpose": "Tests.", "data": {"source": "synthetic"}, "seeds": [0, 1],
    "variants": {"base": TINY, "no-lrn": TINY | {"lrn": False}},
}  # fmt: skip
CANDIDATE = TINY | {"seed": 0, "lrn": True}


def project(folder: Path, study: dict[str, Any] | None = None, candidate: dict[str, Any] | None = None) -> Path:
    """A folder with a study's file and a candidate, with some of their keys changed."""
    write(folder / "experiments/study.yaml", STUDY | (study or {}))
    write(folder / "params.yaml", CANDIDATE | (candidate or {}))
    return folder


def variant(**settings: Any) -> dict[str, Any]:
    return {"variants": {"base": TINY | settings}}


@pytest.mark.parametrize(
    ("study", "parts"),
    [
        ({"data": {"source": "mnist"}}, ["study.yaml: data: source: got 'mnist'", "fashion-mnist-8k", "imagenet"]),
        ({"data": {"sorce": "cifar10"}}, ["study.yaml: data: unknown setting 'sorce'", "source"]),
        ({"seeds": [0, 1, 0]}, ["study.yaml: seeds: 0 "]),
        ({"seeds": []}, ["study.yaml: seeds: got []"]),
        ({"baseline": "bse"}, ["study.yaml: baseline: got 'bse'", "base, no-lrn"]),
        ({"variants": {}}, ["study.yaml: variants: "]),
        ({"metric": "accuracy"}, ["study.yaml: metric: got 'accuracy'", "test_top1"]),
        ({"confidence": 95}, ["study.yaml: confidence: got 95", "< 1"]),
        ({"publishd": {}}, ["study.yaml: unknown setting 'publishd'", "published"]),
        ({"published": {"no-lnr": {"top1": 1.4, "where": "3.3"}}}, ["published.no-lnr: no such variant"]),
        ({"published": {"no-lrn": {"where": "3.3"}}}, ["published.no-lrn: top1, top5: "]),
        (variant(lnr=False), ["study.yaml: variants.base: unknown setting 'lnr'", "lrn"]),
        (variant(lrn="off"), ["study.yaml: variants.base: lrn: got 'off'", "true or false"]),
        (variant(dropout=1.0), ["study.yaml: variants.base: dropout: got 1.0", "< 1"]),
        (variant(gpus=3), ["study.yaml: variants.base: gpus: got 3", "1, 2"]),
        (variant(preset="papr"), ["study.yaml: variants.base: preset: got 'papr'", "paper", "as_run"]),
        (variant(crop=40), ["study.yaml: variants.base: crop: got 40", "24 to 32"]),
        (variant(classes=7), ["study.yaml: variants.base: classes: got 7, but synthetic has 10"]),
        (variant(crop_chunk=3), ["study.yaml: variants.base: crop_chunk: got 3; it must divide batch (32)"]),
        (variant(spatial_norm=True, depth="-conv2"), ["variants.base: spatial_norm"]),
        (variant(device="tpu"), ["variants.base: device: got 'tpu'", "auto, cpu, cuda"]),
        ({"data": {"source": "folder"}}, ["study.yaml: data.root: missing"]),
        ({"data": {"source": "synthetic", "size": 20}}, ["variants.base: crop: got 24, but the images are 20 x 20"]),
        ({"data": {"source": "fashion-mnist-8k"}}, ["variants.base: colour: got 0.1", "grey", "allowed: 0"]),
        (variant(batch=5000), ["variants.base: batch: got 5000", "460"]),
        (
            {"data": {"source": "synthetic", "train_limit": 30}},
            ["variants.base: batch: got 32"],
        ),
        ({"claims": "experiments/none.yaml"}, ["experiments/none.yaml: no such file"]),
    ],
)  # fmt: skip
def test_a_study_that_cannot_run_is_refused_by_check(tmp_path: Path, study: dict[str, Any], parts: list[str]) -> None:
    refused(harness("check", cwd=project(tmp_path, study)), *parts)


@pytest.mark.parametrize(
    ("candidate", "parts"),
    [
        ({"lnr": False}, ["params.yaml: unknown setting 'lnr'", "lrn"]),
        ({"lrn": "off"}, ["params.yaml: lrn: got 'off'", "true or false"]),
        ({"seed": None}, ["params.yaml: seed: got None", "an integer"]),
    ],
)
def test_a_candidate_that_cannot_run_is_refused_by_check(
    tmp_path: Path, candidate: dict[str, Any], parts: list[str]
) -> None:
    refused(harness("check", cwd=project(tmp_path, candidate=candidate)), *parts)


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (["run", "--nope"], ["No such option: --nope", "see: harness run --help"]),
        (["train", "tiny:base"], ["tiny:base: --seed: missing; the run's seed is allowed"]),
        (["train", "params.yaml", "--seed", "x"], ["Invalid value for '--seed'", "see: harness train --help"]),
        (["eval", "."], ["eval: . is a folder: name the folder of the results, and --data"]),
        (["run", "-j", "0"], ["'--jobs'", "greater than or equal to 1"]),
        (["rum"], ["No such command 'rum'"]),
        (["doctor", "nothing"], ["nothing: no study of that name"]),
        (["run", "-j", "8", "--gpus", "0,1"], ["run: -j: got 8"]),
        (["run", "--gpus", "0,,1"], ["run: --gpus: got '0,,1'"]),
        (["describe", "experiments/study.yaml"], ["got a study", "study.yaml:VARIANT"]),
        (["describe", "--geometry", "large"], ["geometry: got 'large'", "imagenet, medium, small"]),
        (["describe", "--depth", "conv3"], ["depth: got 'conv3'", "-conv3"]),
        (["describe", "--study", "nothing"], ["nothing: no study of that name; allowed: tiny"]),
        (["describe", "--study", "tiny", "--variant", "x"], ["study.yaml: got 'x'; allowed: a variant", "base"]),
        (["describe", "--variant", "base", "--gpus", "1"], ["describe: got settings in two ways"]),
    ],
)
def test_a_mistake_in_a_command_is_one_line(tmp_path: Path, command: list[str], parts: list[str]) -> None:
    refused(harness(*command, cwd=project(tmp_path)), *parts)


def test_files_that_are_missing_or_broken_are_named(tmp_path: Path) -> None:
    refused(harness("check", cwd=tmp_path), "experiments/study.yaml: no such file")
    project(tmp_path)
    (tmp_path / "params.yaml").write_text("lrn: [true")
    refused(harness("check", cwd=tmp_path), "params.yaml: not valid YAML")
    (tmp_path / "params.yaml").write_text("lrn: true\nlrn: false\nseed: 0\n")
    refused(harness("check", cwd=tmp_path), "params.yaml: not valid YAML", "lrn")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe")
    refused(harness("check", cwd=tmp_path), "params.yaml: cannot be read")
    (tmp_path / "experiments/study.yaml").write_text("- 1\n")
    refused(harness("check", cwd=tmp_path), "experiments/study.yaml: got [1]; a mapping of settings is allowed")


SAME_TWICE: dict[str, Any] = {
    "variants": {}, "settings": TINY, "plan": [{"kind": "factorial"}],
    "factors": {"no-lrn": {"lrn": False}, "slow": {"lrn": True, "lr": 0.003}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("study", "warning"),
    [
        ({"variants": {"base": TINY, "same": TINY | {"lrn": True}}}, "variants.same: nothing differs from base"),
        (SAME_TWICE, "variants.no-lrn_slow: the same settings as slow"),
        ({"data": {"source": "folder", "root": "images"}}, "data.size: "),  # crops see little of an image
        ({"data": {"source": "folder", "root": "images", "size": 28}}, ""),
    ],
)
def test_what_is_probably_a_mistake_is_warned_of(tmp_path: Path, study: dict[str, Any], warning: str) -> None:
    words = ("plan", "--rate", 1000) if "plan" in study else ("check",)
    done = harness(*words, cwd=project(tmp_path, study))
    assert done.returncode == 0, done.stderr
    assert f"warning: experiments/study.yaml: {warning}" in done.stdout if warning else not done.stdout


TRAIN = ("train", "experiments/study.yaml:base", "--seed", 0, "--out", "made/x", "--data")


def train(folder: Path, packed: Path) -> Done:
    return harness(*TRAIN, packed, cwd=folder)


def test_training_refuses_what_its_images_do_not_fit(tmp_path: Path, packed: Path) -> None:
    refused(train(project(tmp_path, variant(batch=500)), packed), "batch: got 500, but there are 270 training images")
    refused(train(project(tmp_path, variant(classes=7)), packed), "classes: got 7, but the data has 10")
    refused(train(project(tmp_path), tmp_path / "nothing"), "nothing: no packed images; run: harness data")
    refused(
        harness("train", "experiments/study.yaml:bse", "--seed", 0, "--out", "x", cwd=tmp_path),
        "study.yaml: got 'bse'; allowed: a variant, or a variant and a seed: base",
    )
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "made").exists() or not list((tmp_path / "made").iterdir())


def test_a_device_that_is_not_there_is_refused_and_nothing_else_is_taken(tmp_path: Path, packed: Path) -> None:
    import torch

    device = f"cuda:{torch.cuda.device_count()}"
    done = train(project(tmp_path, variant(device=device)), packed)
    refused(done, f"device: got '{device}', but this machine has", "allowed: auto, cpu")


def test_a_full_disk_is_said_and_leaves_no_half_written_run(tmp_path: Path, packed: Path) -> None:
    project(tmp_path, variant(epochs=1))
    with full_disk(20_000):
        refused(train(tmp_path, packed), "cannot be written: File too large")
    assert [path for name in ("made", "runs") for path in (tmp_path / name).rglob("*")] == []
    assert train(tmp_path, packed).returncode == 0
    assert len(list((tmp_path / "runs").glob("*/model.safetensors"))) == 1
    assert (tmp_path / "made/x/provenance.json").exists()


def test_a_full_disk_while_packing_leaves_the_old_images(tmp_path: Path) -> None:
    project(tmp_path, {"data": {"source": "synthetic", "train_limit": 100, "test_limit": 50}})
    assert harness("data", cwd=tmp_path).returncode == 0
    (folder,) = (path for path in (tmp_path / "data").iterdir() if path.is_dir())
    before = {p.name: p.read_bytes() for p in (*folder.iterdir(), tmp_path / "reports/tiny/data.json")}
    with full_disk(100_000):
        refused(harness("data", cwd=tmp_path), "cannot be written: File too large")
    assert before == {p.name: p.read_bytes() for p in (*folder.iterdir(), tmp_path / "reports/tiny/data.json")}
    assert [path for path in (tmp_path / "data").iterdir() if path.is_dir()] == [folder]


def test_evaluation_refuses_other_images_and_broken_records(tmp_path: Path, packed: Path) -> None:
    project(tmp_path, variant(epochs=1) | {"data": {"source": "synthetic", "train_limit": 100, "test_limit": 50}})
    assert train(tmp_path, packed).returncode == 0
    assert harness("data", cwd=tmp_path).returncode == 0
    (other,) = (path for path in (tmp_path / "data").iterdir() if path.is_dir())
    words = ("eval", "made/x", "out", "--data")
    refused(harness(*words, other, cwd=tmp_path), "made/x: was trained on other images")
    refused(harness("eval", "made/x", "out", cwd=tmp_path), "made/x is a folder: name the folder of the results, and")
    (tmp_path / "made/x/config.json").write_text("{}")
    refused(harness(*words, packed, cwd=tmp_path), "made/x/config.json: fingerprint: missing", "Restore it from git")
    assert not (tmp_path / "out").exists()


def test_a_run_without_data_sees_the_images_of_its_own_study(tmp_path: Path) -> None:
    folder = project(tmp_path)
    grey = {"name": "other", "data": {"source": "fashion-mnist-8k"}}
    write(folder / "experiments/other/study.yaml", STUDY | grey | variant(colour=0))
    settings = load_study(folder / "experiments/other/study.yaml").variants["base"].model_dump()
    write_json(folder / "elsewhere/base.json", settings)

    for name, specs in (
        ("other", ("experiments/other/study.yaml:base", "other:base", "other:base-0")),
        ("tiny", ("params.yaml", "experiments/study.yaml:base", "base-0")),
    ):
        for spec in specs:
            done = harness("train", spec, "--seed", 0, "--out", "x", cwd=folder)
            refused(done, f"reports/{name}/data.json: no such file; run: harness data {name}")
    done = harness("train", "elsewhere/base.json", "--seed", 0, "--out", "x", cwd=folder)
    refused(done, "elsewhere/base.json: --data: missing, and it belongs to no study")
    assert not (folder / "x").exists()

    def parameters(*words: object) -> int:
        total: int = json.loads(harness("describe", *words, "--json", cwd=folder).stdout)["total"]["parameters"]
        return total

    for spec in ("other:base", "experiments/other/study.yaml:base"):
        assert parameters(spec) == parameters(spec, "--channels", 1, "--classes", 10)
    for spec, classes in (("params.yaml", 10), ("elsewhere/base.json", 1000)):
        assert parameters(spec) == parameters(spec, "--channels", 3, "--classes", classes)


def test_a_study_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "experiments/draft").mkdir()
    (folder / "experiments/draft/study.yaml").write_text("name: draft\ntitle: [broken\n")
    for command in ("check", "data", "run", "doctor", "plan", "report", "gallery", "ensemble", "publish", "ui"):
        refused(harness(command, "tidy", cwd=folder), "tidy: no study of that name; allowed: draft, tiny, or a study's")
    refused(harness("variants", "reports/tidy.md", cwd=folder), "reports/tidy.md: no study of that name")
    refused(harness("plan", "draft", cwd=folder), "experiments/draft/study.yaml: not valid YAML")
    assert harness("variants", "tiny", "--names", cwd=folder).stdout == "base\nno-lrn\n"
