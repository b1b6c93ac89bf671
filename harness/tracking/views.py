"""The comparison that MLflow's interface opens on: a saved view, and the links to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from mlflow import MlflowClient

VIEW = "comparison"
CURVES = ("validation/top1", "train/loss")


def save_view(mlflow: MlflowClient, experiment: str, metric: str) -> None:
    """Save the view: mean error a variant as bars, curves over the epochs, runs grouped by variant.

    It is a tag of the experiment (MLflow 3.17); a version that does not know it ignores it.
    """
    fixed = {"deleted": False, "isGenerated": False}
    line: dict[str, Any] = fixed | {
        "type": "LINE", "metricSectionId": "s", "xAxisKey": "step", "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True, "lineSmoothness": 0, "xAxisScaleType": "linear", "scaleType": "linear",
    }  # fmt: skip
    state = {
        "searchFilter": "tags.role = 'train' and tags.current = 'true'",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "groupsExpanded": {},
        "selectedColumns": ["params.`variant`", "params.`seed`", f"metrics.`{metric}`"],
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": "variant"}]},
        "compareRunSections": [{"uuid": "s", "name": "Ablation", "display": True, "isReordered": True} | fixed],
        "compareRunCharts": [
            {"type": "BAR", "uuid": "b", "metricKey": metric, "metricSectionId": "s"} | fixed,
            *(line | {"uuid": f"l{i}", "metricKey": key, "selectedMetricKeys": [key]} for i, key in enumerate(CURVES)),
        ],
    }
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
