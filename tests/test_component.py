"""`harness check-component` finds what a component may not do, at its line, and nothing in what is here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clones import ROOT, environment

from harness.settings.schema import Settings

PLANTED = {
    # kind -> the line that may not be, the check that finds it, and the checks that notice it as well
    "torch": ("images = images + torch.rand(1)", "random numbers", {"same bits", "resumes"}),
    "numpy": ("images = images + float(np.random.rand())", "random numbers", {"same bits", "resumes"}),
    "python": ("images = images + random.random()", "random numbers", {"same bits", "resumes"}),
    "system": ("images = images + os.urandom(1)[0]", "random numbers", {"same bits", "resumes"}),
    "unseeded": ("images = images + np.random.default_rng().random(dtype=np.float32)", "random numbers",
                 {"same bits", "resumes"}),
    "own": ("images = images + torch.rand(1, generator=torch.Generator().manual_seed(0))", "random numbers", set()),
    "module": ("images = torch.nn.functional.dropout(images)", "random numbers", {"same bits", "resumes"}),
    "stream": ("images = images + torch.rand(1, generator=self.batches._stream('crops', self.state.epoch, step))",
               "streams", set()),
    "time": ("images = images + time.time() % 1", "time and process", {"same bits", "resumes"}),
    "process": ("images = images + os.getpid()", "time and process", {"same bits"}),
    "hash": ("images = images + hash('a') % 1000", "time and process", {"same bits"}),
    "test": ("images = images + self.packed.part('test').images.mean()", "test part", set()),
    "counted": ("self.count = getattr(self, 'count', 0) + 1; images = images + self.count", "resumes", set()),
    "raises": ("raise RuntimeError('planted')", "trains", set()),
}  # fmt: skip
WHERE = "    def _step(self, images: Tensor, labels: Tensor, step: int) -> None:\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository with the present package, to plant mistakes in."""
    root = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", ROOT, root], check=True)
    shutil.copytree(ROOT / "harness", root / "harness", dirs_exist_ok=True)
    return root


def plant(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text()
    assert text.count(old) == 1
    (root / file).write_text(text.replace(old, new))


def check(root: Path, *words: str) -> tuple[int, dict[str, dict[str, list[str]]], str]:
    """Exit status, what is wrong by value and check, and what was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", "check-component", *words], cwd=root,
        env=environment(root) | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: dict[str, dict[str, list[str]]] = {}
    for line in done.stdout.splitlines():
        if line[0] != " ":
            values = found.setdefault(line, {})
        elif line.startswith("  wrong"):
            name, _, words_ = line.removeprefix("  wrong").strip().partition(": ")
            values.setdefault(name, []).append(words_)
    return done.returncode, found, done.stdout + done.stderr


@pytest.mark.slow
def test_what_a_component_may_not_do_is_found_at_its_line(copy: Path) -> None:
    bodies = "".join(
        f"        if self.settings.planted == {kind!r}:\n            {line}  # {kind}\n"
        for kind, (line, *_) in PLANTED.items()
    )
    file = "harness/train/loop.py"
    plant(copy, file, WHERE, WHERE + bodies)
    plant(copy, file, "import math\n", "import math\nimport os\nimport random\n")
    kinds = ", ".join(map(repr, ["no", *PLANTED]))
    plant(
        copy,
        "harness/settings/schema.py",
        "    lrn: bool =",
        f'    planted: Literal[{kinds}] = _net("no", "P")\n    lrn: bool =',
    )
    plant(copy, "harness/settings/schema.py", '{"bits": "native"}', '{"bits": "native", "planted": "no"}')
    status, found, output = check(copy, "planted")
    assert status == 1, output
    assert found.pop("planted, not used") == {}, output
    lines = (copy / file).read_text().splitlines()
    for kind, (_, where, others) in PLANTED.items():
        wrong = found[f'planted="{kind}"']
        assert wrong.keys() == {where} | others, (kind, wrong)
        number = 1 + next(i for i, line in enumerate(lines) if line.endswith(f"  # {kind}"))
        if kind != "counted":  # no call is to blame for what a checkpoint lacks
            assert [line.partition(": ")[0] for line in wrong[where]] == [f"{file}:{number}"], (kind, wrong)


@pytest.mark.slow
def test_a_component_that_is_at_work_where_it_is_not_used_is_found(copy: Path) -> None:
    plant(copy, "harness/train/loop.py", WHERE, f"{WHERE}        images = images * 1.001\n")
    plant(copy, "harness/data/batches.py", "        return torch.randperm(self.images.count, generator=stream).numpy()",
          "        order = torch.randperm(self.images.count, generator=stream).numpy()\n"
          "        return order[::-1].copy() if self.settings.activation == 'tanh' else order")  # fmt: skip
    status, found, output = check(copy, "activation=tanh")
    assert status == 1, output
    assert re.fullmatch(r"other losses, from step 1 on than commit \w{12}", *found["activation, not used"]["default"])
    (words,) = found['activation="tanh"'].pop("streams")
    assert re.match(r"harness/data/batches.py:\d+: the batch order is not the baseline's", words)
    assert found['activation="tanh"'] == {}
    plant(
        copy, "harness/settings/schema.py", "    lrn: bool =", '    planted: bool = _net(False, "P")\n    lrn: bool ='
    )
    status, found, output = check(copy, "planted")
    assert status == 1, output
    assert "not in LATER" in found["planted, not used"]["default"][0]


def test_an_unknown_setting_is_refused_in_one_line() -> None:
    status, _, output = check(ROOT, "no_such")
    assert (status, len(output.splitlines())) == (2, 1), output
    status, _, output = check(ROOT, "lrn=7")
    assert (status, len(output.splitlines())) == (2, 1), output


NOT_TRIED = {"pretrained": "needs runs", "device": "names a device", "compile": "takes a compiler"}
SAMPLE = ["lrn", "crop", "vary"]


def passes(name: str) -> None:
    status, found, output = check(ROOT, name)
    assert status == 0, output
    assert len(found) >= 2
    assert not any(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_what_is_here_passes(name: str) -> None:
    passes(name)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - set(NOT_TRIED) - set(SAMPLE)))
def test_everything_that_is_here_passes(name: str) -> None:
    passes(name)
