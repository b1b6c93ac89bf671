"""The comparison that MLflow's interface opens on: a saved view, and the links to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from mlflow import MlflowClient

VIEW = "comparison"
STATE = Path(__file__).with_name("comparison.json")
"""The view's state as MLflow's interface saves it, with METRIC for the compared error."""


def save_view(mlflow: MlflowClient, experiment: str, metric: str) -> None:
    """Save the view: mean error a variant as bars, curves over the epochs, runs grouped by variant.

    It is a tag of the experiment (MLflow 3.17); a version that does not know it ignores it.
    """
    state = json.loads(STATE.read_text(encoding="utf-8").replace("METRIC", metric))
    content = json.dumps({"name": "Comparison", "createdAt": 0, "state": json.dumps(state)})
    tag = f"mlflow.sharedViewState.{VIEW}"
    if mlflow.get_experiment(experiment).tags.get(tag) != content:
        mlflow.set_experiment_tag(experiment, tag, content)


def links(base: str, experiment: str, execution: str, report: str) -> dict[str, str]:
    """Addresses of the comparison as charts and as a table, and of the report, on the server at `base`."""
    kind = "workflowType=machine_learning"  # a new browser would open the other half of the interface
    runs = f"{base}/#/experiments/{experiment}/runs"
    return {
        "comparison": f"{runs}?viewStateShareKey={VIEW}&compareRunsMode=CHART&{kind}",
        "table": f"{runs}?viewStateShareKey={VIEW}&{kind}",
        "report": f"{runs}/{execution}/artifacts/report/{quote(report)}?{kind}",
    }
