"""Whatever stands in a file, its reader answers with the content or with one line; valid settings always train.

HARNESS_FUZZ multiplies the number of inputs (6: full size, more than a thousand bad ones, drawn anew each time);
HARNESS_FUZZ_OUT names a CSV that the numbers are written to: kind, what, tried, survived, lost.
"""

import csv
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_origin
from unittest import mock

import numpy as np
import pytest
from conftest import TINY, evaluated, tiny, trained, weights_file, write_yaml
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pictures import settings as picture_settings
from pictures import tree
from ruamel.yaml import YAML

from harness.claims.claim import load_claims
from harness.claims.ledger import read_ensembles
from harness.data.pack import pack
from harness.data.packed import PARTS, Packed
from harness.errors import UserError
from harness.files import read_json, write_json
from harness.identity.known import read_known
from harness.net.layout import layout
from harness.numerics import configure
from harness.record import Config, Images, RunFolder, fingerprint, read_run
from harness.report.candidate import candidate_row
from harness.report.isolation import read_verified
from harness.report.runs import read_results
from harness.settings.check import check_candidate, check_run, check_study
from harness.settings.load import load_candidate, load_run, load_study, resolve
from harness.settings.schema import DataSettings, Settings
from harness.train.checkpoint import Checkpoints
from harness.train.loop import Interrupted, Trainer
from harness.weights import hash_tensors, load

ROOT = Path(__file__).parent.parent
SCALE = int(os.environ.get("HARNESS_FUZZ", "1"))
OUT = os.environ.get("HARNESS_FUZZ_OUT")

pytestmark = pytest.mark.timeout(300 * SCALE)

tried: Counter[str] = Counter()
lost: Counter[str] = Counter()


def fuzz(count: int) -> Any:
    """Settings of hypothesis: `count` inputs, times the scale; an input that takes 20 s hangs."""
    return settings(
        max_examples=count * SCALE, deadline=20_000, derandomize=SCALE == 1, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def numbers() -> Iterator[None]:
    """What was tried, written where it is asked for."""
    yield
    if OUT:
        new = not Path(OUT).exists()
        with Path(OUT).open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["kind", "what", "tried", "survived", "lost", "note"])
            for what, count in sorted(tried.items()):
                writer.writerow(["fuzzing", what, count, count - lost[what], lost[what], ""])


def one_line(what: str, go: Callable[[], object]) -> UserError | None:
    """Do it: it must end, or end in a user's mistake that is one line."""
    tried[what] += 1
    lost[what] += 1
    error = None
    try:
        go()
    except UserError as mistake:
        error = mistake
    if error is not None:
        assert len(str(error).splitlines()) == 1
    lost[what] -= 1
    return error


# ---- settings

SMALL = TINY | {"epochs": 2, "batch": 32}
BOUNDS = {"fc_width": 64, "batch": 64, "epochs": 4, "crop_chunk": 64, "workers": 2, "threads": 2, "local_width": 32}
"""What keeps a step of a valid run short; ranges themselves are wider."""
FIXED = {"device", "compile", "geometry", "pretrained"}
"""Kept: a device is not everywhere, compiling takes a minute, and the other geometries do not fit small images."""


def valid(name: str) -> st.SearchStrategy[Any]:
    """Values that a setting declares to take."""
    field = Settings.model_fields[name]
    limits = {k: getattr(m, k) for m in _flat(field.metadata) for k in ("ge", "gt", "le", "lt") if hasattr(m, k)}
    kind = field.annotation
    if get_origin(kind) is list:
        return st.lists(st.floats(0, 1), max_size=4, unique=True).map(sorted)
    if get_args(kind) and get_origin(kind) is not None and "Literal" in str(get_origin(kind)):
        return st.sampled_from(get_args(kind))
    if kind is bool:
        return st.booleans()
    if kind is int or int in get_args(kind):
        low, high = int(limits.get("ge", 0)), int(limits.get("le", 64))
        high = min(high, BOUNDS.get(name, 32))
        numbers = st.integers(min(low, high), max(low, high))
        return numbers if kind is int else st.none() | st.just(10)
    if kind is float:
        low, high = limits.get("ge", limits.get("gt", -1.0)), min(limits.get("le", limits.get("lt", 2.0)), 2.0)
        return st.floats(low, high, exclude_min="gt" in limits, exclude_max="lt" in limits, allow_subnormal=False)
    raise AssertionError(f"{name}: no strategy for {kind}: add one")


def _flat(metadata: Any) -> list[Any]:
    return [part for m in metadata for part in (getattr(m, "metadata", None) or [m])]


NAMES = [name for name in Settings.model_fields if name not in FIXED]
changes = st.lists(st.sampled_from(NAMES), max_size=8, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: valid(name) for name in names})
)
DATA = Images(
    name="synthetic", hash="0" * 64, size=32, classes=10, channels=3, class_names=[f"c{i}" for i in range(10)],
    counts=dict.fromkeys(PARTS, 10), left_out=0,
)  # fmt: skip


@fuzz(30)
@given(changes=changes, seed=st.integers(0, 2**31 - 1))
def test_valid_settings_resolve_lay_out_and_come_back_from_their_file(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], seed: int
) -> None:
    def go() -> None:
        resolved = resolve(SMALL | changes, "fuzz")
        layout(resolved, 3, 10)
        config = Config.of(resolved, seed, DATA)
        path = tmp_path_factory.mktemp("config") / "config.json"
        write_json(path, config.model_dump())
        assert Config.read(path) == config
        assert Config.read(path).resolved == resolved
        assert fingerprint(Config.read(path).resolved, seed, DATA.hash) == config.fingerprint

    if one_line("settings: valid", go):
        reject()  # a combination that is refused, in one line


@fuzz(8)
@given(changes=changes, seed=st.integers(0, 2**31 - 1))
def test_valid_settings_train_a_step(packed: Path, tmp_path_factory: Any, changes: dict[str, Any], seed: int) -> None:
    def go() -> None:
        resolved = resolve(SMALL | changes, "fuzz")
        check_run(resolved, DataSettings(source="synthetic"), "fuzz")
        place = Checkpoints(tmp_path_factory.mktemp("state"))
        trainer = Trainer(
            resolved, seed, Packed.open(packed), configure(resolved), place, math.inf, lambda row: None, lambda: True
        )
        with pytest.raises(Interrupted):
            trainer.run()
        assert trainer.state.step >= 1
        assert place.load() is not None

    if one_line("settings: a step", go):
        reject()


junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just({}), st.just([]),
    st.just([[]]), st.just({"a": 1}), st.just(10**400), st.just("\x00"), st.just("off"), st.just("1e-2"), st.just(-1),
    st.just(float("nan")), st.just(float("inf")), st.just(b"x"), st.dates(), st.just({1: 2}), st.just(" true"),
)  # fmt: skip


@fuzz(80)
@given(name=st.sampled_from(list(Settings.model_fields)), value=junk)
def test_a_setting_of_a_wrong_type_or_range_is_one_line_that_names_it(name: str, value: Any) -> None:
    taken: list[Any] = []
    settings = SMALL | {name: value}
    error = one_line("settings: wrong value", lambda: taken.append(getattr(resolve(settings, "fuzz"), name)))
    if error is None:
        # A whole number is taken for a float; nothing else changes its type.
        assert type(taken[0]) is type(value) or (type(value) is int and type(taken[0]) is float)
        assert taken == [value]
    else:
        assert name in str(error) or "crop" in str(error), str(error)


@fuzz(40)
@given(values=st.dictionaries(st.one_of(st.text(max_size=12), st.integers(), st.none(), st.booleans()), junk) | junk)
def test_settings_of_any_shape_are_one_line(values: Any) -> None:
    one_line("settings: any shape", lambda: resolve(values, "fuzz"))


# ---- files


@dataclass(frozen=True)
class Reader:
    """A reader and a sound file of its, below the project. `form`: json, yaml or binary."""

    file: str
    form: str
    read: Callable[[Path], object]


STUDY: dict[str, Any] = {
    "name": "tiny", "title": "Tiny", "purpose": "Tests.", "data": {"source": "synthetic"}, "seeds": [0],
    "variants": {"base": TINY | {"epochs": 1}}, "published": {"base": {"top1": 1.5, "where": "3.3"}},
}  # fmt: skip
PLANNED: dict[str, Any] = {
    "extends": "sound.yaml", "name": "planned", "title": "Planned", "purpose": "Tests.", "seeds": [0, 1],
    "settings": TINY, "limit": 100, "variants": {"own": {"lrn_k": 1.0}},
    "factors": {"no-lrn": {"lrn": False}, "no-overlap": {"overlap_pool": False}, "no-dropout": {"dropout": 0.0}},
    "plan": [
        {"kind": "one_factor"}, {"kind": "add_one_in", "factors": ["no-lrn", "no-overlap"]},
        {"kind": "factorial", "factors": ["no-lrn", "no-dropout"]},
        {"kind": "grid", "values": {"lr": [0.01, 0.02], "momentum": [0.5, 0.9]}},
    ],
}  # fmt: skip
CELL = "reports/tiny/runs/base-0"


def results(root: Path) -> None:
    study = load_study(root / "sound.yaml")
    candidate = load_candidate(root / "sound-params.yaml")
    candidate_row(study, candidate, read_results(study, candidate, root))


def images(root: Path) -> None:
    pack(picture_settings(root / "pictures"), root / "packed-pictures")


def parts(root: Path) -> None:
    packed = Packed.open(root / "packed")
    for part in PARTS:
        packed.part(part)


def losses(root: Path) -> None:
    assert len(read_run(RunFolder.of(root / CELL)).losses)


def settings_of(root: Path) -> None:
    resolved = Config.read(root / CELL / "train/config.json").resolved
    assert isinstance(resolved, Settings)


def weights(root: Path) -> None:
    """Weights are whole, or count as missing."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setenv("DVC_ROOT", folder)
        run = read_run(RunFolder.of(root / CELL))
        place = weights_file(run)
        place.parent.mkdir(parents=True)
        place.symlink_to(root / "model.safetensors")
        tensors = load(run)
        assert tensors is None or hash_tensors(tensors) == run.hashes.weights


def evaluation(root: Path) -> None:
    """Of a run whose record may be damaged, so that its weights are not found; it is not trained again here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root / "cache"))
        patch.setattr("harness.weights.train", mock.Mock(side_effect=UserError("its weights are not here")))
        evaluated(read_run(RunFolder.of(root / CELL)), root / "packed", root / "evaluated")


READERS = {
    "study.yaml": Reader("study.yaml", "yaml", lambda root: check_study(load_study(root / "study.yaml"))),
    "planned.yaml": Reader("planned.yaml", "yaml", lambda root: check_study(load_study(root / "planned.yaml"))),
    "resolved.json": Reader("resolved.json", "json", lambda root: load_run(str(root / "resolved.json"))),
    "params.yaml": Reader(
        "params.yaml", "yaml", lambda root: check_candidate(root / "params.yaml", load_study(root / "sound.yaml"))
    ),
    "claims.yaml": Reader("claims.yaml", "yaml", lambda root: load_claims(root / "claims.yaml")),
    "ensembles.json": Reader("ensembles.json", "json", lambda root: read_ensembles(root / "ensembles.json")),
    "config.json": Reader(f"{CELL}/train/config.json", "json", results),
    "provenance.json": Reader(f"{CELL}/train/provenance.json", "json", results),
    "metrics.json": Reader(f"{CELL}/eval/metrics.json", "json", results),
    "history.csv": Reader(f"{CELL}/train/history.csv", "binary", results),
    "predictions.parquet": Reader(f"{CELL}/eval/predictions.parquet", "binary", results),
    "losses.npy": Reader(f"{CELL}/train/losses.npy", "binary", losses),
    "settings of a run": Reader(f"{CELL}/train/config.json", "json", settings_of),
    "data.json": Reader("reports/tiny/data.json", "json", results),
    "known.json": Reader("harness/identity/known.json", "json", lambda root: read_known(root)),
    "verified.json": Reader("verified.json", "json", lambda root: read_verified(root / "verified.json")),
    "model.safetensors": Reader("model.safetensors", "binary", weights),
    "run to evaluate: provenance.json": Reader(f"{CELL}/train/provenance.json", "json", evaluation),
    "manifest.json": Reader("packed/manifest.json", "json", parts),
    "mean.f32": Reader("packed/mean.f32", "binary", parts),
    "labels": Reader("packed/train.labels.i32", "binary", parts),
    "image.png": Reader("pictures/train/a/image 0.png", "binary", images),
    "image.jpg": Reader("pictures/train/a/image 1.jpg", "binary", images),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound file of every kind."""
    root = tmp_path_factory.mktemp("project")
    candidate = STUDY["variants"]["base"] | {"seed": 0}
    for name, content in (
        ("study.yaml", STUDY),
        ("sound.yaml", STUDY),
        ("planned.yaml", PLANNED),
        ("params.yaml", candidate),
        ("sound-params.yaml", candidate),
    ):
        write_yaml(root / name, content)
    shutil.copy(ROOT / "experiments/claims.yaml", root)
    write_json(root / "resolved.json", tiny().model_dump())
    write_json(root / "ensembles.json", {"base": {"seeds": [0], "test_top1": 20.0, "test_top1_10crop": 19.0}})
    write_json(
        root / "verified.json",
        {"base-0": {"verified": True, "record": "x", "epochs": 1, "of": 1, "when": "2026-01-01T00:00:00Z",
                    "commit": None, "dirty": None, "here": False, "machine": {"threads": 1}, "versions": {"torch": "2"},
                    "agrees": ["data"], "differs": [], "first_epoch": None, "cause": ""}},
    )  # fmt: skip
    pack(DataSettings(source="synthetic", train_limit=120, test_limit=20), root / "packed")
    tree(root / "pictures", ["a", "b"], 4)
    (root / "harness/identity").mkdir(parents=True)
    shutil.copy(ROOT / "harness/identity/known.json", root / "harness/identity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root / "cache"))
        folder = RunFolder.of(root / CELL)
        run = trained(tiny(epochs=1), root / "packed", folder.training)
        evaluated(run, root / "packed", folder.evaluation)
        shutil.copy(weights_file(run), root)
    shutil.copytree(root / CELL, root / "reports/tiny/candidate")
    write_json(root / "reports/tiny/data.json", read_json(root / "packed/manifest.json") | {"id": "0", "code": "0"})
    for reader in READERS.values():
        reader.read(root)
    return root


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Bits flipped, a part replaced, taken away or put in, the end cut off, or something else altogether."""
    how = draw(st.sampled_from(["flip", "flip", "splice", "splice", "splice", "other"]))
    if how == "other":
        return draw(st.binary(max_size=200) | st.sampled_from([b"", content + content, *NASTY]))
    if how == "flip":
        changed = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    # The beginning matters most: headers stand there.
    first = draw(st.integers(0, len(content)) | st.integers(0, min(64, len(content))))
    last = draw(st.sampled_from([first, len(content)]) | st.integers(first, min(first + 40, len(content))))
    return content[:first] + draw(st.binary(max_size=40)) + content[last:]


NASTY = [
    b"\xff\xfe\x00\x00", b"\xef\xbb\xbf{}", b"\x00" * 64, b"null", b"[]", b"{}", b"1", b'"text"', b"true", b"NaN",
    b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5_000, b"1e999999", b"- - - -\n", b"a: &a [*a]\n", b"&a {x: *a}\n",
    b"!!python/object/apply:os.system ['echo']\n", b"!!binary xx\n", b"? [a, b]\n: c\n", b"<<: 3\n", b"a: 1\na: 2\n",
    b"\ta: b\n", b"%YAML 9.9\n---\na\n", b"--- a\n--- b\n", b"key: 2001-01-01\n", b"1: 2\n", b"null: 1\n", b"'\n" * 9,
    b"epoch\n", b"epoch,lr\n1\n", b'"' * 999, b"PAR1" + b"\x00" * 40 + b"PAR1", b"\x89PNG\r\n\x1a\n", b"GIF89a",
    b"&x " * 2_000, b"[*x]", b"\xc3\x28",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of every node of a JSON value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


@st.composite
def wrong_shape(draw: st.DrawFn, value: Any) -> Any:
    """A value with a node of another type, taken away, or beside an unknown one."""
    value = json.loads(json.dumps(value))
    *above, last = draw(st.sampled_from([place for place in places(value) if place]))
    node = value
    for key in above:
        node = node[key]
    how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "extra"]))
    if how == "remove":
        del node[last]
    elif how == "extra" and isinstance(node, dict):
        node[draw(st.text(min_size=1, max_size=10))] = draw(json_junk)
    else:
        node[last] = draw(json_junk)
    return value


json_junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just([]), st.just({}), st.just(-1),
    st.just(10**400), st.just([None]), st.just({"": {}}), st.just("../../etc"), st.just("\x00"), st.just("nan"),
    st.just("9" * 5000), st.just("x" * 10_000), st.just(2**63), st.just(-(2**70)), st.just(1e308),
)  # fmt: skip


def damaged(reader: Reader, content: bytes, data: st.DataObject) -> bytes:
    """Bad content for a reader's file."""
    if reader.form == "binary" or data.draw(st.sampled_from([True, False])):
        return data.draw(damaged_bytes(content))
    sound = json.loads(content) if reader.form == "json" else YAML(typ="safe").load(content.decode())
    # JSON is YAML; NaN and infinity are not JSON, but Python writes and reads them.
    return json.dumps(data.draw(wrong_shape(sound))).encode("utf-8", "surrogatepass")


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", READERS)
@fuzz(8)
@given(data=st.data())
def test_a_damaged_file_is_read_or_told_in_one_line_and_nothing_is_overwritten(
    project: Path, name: str, data: st.DataObject
) -> None:
    reader = READERS[name]
    path = project / reader.file
    sound = path.read_bytes()
    bad = damaged(reader, sound, data)
    if bad == sound:
        reject()
    out = {"packed-pictures", "evaluated"}
    try:
        path.write_bytes(bad)
        before = snapshot(project)
        error = one_line(name, lambda: reader.read(project))
        after = snapshot(project)
        if error is None:  # what is written on success is written whole
            before, after = ({k: v for k, v in s.items() if k.split("/")[0] not in out} for s in (before, after))
        assert after == before
        assert path.read_bytes() == bad
        assert error is None or name != "study.yaml" or str(error).startswith(str(path))
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_or_a_folder_in_its_place_is_told_in_one_line(project: Path, name: str) -> None:
    reader = READERS[name]
    path = project / reader.file
    aside = path.with_name(".aside")
    path.rename(aside)
    try:
        one_line(f"{name}: missing", lambda: reader.read(project))
        path.mkdir()
        one_line(f"{name}: a folder", lambda: reader.read(project))
    finally:
        if path.is_dir():
            path.rmdir()
        aside.rename(path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["factorial", "grid"])
def test_a_plan_of_too_many_runs_is_refused_at_once(project: Path, kind: str) -> None:
    names = [f"f{i}" for i in range(40)]
    plan: dict[str, Any] = {"kind": kind}
    if kind == "grid":
        plan["values"] = {name: [0.1, 0.2, 0.3] for name in ("lr", "momentum", "dropout", "weight_decay", "lrn_k")} | {
            "epochs": list(range(1, 2000)), "init_std": [0.001 * i for i in range(1, 2000)],
        }  # fmt: skip
    study = PLANNED | {"plan": [plan], "factors": {name: {"lrn_k": 1.0 + i} for i, name in enumerate(names)}}
    write_json(project / "large.yaml", study)
    error = one_line(f"plan: too large, {kind}", lambda: load_study(project / "large.yaml"))
    (project / "large.yaml").unlink()
    assert error is not None


# ---- checkpoints


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, packed: Path) -> Path:
    """A folder with two checkpoints of an interrupted run."""
    folder = tmp_path_factory.mktemp("checkpoints")
    resolved = tiny()
    for _ in range(2):
        trainer = Trainer(
            resolved, 0, Packed.open(packed), configure(resolved), Checkpoints(folder), math.inf, lambda row: None,
            lambda: True,
        )  # fmt: skip
        with pytest.raises(Interrupted):
            trainer.run()
    assert len(list(folder.iterdir())) == 4
    return folder


@pytest.mark.parametrize("ending", ["safetensors", "json"])
@fuzz(12)
@given(data=st.data())
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    checkpoints: Path, ending: str, data: st.DataObject
) -> None:
    newest = max(checkpoints.glob(f"*.{ending}"))
    sound = newest.read_bytes()
    tensors, state = Checkpoints(checkpoints).load() or ({}, {})
    bad = data.draw(damaged_bytes(sound) | st.just(b"[" * 100_000))  # nested too deep for Python
    if bad == sound:
        reject()
    try:
        newest.write_bytes(bad)
        loaded: list[Any] = []
        one_line(f"checkpoint .{ending}", lambda: loaded.append(Checkpoints(checkpoints).load()))
        assert loaded[0] is not None, "the one before is sound"
        if loaded[0][1]["step"] == state["step"]:
            assert loaded[0][1] == state, "what is taken is what was saved"
            assert all(np.array_equal(loaded[0][0][name].numpy(), tensor.numpy()) for name, tensor in tensors.items())
        assert newest.read_bytes() == bad
    finally:
        newest.write_bytes(sound)
