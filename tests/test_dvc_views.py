"""What DVC's own commands show: headline metrics alone, and plots without a network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from browser import browser_page

from harness.pipeline.named_run import HEADLINE

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


def test_the_metrics_are_the_candidates_headline() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "metrics", "show", "--json"], cwd=ROOT, check=True, capture_output=True
    )
    ((path, values),) = json.loads(shown.stdout)[""]["data"].items()
    recorded = json.loads((ROOT / path).with_name("eval").joinpath("metrics.json").read_text())
    assert values["data"] == {name: recorded[name] for name in HEADLINE}


def test_the_plots_are_drawn_without_a_network(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "plots", "show", "-o", str(tmp_path)], cwd=ROOT, check=True)
    with browser_page("--host-resolver-rules=MAP * ~NOTFOUND") as page:
        page.goto((tmp_path / "index.html").as_uri())
        page.wait_for_selector(".vega-embed canvas")
        colours = page.evaluate(
            """[...document.querySelectorAll(".vega-embed canvas")].map(canvas => {
                const pixels = new Uint32Array(
                    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
                return new Set(pixels).size;
            })"""
        )
    assert len(colours) == 2, "a plot of the validation error and one of the training loss"
    assert min(colours) > 100, "lines of several colours, not an empty frame"
