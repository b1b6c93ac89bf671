"""Long work says how far it is: plain lines where nobody watches, a bar on a terminal; and what it will be, first."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.cost import outlook
from harness.progress import clock, progress
from harness.settings.load import load_study
from harness.settings.study import DEFAULT

ROOT = Path(__file__).parent.parent


def test_plain_lines_have_count_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: now[0])
    with progress(100, "train", "epochs", done=20) as advance:
        for _ in range(80):
            now[0] += 1.0
            advance(1, "loss 1.2")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train: 21 of 100 epochs, 1/s, 79 s left; loss 1.2"
    assert lines[-1] == "train: 100 of 100 epochs, 1/s in 80 s; loss 1.2"
    assert len(lines) == 9, "the first, one every ten seconds, the last"


def test_nothing_done_yet_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(3, "data", "images") as advance:
        advance(0, "")
        assert capsys.readouterr().out == ""
        advance(3, "")
    assert capsys.readouterr().out.startswith("data: 3 of 3 images, ")


def test_work_that_fails_does_not_claim_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="no space"), progress(3, "data", "images") as advance:  # noqa: PT012
        advance(1, "")
        raise OSError("no space")
    assert "3 of 3" not in capsys.readouterr().out


def test_a_terminal_gets_a_bar() -> None:
    main, side = pty.openpty()
    code = "from harness.progress import progress\nwith progress(3, 'data', 'images') as advance: advance(3, '')"
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=side, check=True, env=environment)
    os.close(side)
    assert done.returncode == 0
    shown = os.read(main, 100_000).decode()
    assert "3/3" in shown
    assert "images" in shown
    assert "\x1b[" in shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (89, "89 s"),
        (90, "2 min"),
        (5400, "1.5 h"),
        (345_600, "4 days"),
        (4e11, "12,675 years"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert clock(seconds) == words


def test_a_long_command_says_first_what_it_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_bad_input import project, variant

    project(tmp_path, variant(colour=0) | {"data": {"source": "fashion-mnist-8k"}})
    monkeypatch.chdir(tmp_path)
    lines = CliRunner().invoke(app, ["doctor", "-j", "2"]).stdout.splitlines()
    assert lines[0] == "tiny: 1 variant x 2 seeds = 2 runs, and the candidate; images: fashion-mnist-8k"
    assert lines[1].startswith("device ")
    assert "2 at once" in lines[1]
    assert lines[2].startswith("time: at least ")
    assert "for 3 runs, at " in lines[2]
    assert lines[-1] == "done: 0 of 3 runs"
    # Without a run to do nothing is measured.
    assert outlook(load_study(DEFAULT), 2, 0)[2] == "time: none, every run is done"


def test_a_folders_time_is_estimated_once_its_images_are_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pictures import tree
    from test_bad_input import project, variant

    root = tree(tmp_path / "images", ["a", "b"], 40)
    project(tmp_path, variant(colour=0.1) | {"data": {"source": "folder", "root": str(root), "size": 28}})
    monkeypatch.chdir(tmp_path)
    assert "time: known once the images are packed" in CliRunner().invoke(app, ["doctor"]).stdout
    assert CliRunner().invoke(app, ["data"]).exit_code == 0
    assert "time: at least " in CliRunner().invoke(app, ["doctor"]).stdout
