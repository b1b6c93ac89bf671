"""The DVC pipeline of a study folder: written from its plan, since DVC can neither expand a plan nor include a file.

`cells.yaml` names the cells for DVC's matrix, `dvc.yaml` has the stages of the root's pipeline less the candidate.
`harness check` refuses to run where they are not what the study declares.
"""

from pathlib import Path

from harness.errors import UserError
from harness.files import write_text
from harness.record import NUMERIC_CODE
from harness.settings.load import lineage
from harness.settings.study import Study

DATA_CODE = ("sources", "folders", "libraries", "split", "pack")

REPORT_FILES = (
    "variants.csv",
    "cells.csv",
    "curves.csv",
    "forest.svg",
    "curves-error.svg",
    "curves-loss.svg",
    "images.csv",
    "effects.csv",
    "seeds.svg",
    "power.svg",
    "proof.csv",
)
"""What the report stage leaves in reports/NAME beside reports/NAME.md."""


def cells_text(study: Study) -> str:
    """The content of cells.yaml."""
    names = "".join(f"  - {name}\n" for name in study.variants)
    return (
        f"# Made by `harness plan {study.path.as_posix()} --write` from study.yaml: what DVC's matrix runs over.\n"
        f"name: {study.name}\nseeds: {study.seeds}\nvariants:\n{names}"
    )


def pipeline_text(study: Study) -> str:
    """The content of the study's dvc.yaml."""
    name, file, resolved = study.name, study.path.as_posix(), study.resolved.as_posix()
    code = _listed(f"harness/{path}" for path in NUMERIC_CODE)
    packing = _listed([f"harness/data/{part}.py" for part in DATA_CODE] + ["harness/data/embedded"])
    parents = _listed(path.as_posix() for path in lineage(study.path)[1:])
    # DVC cannot say it of some cells alone: a study whose variants start from other runs has a folder of its own.
    sources = dict.fromkeys(s.pretrained for s in study.variants.values() if s.pretrained)
    started = _listed(f"runs/{source}-${{item.seed}}" for source in sources)
    claims = _listed([study.file.claims, "harness/claims"] if study.file.claims else [])
    ledger = f"      - reports/{name}/ledger.csv: {{cache: false}}\n" if study.file.claims else ""
    outs = "".join(f"      - reports/{name}/{output}: {{cache: false}}\n" for output in REPORT_FILES)
    gallery = f"{study.baseline}-{study.seeds[0]}"
    members = {variant for name in study.file.ensembles for variant in name.split("+")}
    ensembled = [cell.key for cell in study.cells if cell.variant in members]
    ensemble = (
        f"""
  ensemble:
    wdir: ../..
    desc: errors of the mean of the nets of several seeds
    cmd: python -m harness ensemble {file}
    deps:
      - data/{name}
{_listed(f"runs/{name}/{key}" for key in ensembled)}      - harness/ensemble.py
      - harness/features.py
      - harness/predictions.py
      - harness/net/predict.py
    outs:
      - reports/{name}/ensembles.json: {{cache: false}}
"""
        if ensembled
        else ""
    )
    return f"""\
# Made by `harness plan {file} --write`: the stages of dvc.yaml at the root, for this study and without a candidate.
# Run them with `harness run {file} -j N`, or `dvc repro {study.pipeline.as_posix()}`.
vars:
  - cells.yaml

stages:
  check:
    wdir: ../..
    desc: refuse unknown settings, wrong types and impossible combinations; write every run's settings in full
    cmd: python -m harness check {file}
    deps:
      - harness/settings
      - {study.path.parent.as_posix()}/cells.yaml
{parents}{claims}    params:
      - {file}:
    outs:
      - {resolved}: {{cache: false, persist: true}}

  data:
    wdir: ../..
    desc: decode the images once and pack them
    cmd: python -m harness data {resolved}/_data.json --out data/{name}
    deps:
      - {resolved}/_data.json
{packing}    outs: [data/{name}]

  train:
    wdir: ../..
    matrix: {{variant: "${{variants}}", seed: "${{seeds}}"}}
    desc: train one cell
    cmd: >-
      python -m harness train {resolved}/${{item.variant}}.json --seed ${{item.seed}}
      --out runs/{name}/${{key}} --data data/{name} --reuse runs
    deps:
      - {resolved}/${{item.variant}}.json
      - data/{name}
{started}{code}    outs: ["runs/{name}/${{key}}"]

  eval:
    wdir: ../..
    matrix: {{variant: "${{variants}}", seed: "${{seeds}}"}}
    desc: evaluate one cell on the test images
    cmd: python -m harness eval runs/{name}/${{key}} reports/{name}/cells/${{key}} --data data/{name}
    deps:
      - data/{name}
      - runs/{name}/${{key}}
      - harness/evaluate.py
      - harness/features.py
      - harness/net/predict.py
    outs:
      - reports/{name}/cells/${{key}}: {{cache: false}}

  gallery:
    wdir: ../..
    desc: pictures from the baseline's first run
    cmd: python -m harness gallery {file}
    deps:
      - data/{name}
      - runs/{name}/{gallery}
      - harness/gallery
      - harness/style.py
      - harness/net/predict.py
    outs:
      - reports/{name}/gallery: {{cache: false}}
{ensemble}
  report:
    wdir: ../..
    desc: tables, figures and the text
    cmd: python -m harness report {file}
    deps:
      - reports/{name}/cells
      - reports/{name}/gallery
{f"      - reports/{name}/ensembles.json{chr(10)}" if ensembled else ""}{claims}      - harness/statistics
      - harness/report
      - harness/predictions.py
      - harness/grammar.py
      - harness/style.py
    params:
      - {file}:
    outs:
      - reports/{name}.md: {{cache: false}}
{outs}{ledger}
  publish:
    wdir: ../..
    desc: bring the runs and the report to MLflow
    cmd: python -m harness publish {file} --mark {study.published_mark.as_posix()}
    deps:
      - reports/{name}.md
      - harness/tracking
    outs: [{study.published_mark.as_posix()}]
"""


def _listed(paths: object) -> str:
    return "".join(f"      - {path}\n" for path in paths)  # type: ignore[attr-defined]


def _files(study: Study) -> dict[Path, str]:
    return {study.path.parent / "cells.yaml": cells_text(study), study.pipeline: pipeline_text(study)}


def write_pipeline(study: Study) -> list[Path]:
    """Write a study folder's cells.yaml and dvc.yaml; returns their paths."""
    for path, text in _files(study).items():
        write_text(path, text)
    return list(_files(study))


def check_pipeline(study: Study) -> None:
    """Refuse a study folder whose cells.yaml or dvc.yaml is not what the study declares. Raises `UserError`."""
    for path, text in _files(study).items():
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if found != text:
            what = "is not what the study declares" if found else "is missing"
            raise UserError(f"{path}: {what}; run: harness plan {study.path.as_posix()} --write")
