"""The commands that the pipeline's stages call, in their order."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import CANDIDATE, STUDY, RequireClean, StudyFile, app, candidate

PANEL = "Stages of the pipeline"


@app.command(rich_help_panel=PANEL)
def check(study: StudyFile = STUDY) -> None:
    """Check a study's file and params.yaml, and write what its stages depend on, before anything runs."""
    from harness.checked import write_checked
    from harness.claims.claim import claims_of
    from harness.pipeline import check_pipeline
    from harness.settings.check import check_candidate, check_default, check_study
    from harness.settings.declared import record
    from harness.settings.load import load_study

    checked = load_study(study)
    if checked.is_default:
        check_default(checked)
    for line in check_study(checked):
        print(f"warning: {line}")
    claims_of(checked, Path("."))
    check_pipeline(checked)
    write_checked(checked, check_candidate(CANDIDATE, checked) if checked.is_default else None, Path("."))
    record(checked, Path("."))


@app.command(rich_help_panel=PANEL)
def data(
    study: StudyFile = STUDY,
    out: Annotated[Path | None, typer.Option(help="Pack into this folder instead, and write no manifest.")] = None,
) -> None:
    """Decode and pack a study's images, and write their manifest."""
    from harness.data.pack import pack
    from harness.data.store import pack_study
    from harness.settings.load import load_study

    checked = load_study(study)
    if out:
        pack(checked.data, out)
    else:
        pack_study(checked, Path("."))


RUN_HELP = "The run: [STUDY:]VARIANT-SEED, params.yaml (the candidate), or a file of settings."


@app.command(rich_help_panel=PANEL)
def train(
    run: Annotated[str, typer.Argument(help=RUN_HELP)],
    seed: Annotated[int | None, typer.Option(min=0, help="The run's seed, where its name has none.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of its records; by default the study's.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of packed images; by default the study's.")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Seconds between two checkpoints.")] = 20.0,
    require_clean: RequireClean = None,
) -> None:
    """Train one run, or resume it where it was interrupted."""
    from harness import stages
    from harness.train.loop import Interrupted

    try:
        stages.train(run, seed, out, data, checkpoint_seconds, require_clean, Path("."))
    except Interrupted:
        print("harness: stopped; its state is saved, run it again to resume", file=sys.stderr)
        sys.exit(130)


@app.command("eval", rich_help_panel=PANEL)
def evaluate(
    run: Annotated[str, typer.Argument(help=f"{RUN_HELP[:-1]}; or a folder of a run's records.")],
    out: Annotated[Path | None, typer.Argument(help="Folder of its results; by default the study's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The run's seed.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of packed images; by default the study's.")] = None,
) -> None:
    """Evaluate a run on every part of its images: centre crop and ten crops."""
    from harness import stages

    stages.evaluate(run, out, seed, data, Path("."))


@app.command(rich_help_panel=PANEL)
def ensemble(study: StudyFile = STUDY) -> None:
    """Average the nets of all seeds of the variants that a study names under `ensembles`, and write their errors."""
    from harness.files import read_json, write_json
    from harness.settings.load import load_study

    checked = load_study(study)
    path = checked.folder / "ensembles.json"
    found = {}
    if checked.file.ensembles:  # without any, nothing heavy is imported
        from harness.ensemble import ensembles

        found = ensembles(checked, Path("."), read_json(path) if path.exists() else {})
    write_json(path, found)


@app.command(rich_help_panel=PANEL)
def gallery(
    study: StudyFile = STUDY,
    variant: Annotated[str | None, typer.Option(help="The variant; by default the baseline.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Its seed; by default the study's first.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; by default reports/STUDY/gallery.")] = None,
) -> None:
    """Draw one run: kernels, answers, nearest neighbours, confusion, augmentations, response normalisation."""
    from harness.gallery.render import find_cell, render
    from harness.settings.load import load_study

    checked = load_study(study)
    render(find_cell(checked, variant, seed), checked, Path("."), out or checked.folder / "gallery")


@app.command(rich_help_panel=PANEL)
def report(
    study: StudyFile = STUDY,
    interim: Annotated[
        bool, typer.Option("--interim", help="Look before all runs are there: verdicts by the declared looks alone.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on missing runs, and on runs that were not made alike.")
    ] = False,
) -> None:
    """Write a study's report: tables, figures and the text, from the results of its cells."""
    from harness.report.build import render
    from harness.settings.load import load_study

    checked = load_study(study)
    print(render(checked, candidate(checked), Path("."), interim))
    if strict:
        from harness.report.build import faults
        from harness.report.findings import Findings
        from harness.report.runs import read_results

        given = candidate(checked)
        results = read_results(checked, given, Path("."), interim)
        found = faults(Findings(checked, results, given, Path(".")))
        print("\n".join(f"strict: {line}" for line in found), end="\n" if found else "")
        if found:
            raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def publish(study: StudyFile = STUDY) -> None:
    """Bring a study's runs and report to MLflow; what is there already is not doubled."""
    from harness.settings.load import load_study
    from harness.tracking.publish import publish as publish_study

    checked = load_study(study)
    print(publish_study(checked, candidate(checked), Path(".")))
