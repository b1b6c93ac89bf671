"""The saved views of MLflow's interface, and the links to them."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

VIEWS = {"variants": "Variants", "runs": "Runs"}
"""Key in the file of views and in links -> the name that MLflow shows."""

STATES = Path(__file__).with_name("views.json")
"""The views' states as MLflow's interface saves them, with METRIC for the compared error; `all` is in each of them."""


def view_tags(metric: str) -> dict[str, str]:
    """Tags of an experiment that hold the views, as MLflow 3.17 reads them; another version ignores them.

    `variants` lists the means by their difference, with the single runs below each; `runs` charts the single runs.
    """
    states = json.loads(STATES.read_text(encoding="utf-8").replace("METRIC", metric))
    return {
        f"mlflow.sharedViewState.{key}": json.dumps(
            {"name": name, "createdAt": 0, "state": json.dumps(states["all"] | states[key])}
        )
        for key, name in VIEWS.items()
    }


def links(base: str, experiment: str, execution: str, report: str) -> dict[str, str]:
    """Addresses on the server at `base`: the variants as a table and as charts, the single runs, and the report."""
    kind = "workflowType=machine_learning"  # a new browser would open the other half of the interface
    runs = f"{base}/#/experiments/{experiment}/runs"
    return {
        "variants": f"{runs}?viewStateShareKey=variants&{kind}",
        "chart": f"{runs}?viewStateShareKey=variants&compareRunsMode=CHART&{kind}",
        "runs": f"{runs}?viewStateShareKey=runs&compareRunsMode=CHART&{kind}",
        "report": f"{runs}/{execution}/artifacts/report/{quote(report)}?{kind}",
    }
