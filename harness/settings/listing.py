"""Settings and variants as lists to read."""

from typing import Any

from harness.grammar import product
from harness.settings.parse import allowed
from harness.settings.presets import PRESETS
from harness.settings.schema import DataSettings, Settings
from harness.settings.study import Study, StudyFile

EVALUATIONS = {
    "metric: test_top1": "the centre crop [section 6, C02]",
    "metric: test_top1_10crop": "mean of the softmax outputs of ten crops [section 4.1, C02]",
    "metric: test_top1_mc_geometric": "geometric mean over 32 dropout masks, not scaled outputs [section 4.2, C21]",
    "metric: test_top1_mc_arithmetic": "their arithmetic mean [section 4.2, C21]",
    "metric: test_top5": "the centre crop: the label is none of the five most probable classes [section 2, C02]",
    "metric: test_top5_10crop": "the same of the mean of ten crops [section 4.1, C02]",
    "metric: validation_top1": "the validation part, by which choices are made [C07, C10]",
    "metric: train_top1": "the training images in evaluation mode [section 5, C22]",
    "ensembles: [VARIANT, VARIANT+VARIANT]": "mean of the nets of all seeds, alike or tuned on validation [C04, C06]",
}
"""What may differ in evaluation alone: nothing is trained for it."""


def list_settings(word: str = "") -> str:
    """Every setting, or those in whose name or help a word is: default, allowed values, help, section and claims."""
    groups: dict[str, list[str]] = {}
    for model in (Settings, DataSettings, StudyFile):
        for name, field in model.model_fields.items():
            if word.lower() not in f"{name} {field.description}".lower() or (model, name) == (StudyFile, "data"):
                continue
            extra: dict[str, Any] = field.json_schema_extra or {}  # type: ignore[assignment]
            source = ", ".join(
                [*([f"section {extra['paper']}"] if extra.get("paper") else []), *extra.get("claims", [])]
            )
            value = "   (required)" if field.is_required() else f" = {_show(field.default)}   ({allowed(model, name)})"
            lines = groups.setdefault(extra.get("group", "A study: `data`, then its other keys"), [])
            lines += [f"  {name}{value}", f"      {field.description}" + (f" [{source}]" if source else "")]
    if not word:
        study = groups.popitem()
        groups["Evaluation, on runs that are trained already (keys of a study)"] = [
            f"  {name}\n      {words}" for name, words in EVALUATIONS.items()
        ]
        groups |= [study, (f"Presets: {', '.join(PRESETS)} (see harness/settings/presets.py)", [])]
    return "\n\n".join("\n".join([head[0].upper() + head[1:], *lines]) for head, lines in groups.items())


def list_variants(study: Study) -> str:
    """A study's variants, each with what differs from the baseline."""
    width = max(map(len, study.variants))
    lines = [f"{study.name}: {product(len(study.variants), len(study.seeds), 'run')}"]
    for name in study.variants:
        changed = ", ".join(f"{k}: {_show(a)} -> {_show(b)}" for k, (a, b) in study.differences(name).items())
        lines.append(f"  {name:<{width}}  {'the baseline' if name == study.baseline else changed or 'nothing differs'}")
    return "\n".join(lines)


def _show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_show, value)) + "]"
    return "nothing" if value is None else str(value)
