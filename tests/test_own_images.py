"""Images that a user's Python file gives are packed as the others are; the page's example is followed."""

import re
from pathlib import Path

import numpy as np
import pytest
from clones import ROOT
from conftest import study_file

from harness.data import watch
from harness.data.pack import pack
from harness.data.packed import Packed
from harness.data.store import pack_study
from harness.errors import UserError
from harness.files import read_json
from harness.pipeline.checked import write_checked
from harness.settings.load import load_study
from harness.settings.schema import DataSettings

FILE = "experiments/mine/images.py"
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/images.md").read_text(), re.DOTALL)
HEAD = "import numpy as np\nfrom PIL import Image\n\n\ndef images():\n"
COUNTS = {"train": 40, "test": 20}


@pytest.fixture(autouse=True)
def arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The .npz of the example, and its file, in the working folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}
    for part, count in COUNTS.items():
        made[f"{part}_images"] = rng.integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)
        made[f"{part}_labels"] = np.arange(count) % 4
    Path("images").mkdir()
    np.savez("images/mine.npz", **made)  # type: ignore[arg-type]
    Path(FILE).parent.mkdir(parents=True)
    Path(FILE).write_text(EXAMPLE)
    return made


def settings(**keys: object) -> DataSettings:
    return DataSettings(**({"source": "python", "root": FILE, "size": 24} | keys))  # type: ignore[arg-type]


def test_the_pages_example_is_packed_as_it_is(arrays: dict[str, np.ndarray]) -> None:
    manifest = pack(settings(validation=0.25), Path("packed"))
    packed = Packed.open(Path("packed"))
    assert manifest.counts == {"train": 30, "validation": 10, "test": 20}
    assert manifest.class_names == [f"class {label}" for label in range(4)]
    test = packed.part("test")
    assert np.array_equal(test.images, arrays["test_images"])
    assert np.array_equal(test.labels, arrays["test_labels"])
    both = {image.tobytes() for part in ("train", "validation") for image in packed.part(part).images}
    assert both == {image.tobytes() for image in arrays["train_images"]}
    assert pack(settings(validation=0.25), Path("again")).hash == manifest.hash


def test_grey_arrays_and_pictures_are_taken_and_repeated_ones_noted() -> None:
    grey = "    for i in range(40):\n        yield 'train', f'{i % 2}', np.full((30, 20), i // 4, np.uint8)\n"
    Path(FILE).write_text(HEAD + grey)
    made = pack(settings(), Path("grey"))
    assert (made.channels, sum(made.counts.values())) == (1, 40)
    assert made.notes["two_classes"]
    Path(FILE).write_text(HEAD + grey + "    yield 'train', '1', Image.new('RGB', (9, 9), (1, 2, 3))\n")
    assert pack(settings(), Path("colour")).channels == 3


def test_a_changed_file_makes_the_data_stage_stale() -> None:
    study = load_study(study_file(Path("experiments/tiny"), data={"source": "python", "root": FILE, "size": 32}))
    pack_study(study, Path("."))
    write_checked(study, None, Path("."))
    before = read_json(study.checked)
    assert not watch.changed(study, Path("."))
    Path(FILE).write_text(EXAMPLE + "\n# changed\n")
    assert watch.changed(study, Path("."))
    write_checked(study, None, Path("."))
    after = read_json(study.checked)
    assert {key for key in before if before[key] != after[key]} == {"data"}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (HEAD + "    yield 'train', 'a'\n", f"{FILE}:5: images gives, as item 0, "),
        (HEAD + "    yield 'training', 'a', np.zeros((9, 9), np.uint8)\n", f"{FILE}:5: images gives, as item 0, "),
        (
            HEAD + "    yield 'train', 'a', np.zeros((9, 9))\n",
            f"{FILE}:5: images gives, as item 0, an im",
        ),
        (
            HEAD + "    yield 'train', 'a', np.zeros((9, 9, 4), np.uint8)\n",
            f"{FILE}:5: images gives, as item 0, an im",
        ),
        (
            HEAD + "    yield 'train', 'a', np.zeros((9, 9), np.uint8)\n",
            f"{FILE}:5: images gives no image",
        ),
        (HEAD + "    x = 1\n    yield 1 / 0\n", f"{FILE}:7: ZeroDivisionError"),
        (HEAD + "    return 7\n", f"{FILE}:5: TypeError"),
    ],
)
def test_a_function_that_gives_no_images_is_one_line(code: str, words: str) -> None:
    Path(FILE).write_text(code)
    with pytest.raises(UserError) as error:
        pack(settings(), Path("packed"))
    assert str(error.value).startswith(words)
    assert not Path("packed").exists()
