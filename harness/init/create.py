"""`harness init`: a study in a new repository, with git, DVC, the stages, a README and continuous integration."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness import __version__
from harness.commits import NO_HOOKS, git
from harness.errors import UserError
from harness.files import atomic_folder, write_text
from harness.settings.load import RESERVED, load_study
from harness.settings.study import DEFAULT, NAME
from harness.shipped import shipped

AS_HERE = (".dvc/config", ".dvc/plots/page.html", ".dvc/plots/study.json", ".dvcignore", ".gitattributes", ".gitignore")
"""Files that every repository has as the harness's own."""

STAGES = ("dvc.yaml", "experiments/pipeline.yaml")

MANY = 2000
"""Training images of a study that takes minutes: of a folder that has far more, no more are used."""

TEMPLATES = Path(__file__).parent / "templates"
FILES = {
    "study.yaml": DEFAULT.as_posix(), "params.yaml": "params.yaml", "README.md": "README.md",
    "study.yml": ".github/workflows/study.yml",
}  # fmt: skip
"""Template -> the file that it becomes."""

ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
"""Variables of a hook or an alias that would lead git to another repository."""

STRICT = ("-c", "user.useConfigOnly=true")
"""A name and an address that git makes up of the machine's are none."""


def create(folder: Path, images: Path | None, name: str | None) -> list[str]:
    """Make the repository in a new or empty folder, whole or not at all; returns lines on it and on what to do next.

    `images`: a folder of classes; without it the embedded images. `name`: of the study, by default the folder's.
    Raises `UserError`: nothing is then written.
    """
    name = _check(folder, name)
    many = MANY if images and _count(images) > 2 * MANY else None
    where = json.dumps(images.absolute().as_posix()) if images else None
    values = {"name": name, "images": where, "many": many, "version": __version__}
    with _made(folder) as place:
        _call(place, "git", "init", "-q")
        _call(place, sys.executable, "-m", "dvc", "init", "-q")
        for file in AS_HERE:
            (place / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(shipped(file), place / file)
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True,
            variable_start_string="<<<", variable_end_string=">>>", autoescape=False,  # noqa: S701 - YAML and Markdown
        )  # fmt: skip
        for template, file in FILES.items():
            write_text(place / file, environment.get_template(template).render(values))
        for file in STAGES:
            write_text(place / file, stages(file))
        load_study(place / DEFAULT)
        _call(place, "git", "add", "-A")
        known = not any(
            _run(place, "git", *STRICT, "var", f"GIT_{who}_IDENT").returncode for who in ("AUTHOR", "COMMITTER")
        )
        if known:
            _call(place, "git", *NO_HOOKS, "commit", "-q", "-m", f"Study {name}, by alexnet-harness {__version__}")
    hint = "; nothing is committed, since git knows no user: git config --global user.name and user.email"
    source = f"the images in {where}" if images else "the embedded images"
    return [
        f"init: {folder}: the study {name}, with {source}{'' if known else hint}",
        "next:",
        f"  cd {shlex.quote(folder.absolute().as_posix())}",
        *([] if known else ["  git commit -m 'A new study'"]),
        "  harness plan              # its runs, and what they cost",
        "  harness run -j 2          # or: dvc repro",
        "  harness ui                # the results in MLflow",
    ]


def stages(file: str) -> str:
    """Stages as in the harness's own repository, for one that holds no code: `check` looks each time at the package.

    The other stages depend on what it writes: the identity of the code that each one reaches.
    """
    text, count = re.subn(
        r"    deps: \[harness, (.*), experiments/claims\.yaml\]\n",
        r"    deps: [\1]\n    always_changed: true  # it looks which code is installed, which no file here tells\n",
        shipped(file).read_text(encoding="utf-8"),
    )
    assert count == 1, file  # noqa: S101 - a test holds the files to it
    return text


def _check(folder: Path, name: str | None) -> str:
    """The study's name. Raises `UserError` for a place where no repository can be made."""
    if not shutil.which("git"):
        raise UserError("init: git is not installed, and records name the commit that they were made at")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        kind = "is not empty" if folder.is_dir() else "is a file"
        raise UserError(f"init: {folder}: {kind}; allowed: a new or an empty folder")
    above = next(place for place in folder.absolute().parents if place.is_dir())
    if (outer := git(folder if folder.is_dir() else above, "rev-parse", "--show-toplevel")) is not None:
        raise UserError(f"init: {folder}: lies in the git repository {outer.strip()}; allowed: a folder outside of one")
    chosen = name or re.sub(r"[^a-z0-9_-]+", "-", folder.absolute().name.lower()).strip("-_")[:63] or "study"
    if not NAME.fullmatch(chosen) or chosen in RESERVED:
        raise UserError(
            f"init: --name: got {chosen!r}; allowed: small letters, digits, - and _, at most 63, and not "
            f"{' or '.join(RESERVED)}"
        )
    return chosen


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """Where to make what `folder` is to hold: it is there whole, or not at all. An empty folder keeps its place."""
    if not folder.exists():
        with atomic_folder(folder, replace=False) as place:
            yield place
        return
    with tempfile.TemporaryDirectory(prefix=".init-", dir=folder) as temporary:
        yield Path(temporary)
        for path in Path(temporary).iterdir():
            path.rename(folder / path.name)


def _count(folder: Path) -> int:
    """How many images a folder has to train on. Raises `UserError` for one that is no data set."""
    from harness.data.folders import find

    return len(find(folder, needs_parts=False).parts["train"][0])


def _run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ELSEWHERE}
    return subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False)


def _call(place: Path, *words: str) -> None:
    """Run a command in the new repository; raises `UserError` with its last line when it fails."""
    done = _run(place, *words)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise UserError(f"init: {' '.join(words[-3:])}: {last}")
