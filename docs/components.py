"""A page per component, from the settings' schema, the reports' tables and the paper's claims."""

import csv
import re
from pathlib import Path
from typing import Any

from harness.claims.claim import load_claims
from harness.settings.parse import allowed
from harness.settings.schema import Settings

ROOT = Path(__file__).parent.parent

COMPONENTS: dict[str, tuple[str, str, str]] = {
    "relu": (
        "ReLU",
        "activation",
        "What follows every layer but the last: max(0, x) in the paper. Tanh needs other rates and initial "
        "weights to learn at all, so a variant with tanh changes several settings and is no verdict on ReLU "
        "alone.",
    ),
    "two-columns": (
        "Two columns",
        "gpus columns conv5",
        "The net was cut into two columns, one per GPU of 2012. Each column's conv2, conv4 and conv5 see their "
        "own half only; conv3 and the fully connected layers see both. The one-GPU net has half as many kernels "
        "in conv1 to conv4.",
    ),
    "lrn": (
        "Local response normalisation",
        "lrn lrn_layers lrn_size lrn_alpha lrn_beta lrn_k lrn_alpha_form lrn_span order1 order2 spatial_norm",
        "Each activity is divided by a power of the summed squares of its neighbours over kernels, after conv1 "
        "and conv2.",
    ),
    "overlapping-pooling": (
        "Overlapping pooling",
        "overlap_pool pool_geometry",
        "Max pooling over 3 x 3 places at a stride of 2, so that neighbouring windows share a row or a column.",
    ),
    "dropout": (
        "Dropout",
        "dropout dropout_form dropout_place",
        "In training, each unit of fc6 and fc7 is set to zero with this probability. The paper halves the outputs "
        "at test time; most later code scales in training instead, which is not the same optimiser.",
    ),
    "augmentation": (
        "Crops and reflections",
        "augment crops flips crop_positions crop_chunk",
        "Each training image is cut at a random place and mirrored at random, anew in every epoch.",
    ),
    "colour-noise": (
        "Colour noise",
        "colour colour_scale colour_divide colour_until",
        "Noise along the principal components of the training images' colours is added to each image. Grey images "
        "have none.",
    ),
    "depth": (
        "Depth and width",
        "depth width fc_width",
        "Five convolutional and three fully connected layers. A layer can be left out, or a sixth convolution added.",
    ),
    "initial-weights": (
        "Initial weights and biases",
        "init init_std init_std_mid init_std_fc init_std_out bias_init",
        "Normal weights of a small standard deviation; biases of 1 where a ReLU should start with positive "
        "inputs. The text says 0.01 for all layers, the authors' run had 0.03 in conv3 to conv5 (A6).",
    ),
    "weight-decay": (
        "Weight decay",
        "weight_decay decay_bias conv_decay output_decay",
        "Each update shrinks the weights by the rate times 0.0005.",
    ),
    "learning-rate": (
        "Learning rate and momentum",
        "epochs lr momentum momentum_form bias_lr bias_schedule schedule drops drop_factor patience max_drops "
        "conv1_slow conv1_freeze",
        "Stochastic gradient descent with momentum 0.9, a rate of 0.01 and three drops by ten.",
    ),
    "input": (
        "Input",
        "geometry crop conv1_pad input_scale mean reshuffle batch classes",
        "Pixels of 0 to 255 less the mean image, cut to the size that the net sees.",
    ),
    "pretraining": (
        "Training on more images first",
        "pretrained",
        "A run starts from the weights of a run of another study, where the sizes fit.",
    ),
}
"""File name -> title, settings, and what it is. A setting that is named nowhere here stands on the page "other"."""

VERDICTS = {"helps", "hurts", "equivalent", "inconclusive"}


def components() -> dict[str, tuple[str, list[str], str]]:
    """File name -> title, settings, what it is; the last holds the settings that no other names."""
    named = {slug: (title, settings.split(), words) for slug, (title, settings, words) in COMPONENTS.items()}
    used = {name for _, settings, _ in named.values() for name in settings}
    rest = [name for name in Settings.model_fields if name not in used]
    return named | {"other": ("Other settings", rest, "Which net, what follows the seed, and how a run is computed.")}


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown: one page per component, and a list of them."""
    found = {f"components/{slug}.md": _page(*values) for slug, values in components().items()}
    rows = [f"| [{title}]({slug}.md) | {words} |" for slug, (title, _, words) in components().items()]
    head = [
        "# Components",
        "",
        "Each page is made from settings, reports and claims when the site is built.",
    ]
    return {"components/index.md": "\n".join([*head, "", "| component | what it is |", "|:--|:--|", *rows, ""])} | found


def _page(title: str, settings: list[str], words: str) -> str:
    fields = {name: Settings.model_fields[name] for name in settings}
    extras: dict[str, Any] = {name: field.json_schema_extra for name, field in fields.items()}
    sections = sorted({extra["paper"] for extra in extras.values() if extra["paper"]})
    lines = [f"# {title}", "", f"{words} {_where(sections)}".strip(), ""]
    claims = sorted({claim for extra in extras.values() for claim in extra["claims"]}, key=lambda c: (c[0] != "C", c))
    lines += ["## What the paper says", "", *_claims(claims), ""] if claims else []
    lines += ["## Effect here", "", *_effects(settings), ""]
    rows = [
        f"| `{name}` | `{str(field.default).lower() if isinstance(field.default, bool) else field.default}` | "
        f"{_cell(allowed(Settings, name))} | {_cell(field.description or '')} |"
        for name, field in fields.items()
    ]
    lines += ["## Settings", "", "| setting | default | allowed | what it does |", "|:--|:--|:--|:--|", *rows, ""]
    return "\n".join([*lines, "## Code", "", *_code(settings), ""])


def _where(sections: list[str]) -> str:
    return f"Section{'s' if len(sections) > 1 else ''} {', '.join(sections)} of the paper." if sections else ""


def _claims(ids: list[str]) -> list[str]:
    known = load_claims(ROOT / "experiments/claims.yaml")
    verdicts: dict[str, list[str]] = {}
    for study, row in _rows("ledger.csv"):
        if row["verdict"] != "not testable here":
            verdicts.setdefault(row["claim"], []).append(f"{row['verdict']} ([{study}](../../reports/{study}.md))")
    rows = []
    for name in ids:
        entry = known[name]
        numbers = "; ".join(f"{number.name} {number.value:g} {number.unit}" for number in known[name].published)
        found = ", ".join(verdicts.get(name, [])) or "not tested yet"
        rows.append(f"| {name} | {entry.section} | {_cell(entry.claim)} | {_cell(numbers)} | {found} |")
    return ["| claim | section | what it says | published | verdict here |", "|:--|:--|:--|:--|:--|", *rows]


def _effects(settings: list[str]) -> list[str]:
    rows = []
    for study, row in _rows("variants.csv"):
        changes = row["changes"].split("; ")
        if {change.partition(":")[0] for change in changes} & set(settings) and row["verdict"] in VERDICTS:
            low, middle, high = (f"{float(row[key]):+.2f}" for key in ("low", "difference", "high"))
            report = f"[{study}](../../reports/{study}.md)"
            more = f"; and {len(changes) - 3} more" if len(changes) > 3 else ""
            what = "; ".join(changes[:3]) + more
            rows.append(f"| {report} | `{row['variant']}` | {_cell(what)} | {middle} ({low} to {high}) | "
                        f"{row['verdict']} |")  # fmt: skip
    if not rows:
        return ["No finished study has a verdict on it."]
    return [
        "Difference: test error of the variant minus that of the baseline, in points, with its interval. The verdict",
        "is on what the baseline has. It holds for that study's images and scale; its report has them and its caveats.",
        "Where a variant changes several settings, it is no verdict on one of them.",
        "", "| study | variant | changes | difference | verdict |", "|:--|:--|:--|--:|:--|", *rows,
    ]  # fmt: skip


def _rows(table: str) -> list[tuple[str, dict[str, str]]]:
    """Study and row of this table in every report."""
    found = []
    for path in sorted((ROOT / "reports").glob(f"*/{table}")):
        with path.open(newline="", encoding="utf-8") as file:
            found += [(path.parent.name, row) for row in csv.DictReader(file)]
    return found


def _code(settings: list[str]) -> list[str]:
    """The files that read one of the settings, of those that compute."""
    read = re.compile(rf"\.({'|'.join(settings)})\b")
    files = [path for part in ("data", "net", "train") for path in sorted((ROOT / "harness" / part).glob("*.py"))]
    found = [path.relative_to(ROOT) for path in files if read.search(path.read_text(encoding="utf-8"))]
    return [f"- `{path}`" for path in found] or ["- `harness/settings`"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
