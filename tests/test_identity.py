"""Words do not change what the code computes, changed code is unknown until it is proven, and a proof finds changes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import commit, git

from harness.errors import UserError
from harness.identity import known
from harness.identity.code import PROVEN, ROOT, SCOPES, closure, digest
from harness.identity.known import FILE, Known, Proof, identity, read_known, write_known
from tests.probes.compare import Difference, difference
from tests.probes.table import REFUSED, SCOPE_OF, probes

PYTHONS = sorted(Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python"))

SMALL = {
    "harness/__init__.py": '"""The package."""\n',
    "harness/data/__init__.py": "",
    "harness/data/pack.py": '''"""Packs."""
from typing import TYPE_CHECKING

from harness.data import parts
from . import near

if TYPE_CHECKING:
    from harness.data import typed


def pack(n: int = 3) -> int:
    """Pack."""
    import harness.late

    total = n + parts.ONE  # all of them
    return f"{total:>{n}} of {n!r}"
''',
    "harness/data/parts.py": "ONE = 1\n",
    "harness/data/near.py": "from harness.identity import known\n",
    "harness/data/typed.py": "",
    "harness/data/other.py": "",
    "harness/data/table.json": "{}",
    "harness/late.py": "import harness.deep.below\n",
    "harness/deep/__init__.py": "from harness.deep.told import *\n",
    "harness/deep/told.py": "",
    "harness/deep/below.py": "",
    "harness/deep/words/text.txt": "text",
    "harness/identity/__init__.py": "",
    "harness/identity/known.py": "import harness.data.other\n",
    "harness/notes.txt": "not of a subpackage",
}
"""A package with every form of import."""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def changed(folder: Path, file: str, old: str, new: str) -> str:
    """The digest of packing after a change of one file of the small package."""
    folder.mkdir()
    root = write(folder, SMALL | {file: SMALL[file].replace(old, new)})
    return digest("data", root)


def test_the_closure_is_what_imports_reach(tmp_path: Path) -> None:
    code = closure("harness.data.pack", write(tmp_path, SMALL))
    assert list(code) == [
        "harness", "harness.data", "harness.data.near", "harness.data.pack", "harness.data.parts", "harness.deep",
        "harness.deep.below", "harness.deep.told", "harness.late", "harness/data/table.json",
        "harness/deep/words/text.txt",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Packs."""', '"""Packs images.\n\nAll of them."""'),
        ('    """Pack."""\n', ""),
        ("n + parts.ONE", "(n\n        + parts.ONE)"),
        ('f"{total:>{n}} of {n!r}"', "f'{total:>{n}}' ' of ' f'{n!r}'"),
        ("= 3", "= 0x3"),
        ("import harness.late\n", "import harness.late\n    'said of it'\n"),
    ],
)
def test_words_and_formatting_do_not_change_a_digest(tmp_path: Path, old: str, new: str) -> None:
    assert changed(tmp_path / "as-it-was", "harness/data/pack.py", old, old) == changed(
        tmp_path / "changed", "harness/data/pack.py", old, new
    )


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("harness/data/pack.py", "total", "sum_of_all"),
        ("harness/data/pack.py", "= 3", "= 3.0"),
        ("harness/data/pack.py", "from typing", "import math\nfrom typing"),
        ("harness/data/pack.py", "import harness.late", "import harness.data.typed"),
        ("harness/data/pack.py", "n!r", "n!s"),
        ("harness/data/parts.py", "1", "True"),
        ("harness/data/parts.py", "1", "1\n\n\ndef helper():\n    return ONE"),
        ("harness/deep/below.py", "", "X = None"),
        ("harness/data/table.json", "{}", "[]"),
        ("harness/deep/words/text.txt", "text", "words"),
    ],
)
def test_code_and_its_data_change_a_digest(tmp_path: Path, file: str, old: str, new: str) -> None:
    assert changed(tmp_path / "as-it-was", file, old, old) != changed(tmp_path / "changed", file, old, new)


def test_a_renamed_file_changes_a_digest_and_one_that_is_not_reached_does_not(tmp_path: Path) -> None:
    before = digest("data", write(tmp_path / "a", SMALL))
    other = SMALL | {"harness/data/other.py": "X = 1", "harness/identity/known.py": "", "harness/notes.txt": ""}
    assert digest("data", write(tmp_path / "b", other)) == before
    renamed = {name.replace("parts.py", "pieces.py"): text.replace("parts", "pieces") for name, text in SMALL.items()}
    assert digest("data", write(tmp_path / "c", renamed)) != before


def test_invalid_code_is_one_line_with_its_place(tmp_path: Path) -> None:
    root = write(tmp_path, SMALL | {"harness/data/parts.py": "ONE = 1\nTWO = = 2\n"})
    with pytest.raises(UserError, match=r"parts\.py:2: not valid Python"):
        digest("data", root)
    with pytest.raises(UserError, match="has no module harness"):
        digest("train", root)


@pytest.mark.skipif(not PYTHONS, reason="no other Python is here")
def test_a_digest_is_the_same_for_other_versions_of_python() -> None:
    program = "import json, harness.identity.code as c; print(json.dumps({s: c.digest(s) for s in c.SCOPES}))"
    for python in PYTHONS:
        done = subprocess.run(
            [python, "-B", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True,
            env={"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert json.loads(done.stdout) == {scope: digest(scope) for scope in SCOPES}, python


def test_the_committed_code_is_known() -> None:
    new = known.unknown()
    assert not new, f"{', '.join(new)}: run harness numerics prove (or bump), and commit {FILE}"


def test_the_training_code_of_the_committed_runs_is_the_first_identity() -> None:
    first = next(iter(read_known().train))
    assert first == "b32b0be919cc1da70a65cd72725314fcc5f208e352d20f6f07895717ec430611"


def test_unknown_code_is_a_new_identity_and_a_proof_makes_it_the_old_one(tmp_path: Path) -> None:
    root = write(tmp_path, SMALL)
    write_known(Known(data={}, train={}, eval={}).entered("data", "0" * 64, Proof(digest="1" * 64)), root)
    assert identity("data", root) == digest("data", root)
    entered = read_known(root).entered("data", "0" * 64, Proof(digest=digest("data", root), probes=3, against="1" * 64))
    write_known(entered, root)
    known.identity.cache_clear()
    assert identity("data", root) == "0" * 64
    assert read_known(root) == entered
    with pytest.raises(UserError, match="is known already"):
        entered.entered("data", "2" * 64, Proof(digest="1" * 64))


ONE = {"digest": "1" * 64}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('{"data": {}, "train": {}}', "eval: missing"),
        ('{"data": {}, "train": {}, "eval": {}, "report": {}}', "unknown setting 'report'"),
        ('{"data": {"0": [{"digest": "12"}]}, "train": {}, "eval": {}}', "data: got '12'"),
        (json.dumps({"data": {"0": [ONE], "1": [ONE]}, "train": {}, "eval": {}}), "is there twice"),
    ],
)
def test_a_broken_list_of_what_is_known_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_known(write(tmp_path, {FILE: content}))
    assert "\n" not in str(caught.value)


def test_the_table_has_probes_of_every_scope_with_names_that_are_files() -> None:
    names = [probe.name for probe in probes()]
    assert len(set(names)) == len(names)
    assert {probe.scope for probe in probes()} == set(PROVEN) == set(SCOPE_OF.values())
    assert set(names) >= REFUSED
    assert all("/" not in name and name.startswith(PROVEN) and name[0] not in "._" for name in names)


def test_a_difference_names_the_first_step_and_a_setting_that_is_new_is_not_compared() -> None:
    old = {"steps": 2, "losses": "00000000111111112222222233333333", "history": [{"lr": "0.1"}] * 2}
    new = {**old, "losses": "00000000111111112222222a33333333"}

    def differs(old: dict[str, Any], new: dict[str, Any], *settings: str) -> Difference:
        first = difference("p", old, new, frozenset(settings))
        assert first is not None
        return first

    assert (differs(old, new).epoch, differs(old, new).step) == (2, 1)
    assert "epoch 2, step 1" in differs(old, new).line()
    assert differs(old, {**old, "history": [{"lr": "0.1"}, {"lr": "0.2"}]}).row == 2
    assert difference("p", old, dict(old), frozenset()) is None
    refused = {"raised": "ValueError", "message": "no"}
    assert "now ValueError (no)" in differs(old, refused).line()
    assert difference("p", refused, {**refused, "message": "no, thank you"}, frozenset()) is None
    lacks = {"unknown_settings": ["thing"]}
    assert difference("p", lacks, new, frozenset({"thing"})) is None
    assert differs(lacks, new).line() == "p: unknown settings: before thing, now nothing"


# ---- the real command, in a small repository


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with this package and its probes alone, whose code is known there."""
    root = tmp_path_factory.mktemp("repository")
    for folder in ("harness", "tests/probes"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.tmp"))
    write_known(Known(**{scope: {digest(scope): [Proof(digest=digest(scope))]} for scope in PROVEN}), root)
    git("init", "-q", root=root)
    commit(root)
    return root


COMMAND = (sys.executable, "-m", "harness", "numerics")


def environment(root: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC_"))}
    return kept | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}


def numerics(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=root, env=environment(root), capture_output=True, text=True, check=False
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.slow
def test_a_refactoring_is_proven_and_a_change_of_numbers_is_found(repository: Path) -> None:
    root = repository
    lrn = root / "harness/net/lrn.py"
    clean = numerics(root, "prove")
    assert (clean.returncode, clean.stdout) == (0, "numerics: the present code is known; nothing to prove\n")
    assert "unknown" not in numerics(root, "status").stdout

    # A comment is nothing; then a local variable has another name, a helper moves into a file of its own, and there is
    # an activation of one's own, as the README has it.
    edit(lrn, "import torch\n", "import torch  # as ever\n")
    assert "nothing to prove" in numerics(root, "prove").stdout
    edit(lrn, "spread", "spread_gradient")
    code, name, helper = lrn.read_text().partition("def _sum_along(")
    imports = "from harness.net.layout import Norm\n"
    lrn.write_text(code.replace(imports, imports + "from harness.net.window import _sum_along\n").rstrip() + "\n")
    (root / "harness/net/window.py").write_text(f"from torch import Tensor\n\n\n{name}{helper}")
    edit(root / "harness/settings/schema.py", '"relu", "tanh", "logistic"]', '"relu", "tanh", "logistic", "gelu"]')
    tanh = '        case Activation("tanh"):\n'
    gelu = '        case Activation("gelu"):\n            return torch.nn.functional.gelu(x)\n'
    edit(root / "harness/net/alexnet.py", tanh, gelu + tanh)
    assert numerics(root, "status").stdout.count("unknown; run: harness numerics prove") == 3
    chosen = ("train-factor-spatial_norm-True", "train-fixed-at-the-start", "eval-few-classes", "data-synthetic")
    only = [word for name in chosen for word in ("--only", name)]
    proven = numerics(root, "prove", *only)
    assert proven.returncode == 0, proven.stdout + proven.stderr
    assert "train: 2 probes bitwise identical" in proven.stdout
    before = {scope: digest(scope) for scope in PROVEN}
    entries = json.loads((root / FILE).read_text())["train"][before["train"]]
    assert [entry["probes"] for entry in entries] == [0, 2]
    assert entries[1]["against"] == before["train"]
    assert entries[1]["commit"] == git("rev-parse", "HEAD", root=root).strip()
    assert entries[1]["machine"]["torch"]
    assert numerics(root, "bump", "train").returncode == 2
    program = "from harness.identity.known import identity; print(*map(identity, ('data', 'train', 'eval')))"
    asked = [sys.executable, "-c", program]
    names = subprocess.run(asked, cwd=root, env=environment(root), capture_output=True, text=True, check=True).stdout
    assert names.split() == list(before.values()), "what is on record stays as it is"

    # The first of two drops comes an epoch too late.
    commit(root)
    edit(root / "harness/train/recipe.py", "drop - 1e-9", "drop + 0.1")
    differs = numerics(root, "prove", *only[2:6])
    assert differs.returncode == 1, differs.stdout + differs.stderr
    assert "train-fixed-at-the-start" in differs.stdout
    assert "the losses from epoch 1, step 2 on" in differs.stdout
    assert "nothing was entered" in differs.stdout
    assert git("status", "--short", root=root).split() == ["M", "harness/train/recipe.py"]
    assert len(git("worktree", "list", root=root).splitlines()) == 1
    bumped = numerics(root, "bump", "train")
    assert bumped.returncode == 0
    assert "0 committed runs of identity" in bumped.stdout


@pytest.mark.slow
def test_a_stopped_proof_leaves_no_working_tree(repository: Path) -> None:
    root = repository
    git("checkout", "-q", "-f", "HEAD", root=root)
    edit(root / "harness/net/lrn.py", "_negative_power", "_power_of")
    process = subprocess.Popen(
        [*COMMAND, "prove"], cwd=root, env=environment(root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    seen = ""
    while "of" not in seen or "probes, " not in seen:  # until both sides have begun
        line = process.stdout.readline()
        assert line, seen
        seen += line
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130, rest
    assert len(git("worktree", "list", root=root).splitlines()) == 1
    assert git("status", "--short", root=root).split() == ["M", "harness/net/lrn.py"]
