"""Settings and variants as lists to read."""

from pydantic.fields import FieldInfo

from harness.grammar import product
from harness.settings.parse import allowed
from harness.settings.presets import PRESETS
from harness.settings.schema import DataSettings, Declared, Settings
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

    def found(name: str, field: FieldInfo) -> bool:
        return word.lower() in f"{name} {field.description}".lower()

    lines: list[str] = []
    group = ""
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)  # noqa: S101 - the schema declares every field so
        if not found(name, field):
            continue
        if extra["group"] != group:
            group = str(extra["group"])
            lines += ["", group.capitalize()]
        section = [f"section {extra['paper']}"] if extra["paper"] else []
        claims = extra["claims"] if isinstance(extra["claims"], list) else []
        source = ", ".join([*section, *map(str, claims)])
        lines.append(f"  {name} = {_show(field.default)}   ({allowed(Settings, name)})")
        lines.append(f"      {field.description}" + (f" [{source}]" if source else ""))
    keys = [
        f"  {name} = {_show(field.default)}   ({allowed(kind, name)})\n      {field.description}"
        if not field.is_required()
        else f"  {name}   (required)\n      {field.description}"
        for kind, name, field in _study_keys()
        if found(name, field)
    ]
    if word:
        return "\n".join([*lines, *(["", "A study", *keys] if keys else [])][1:])
    evaluations = [f"  {name}\n      {words}" for name, words in EVALUATIONS.items()]
    lines += ["", "Evaluation, on runs that are trained already (keys of a study)", *evaluations]
    lines += ["", "A study: `data`, then its other keys", *keys]
    return "\n".join([*lines[1:], "", f"Presets: {', '.join(PRESETS)} (see harness/settings/presets.py)"])


def _study_keys() -> list[tuple[type[Declared], str, FieldInfo]]:
    """What a study's file may say of its images, and beside them."""
    images: list[tuple[type[Declared], str, FieldInfo]] = [
        (DataSettings, name, field) for name, field in DataSettings.model_fields.items()
    ]
    return [*images, *((StudyFile, name, field) for name, field in StudyFile.model_fields.items() if name != "data")]


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
