"""The commands that the pipeline's stages call, in their order."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import CANDIDATE, CANDIDATE_NAME, STUDY, RequireClean, StudyFile, app, candidate, find_study
from harness.errors import UserError

PANEL = "Stages of the pipeline"

NOT_PUBLISHED = "not published\n"
"""In the stage's mark while the tracking server is down, which fails no pipeline; `harness run` then tries again."""


@app.command(rich_help_panel=PANEL)
def check(study: StudyFile = STUDY) -> None:
    """Check a study's file and params.yaml, and write the resolved settings of every run, before anything runs."""
    from harness.claims.schema import claims_of
    from harness.pipeline import check_pipeline
    from harness.settings.check import check_candidate, check_default, check_study, write_resolved
    from harness.settings.declared import record
    from harness.settings.load import load_study

    checked = load_study(study)
    if checked.is_default:
        check_default(checked)
    for line in check_study(checked):
        print(f"warning: {line}")
    claims_of(checked, Path("."))
    if checked.is_default:
        write_resolved(checked, check_candidate(CANDIDATE, checked))
    else:
        check_pipeline(checked)
        write_resolved(checked, None)
    record(checked, Path("."))


@app.command(rich_help_panel=PANEL)
def data(
    study: Annotated[
        Path,
        typer.Argument(
            help="The study: its name, folder, file or report; or the resolved settings of its images.",
            metavar="STUDY",
            callback=find_study,
        ),
    ] = STUDY,
    out: Annotated[Path | None, typer.Option(help="Folder of the packed images.")] = None,
) -> None:
    """Decode and pack a study's images."""
    from harness.data.pack import pack
    from harness.settings.load import load_data, load_study

    if study.suffix == ".json":
        if out is None:
            raise UserError("data: --out: missing; name the folder of the packed images")
        pack(load_data(study), out)
        return
    checked = load_study(study)
    pack(checked.data, out or checked.packed)


@app.command(rich_help_panel=PANEL)
def train(
    settings: Annotated[
        str, typer.Argument(help="params.yaml, STUDY:variants.NAME, or STUDY_FOLDER/resolved/NAME.json.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="The run's seed.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the packed images; by default the study's.")] = None,
    reuse: Annotated[Path | None, typer.Option(help="Folder of runs: an equal one in it is copied.")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Seconds between two checkpoints.")] = 20.0,
    require_clean: RequireClean = None,
) -> None:
    """Train one run, or go on with it where it was interrupted."""
    from harness.provenance import check_clean
    from harness.settings.load import load_run, load_study, study_of
    from harness.train.loop import Interrupted
    from harness.train.run import train as train_run

    resolved = load_run(settings)
    study = study_of(settings)
    # The candidate is what code is tried with before it is committed.
    tried = Path(settings).name in (CANDIDATE.name, f"{CANDIDATE_NAME}.json")
    check_clean(require_clean, None if tried else study)
    if data is None:
        if study is None:
            raise UserError(f"{settings}: --data: missing, and it belongs to no study; name the folder of its images")
        data = load_study(study).packed
    command = f"python -m harness train {settings} --seed {seed} --out {out} --data {data}"
    try:
        train_run(resolved, seed, data, out, checkpoint_seconds, command, reuse)
    except Interrupted:
        print("harness: stopped; its state is saved, the same command goes on", file=sys.stderr)
        sys.exit(130)


@app.command("eval", rich_help_panel=PANEL)
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[Path, typer.Argument(help="Folder of its results.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the packed images; by default the default study's.")
    ] = None,
) -> None:
    """Evaluate a run on every part of its images: centre crop and ten crops."""
    from harness.evaluate import evaluate as evaluate_run
    from harness.settings.load import load_study

    evaluate_run(run, data or load_study(STUDY).packed, out)


@app.command(rich_help_panel=PANEL)
def ensemble(study: StudyFile = STUDY) -> None:
    """Average the nets of all seeds of the variants that a study names under `ensembles`, and write their errors."""
    from harness.ensemble import ensembles
    from harness.files import write_json
    from harness.settings.load import load_study

    checked = load_study(study)
    write_json(checked.folder / "ensembles.json", ensembles(checked, Path(".")))


@app.command(rich_help_panel=PANEL)
def gallery(
    study: StudyFile = STUDY,
    variant: Annotated[str | None, typer.Option(help="The variant; by default the baseline.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Its seed; by default the study's first.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the packed images; by default the study's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; by default reports/STUDY/gallery.")] = None,
) -> None:
    """Draw one run: kernels, answers, nearest neighbours, confusion, augmentations, response normalisation."""
    from harness.gallery.render import find_cell, render
    from harness.settings.load import load_study

    checked = load_study(study)
    cell = find_cell(checked, variant, seed)
    render(cell, Path("runs") / checked.name / cell.key, data or checked.packed, out or checked.folder / "gallery")


@app.command(rich_help_panel=PANEL)
def report(
    study: StudyFile = STUDY,
    interim: Annotated[
        bool, typer.Option("--interim", help="Look before all runs are there: verdicts by the declared looks alone.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail on missing runs, and on runs that were not made alike.",
        ),
    ] = False,
) -> None:
    """Write a study's report: tables, figures and the text, from the results of its cells."""
    from harness.report.render import render
    from harness.settings.load import load_study

    checked = load_study(study)
    print(render(checked, candidate(checked), Path("."), interim))
    if strict:
        from harness.report.cells import read_results
        from harness.report.findings import Findings
        from harness.report.strict import faults

        given = candidate(checked)
        results = read_results(checked, given, Path("."), interim)
        found = faults(Findings(checked, results, given, Path(".")))
        print("\n".join(f"strict: {line}" for line in found), end="\n" if found else "")
        if found:
            raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def publish(
    study: StudyFile = STUDY, mark: Annotated[Path | None, typer.Option(help="File that says whether it is.")] = None
) -> None:
    """Bring a study's runs and report to MLflow; what is there already is not doubled."""
    from harness.files import write_text
    from harness.settings.load import load_study
    from harness.tracking.publish import publish as publish_study

    checked = load_study(study)
    published = publish_study(checked, candidate(checked), Path("."))
    print(published)
    if mark:
        write_text(mark, NOT_PUBLISHED if published.down else "published\n")
