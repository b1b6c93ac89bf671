"""Files of others are data: nothing in them is run, leaves its folder or becomes markup; secrets are not told."""

import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from fake_study import STUDY, make_results, make_study
from markdown_it import MarkdownIt
from pictures import tree
from ruamel.yaml import YAML
from test_libraries import write_pickle
from torchvision import datasets
from typer.testing import CliRunner

from harness.cli import app
from harness.data import libraries
from harness.data.libraries import load, unpack
from harness.errors import UserError
from harness.settings.load import find_study, load_candidate, load_study
from harness.tracking.database import shown, tracking_uri, without_secrets
from harness.tracking.publish import publish

ROOT = Path(__file__).parent.parent
CODE = sorted((ROOT / "harness").rglob("*.py"))

# ---- no file is code


RUNS_CODE = re.compile(
    r"\b(import|from) (\w+\.)*(pickle|cloudpickle|dill|joblib|marshal|shelve|jsonpickle|package)\b|torch\.package"
    r"|read_pickle|unsafe_load|shell=True|\b(os\.system|os\.popen)\(|(?<![.\w])(eval|exec|compile)\("
    r"|\b(np|numpy)\.(lib\.format\.read_array|load|save)\((?!.*allow_pickle=False)|torch\.load\((?!.*weights_only=True)"
    r"|YAML\((?!typ=.safe.)"
)
"""What loads a pickle, or hands a text to a shell or to Python."""


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from pickle import loads", "torch.load(p)", "np.load(p)", "subprocess.run(x, shell=True)",
     "eval(x)", "YAML().load(p)"],
)  # fmt: skip
def test_what_loads_a_pickle_or_runs_a_text_is_recognised(source: str) -> None:
    assert RUNS_CODE.search(source)


def test_no_code_loads_a_pickle_or_runs_a_text() -> None:
    assert len(CODE) > 80
    matches = {str(path.relative_to(ROOT)): RUNS_CODE.search(path.read_text()) for path in CODE}
    # CIFAR is published as pickles; how they are read stands below.
    # The user's own metrics and images are Python files that a study names: see docs/studies.md.
    assert {path for path, match in matches.items() if match} == {"harness/data/libraries.py", "harness/user_code.py"}
    source = (ROOT / "harness/data/libraries.py").read_text()
    assert set(re.findall(r"pickle\.\w+", source)) == {"pickle.Unpickler", "pickle.UnpicklingError"}
    assert "def find_class" in source


class Evil:
    """Makes the folder `was-run` when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("was-run",)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be downloaded, into a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> Callable[[bytes], None]:
    """Read CIFAR-10 with a certain test batch, whose hash torchvision is made to know."""
    kind, folder = datasets.CIFAR10, tmp_path / "cifar-10-batches-py"
    images = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}

    def go(content: bytes) -> None:
        md5 = write_pickle(folder / "batches.meta", {"label_names": ["a", "b"]})
        monkeypatch.setattr(kind, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5})
        monkeypatch.setattr(kind, "train_list", [["data_batch_1", write_pickle(folder / "data_batch_1", images)]])
        (folder / "test_batch").write_bytes(content)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        monkeypatch.setattr(kind, "test_list", [["test_batch", md5]])
        load("cifar10", str(tmp_path))

    return go


@pytest.mark.parametrize("evil", [Evil(), {"data": np.array([Evil()], dtype=object), "labels": [0]}])
def test_a_pickle_of_cifars_name_and_hash_runs_nothing(cifar: Callable[[bytes], None], evil: Any) -> None:
    with pytest.raises(UserError, match=r"cifar10 is not in .*(os|posix)\.mkdir|cannot be downloaded"):
        cifar(pickle.dumps(evil, 2))
    assert not Path("was-run").exists()
    pickle.loads(pickle.dumps(evil, 2))  # noqa: S301 - it would have
    assert Path("was-run").exists()


@pytest.mark.usefixtures("offline")
def test_fashion_mnists_old_form_runs_nothing(tmp_path: Path) -> None:
    """torchvision still reads `processed/*.pt` where they lie; as weights alone."""
    folder = tmp_path / "FashionMNIST/processed"
    folder.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        (folder / name).write_bytes(pickle.dumps(Evil(), 2))
    with pytest.raises(UserError, match="fashion-mnist is not in"):
        load("fashion-mnist", str(tmp_path))
    assert not Path("was-run").exists()


# ---- downloads and archives


def archive(path: Path, *members: tuple[str, bytes | str | None]) -> Path:
    """A tar archive of names with bytes (a file), a kind and where it leads (`sym:x`), or None (a folder)."""
    kinds = {"sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE,
             "block": tarfile.BLKTYPE}  # fmt: skip
    with tarfile.open(path, "w:gz") as tar:
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, str):
                kind, _, info.linkname = what.partition(":")
                info.type = kinds[kind]
            elif what is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size, info.mode = len(what), 0o4777
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return path


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_an_archive_of_files_and_folders_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "in/set").mkdir(parents=True)
    (tmp_path / "in/set/mine").write_text("stays")
    made = archive(tmp_path / "a.tgz", ("set", None), ("set/a", b"1"), ("set/-rf <b>", b"2"), ("other/b", b"3"))
    unpack(made, tmp_path / "in", "set")
    assert everything(tmp_path / "in") == {"set", "set/mine", "set/a", "set/-rf <b>"}
    assert not os.stat(tmp_path / "in/set/a").st_mode & 0o4000, "nor as the user who owns it"
    unpack(made, tmp_path / "in", "other")
    assert (tmp_path / "in/other/b").read_text() == "3"


@pytest.mark.parametrize(
    "member",
    [
        ("../out", b"x"), ("set/../../out", b"x"), ("/tmp/harness-was-here", b"x"), ("set/link", "sym:/etc"),  # noqa: S108
        ("set/link", "sym:a"), ("set/link", "hard:set/a"), ("set/link", "hard:../out"), ("set/pipe", "fifo:"),
        ("set/null", "device:"), ("set/disk", "block:"),
    ],
)  # fmt: skip
def test_an_archive_that_would_leave_its_folder_is_refused_and_leaves_nothing(
    tmp_path: Path, member: tuple[str, bytes | str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    made = archive(tmp_path / "a.tgz", ("set", None), ("set/a", b"1"), member, ("set/b", b"2"))
    with pytest.raises(ValueError, match=r"neither a file nor a folder|would leave the folder"):
        unpack(made, folder, "set")
    assert everything(tmp_path) == {"in", "a.tgz"}
    assert not Path("/tmp/harness-was-here").exists()  # noqa: S108


@pytest.mark.parametrize(("name", "file"), [("cifar10", "cifar-10-python.tar.gz"), ("imagenette", "imagenette2.tgz"),
                                            ("stl10", "stl10_binary.tar.gz")])  # fmt: skip
@pytest.mark.usefixtures("offline")
def test_an_archive_of_another_hash_is_not_unpacked(tmp_path: Path, name: str, file: str) -> None:
    inside = libraries.WHAT[name].partition("/")[0]
    archive(tmp_path / file, (f"{inside}/train/a/1.jpg", b"x"), (f"{inside}/val/a/1.jpg", b"x"))
    with pytest.raises(UserError, match=f"{name} is not in"):
        libraries.imagenette(str(tmp_path)) if name == "imagenette" else load(name, str(tmp_path))
    assert everything(tmp_path) <= {file}


def test_an_archive_that_was_unpacked_in_part_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(0).bytes(9000)
    made = archive(tmp_path / "imagenette2.tgz", *((f"imagenette2/{p}/a/1.jpg", picture) for p in ("train", "val")))
    content = made.read_bytes()
    url, _ = datasets.Imagenette._ARCHIVES["full"]
    for length in (len(content) * 3 // 4, len(content)):
        made.write_bytes(content[:length])
        md5 = hashlib.md5(made.read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(datasets.Imagenette._ARCHIVES, "full", (url, md5))
        if length < len(content):
            with pytest.raises(UserError, match="imagenette is not in"):
                libraries.imagenette(str(tmp_path))
            assert everything(tmp_path) == {"imagenette2.tgz"}
    assert libraries.imagenette(str(tmp_path)) == tmp_path / "imagenette2"


# ---- names are data

NAMES = [
    "<script>alert(1)<", "-rf", "café ☕ | `x`", '"><img src=x onerror=alert(1)>', "$x_{2}$ [a](javascript:x)", "a..",
]  # fmt: skip
TAGS = re.compile(r"<(script|img src=x)|onerror=alert\(1\)>|href=.javascript", re.IGNORECASE)


SHORT = TINY | {"epochs": 1, "batch": 8}


def make_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study on a folder of images whose classes, files and place have such names, run to its report."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_ROOT", str(root))
    images = root / "data <b>'quoted' ☕"
    tree(images, [name.replace("/", "∕") for name in NAMES], 8)
    for path in images.rglob("image 0.png"):
        path.rename(path.with_name("-o <i>`x`;$(touch was-run).png"))
    study = {
        "name": "named", "title": NAMES[0], "purpose": NAMES[3],
        "data": {"source": "folder", "root": str(images), "size": 32, "validation": 0.25}, "seeds": [0],
        "variants": {"base": SHORT, "no-lrn": SHORT | {"lrn": False}},
        "published": {"no-lrn": {"top1": 1.0, "where": NAMES[3]}},
    }  # fmt: skip
    (root / "experiments").mkdir()
    with (root / "experiments/study.yaml").open("w") as file:
        YAML(typ="safe").dump(study, file)
    (root / "params.yaml").write_text(json.dumps(SHORT | {"seed": 0}))
    commands = ["data"]
    for variant in ("base", "no-lrn"):
        commands += [f"train {variant}-0", f"eval {variant}-0"]
    for command in [*commands, "ensemble", "gallery", "report"]:
        result = CliRunner().invoke(app, command.split(), catch_exceptions=False)
        assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_names_of_classes_files_and_studies_are_never_markup_or_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_named(tmp_path, monkeypatch)
    text = (tmp_path / "reports/named.md").read_text()
    page = MarkdownIt().enable("table").render(text)
    assert not TAGS.search(page), TAGS.search(page)
    assert "&lt;script&gt;alert(1)" in page
    assert "javascript" not in page.lower() or "[a](javascript:x)" in page
    drawn = sorted((tmp_path / "reports/named").glob("*.svg"))
    assert drawn
    for path in drawn:
        content = path.read_text()
        ET.fromstring(content)  # noqa: S314
        assert not TAGS.search(content)
    record = json.loads((tmp_path / "reports/named/runs/base-0/train/config.json").read_text())
    assert record["data"]["class_names"] == sorted(NAMES), "as they are, in JSON"
    assert not list(tmp_path.rglob("was-run"))


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "", "a/b", "/a", "-x", ".x", "x.y", "A", "a b", "ü", "<b>", "a\n", "a\0", "x" * 64, "a'b"],
)
def test_a_studys_and_a_variants_name_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    file = tmp_path / "experiments/study.yaml"
    file.parent.mkdir()
    good: dict[str, Any] = {
        "name": "good", "title": "T", "purpose": "P.", "data": {"source": "synthetic"}, "seeds": [0],
        "variants": {"base": TINY},
    }  # fmt: skip
    for changes in ({"name": name}, {"variants": {"base": TINY, name: TINY}}):
        with file.open("w") as content:
            YAML(typ="safe").dump(good | changes, content)
        with pytest.raises(UserError) as mistake:
            load_study(file)
        assert "\n" not in str(mistake.value)
    with file.open("w") as content:
        YAML(typ="safe").dump(good, content)
    assert load_study(file).name == "good"
    (tmp_path / "params.yaml").write_text(json.dumps(TINY | {"seed": 0, "pretrained": f"{name}/../base"}))
    with pytest.raises(UserError, match="pretrained"):
        load_candidate(tmp_path / "params.yaml")


@pytest.mark.parametrize("target", ["..", "../secret", "reports/../../secret.md", "/etc", "experiments/../.."])
def test_what_names_no_study_is_not_looked_for_elsewhere(tmp_path: Path, target: str) -> None:
    root = tmp_path / "project"
    (root / "experiments").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    with pytest.raises(UserError, match=r"no study of that name|no such file"):
        find_study(Path(target), root)


# ---- the interface, and secrets


SECRETS = [
    "http://user:hunter2@127.0.0.1:9/x",
    "http://hunter2@127.0.0.1:9",
    "http://127.0.0.1:9/?u=me@x&password=hunter2",
    "nonsense://user:hunter2@host",
    "nonsense://host/?password=hunter2",
    "user:hunter2@host:5000",
    "mysql+nodriver://user:hunter2@host/db",
    "sqlite:///else.db?key=hunter2",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_a_secret_in_the_address_is_neither_printed_nor_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(tmp_path)
    study = make_study(tmp_path, STUDY.replace("[0, 1, 2, 3, 4]", "[0]"), epochs=2)
    make_results(study, tmp_path)
    try:
        message = str(publish(study, None, tmp_path))
    except UserError as error:
        message = str(error)
    printed = capfd.readouterr()
    for text in (message, printed.out, printed.err):
        assert "hunter2" not in text
    assert "\n" not in message
    assert message
    for path in tmp_path.rglob("*"):
        assert "hunter2" not in path.name
        assert not path.is_file() or b"hunter2" not in path.read_bytes()


def test_what_others_say_of_an_address_is_shown_without_its_secrets() -> None:
    for uri, message, kept in (
        ("http://me:p%40ss@host", "cannot reach http://me:p%40ss@host with p@ss", "cannot reach http://host with ***"),
        ("mysql://host/db?password=x1y2&ssl=on", "bad option password=x1y2, ssl=on", "bad option password=***, ssl=on"),
        ("http://tok3n:@host", "denied: tok3n", "denied: ***"),
        ("http://host:5000/a", "http://host:5000/a is down", "http://host:5000/a is down"),
        ("sqlite:////a@b/mlflow.db", "a@b/mlflow.db: locked", "a@b/mlflow.db: locked"),
    ):
        assert without_secrets(message, uri) == kept
    assert shown("http://host/?a=b@c&password=x1y2") == "http://c"


def test_a_path_with_an_at_sign_is_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in (f"sqlite:///{tmp_path}/a@b.db", f"{tmp_path}/a@b", "./a@b", "https://user:x@host"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert tracking_uri(tmp_path) == uri


@pytest.mark.slow
def test_a_run_records_no_secret_of_its_environment(tmp_path: Path, packed: Path) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps(TINY | {"epochs": 1, "seed": 0}))
    secrets = {"MLFLOW_TRACKING_URI": "http://user:hunter2@127.0.0.1:9", "MLFLOW_TRACKING_PASSWORD": "hunter2",
               "AWS_SECRET_ACCESS_KEY": "hunter2"}  # fmt: skip
    environment = {**os.environ, **secrets, "PYTHONPATH": str(ROOT), "DVC_ROOT": str(tmp_path)}
    for words in (
        ("train", "params.yaml", "--seed", "0", "--out", "run", "--data", str(packed)),
        ("eval", "run", "results", "--data", str(packed)),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *words], cwd=tmp_path, env=environment, text=True, capture_output=True,
            check=True,
        )  # fmt: skip
        assert "hunter2" not in done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 7
    assert not [path for path in files if b"hunter2" in path.read_bytes()]
