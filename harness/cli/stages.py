"""The commands that the pipeline's stages call, in their order."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import HERE, STUDY, RequireClean, StudyArgument, app, candidate, place, word
from harness.errors import UserError
from harness.process import hold
from harness.progress import say
from harness.record import Config
from harness.settings.load import load_run
from harness.settings.study import CANDIDATE, Study

PANEL = "Stages of the pipeline"


@app.command(rich_help_panel=PANEL)
def check(study: StudyArgument = STUDY) -> None:
    """Check a study's file and params.yaml, and write what its stages depend on, before anything runs."""
    from harness.claims.claim import claims_of
    from harness.data.watch import doubts
    from harness.pipeline.checked import write_checked
    from harness.pipeline.dvc import need_history
    from harness.pipeline.dvc_files import check_pipeline, check_place
    from harness.predictions import own
    from harness.settings.check import check_candidate, check_default, check_study
    from harness.settings.declared import record

    need_history()
    check_place(study)
    if study.is_default:
        check_default(study)
    for line in [*check_study(study), *doubts(study, HERE)]:
        print(f"warning: {line}")
    claims_of(study, HERE)
    for name, file in study.file.metrics.items():
        own(name, file, HERE)
    check_pipeline(study)
    write_checked(study, check_candidate(CANDIDATE, study) if study.is_default else None, HERE)
    record(study, HERE)


@app.command(rich_help_panel=PANEL)
def data(
    study: StudyArgument = STUDY,
    out: Annotated[Path | None, place("Pack into this folder instead, and write no manifest.")] = None,
) -> None:
    """Decode and pack a study's images, and write their manifest."""
    from harness.data.pack import pack
    from harness.data.store import pack_study

    if out:
        pack(study.data, out)
    else:
        pack_study(study, HERE)


RUN_HELP = "The run: [STUDY:]VARIANT-SEED, params.yaml (the candidate), or a file of settings."


@app.command(rich_help_panel=PANEL)
def train(
    run: Annotated[str, typer.Argument(help=RUN_HELP)],
    seed: Annotated[int | None, typer.Option(min=0, help="The run's seed, where its name has none.")] = None,
    out: Annotated[Path | None, place("Folder of its records; by default the study's.")] = None,
    data: Annotated[Path | None, place("Folder of packed images; by default the study's.")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Seconds between two checkpoints.")] = 20.0,
    require_clean: RequireClean = None,
) -> None:
    """Train one run, or resume it where it was interrupted."""
    run = word(run)
    named = load_run(run)
    hold(named.settings.bits)

    from harness.pipeline import named_run
    from harness.train.loop import Interrupted

    try:
        named_run.train(named, run, seed, out, data, checkpoint_seconds, require_clean, HERE)
    except Interrupted:
        print("harness: stopped; its state is saved, run it again to resume", file=sys.stderr)
        sys.exit(130)


@app.command("eval", rich_help_panel=PANEL)
def evaluate(
    run: Annotated[str, typer.Argument(help=f"{RUN_HELP[:-1]}; or a folder of a run's records.")],
    out: Annotated[Path | None, place("Folder of its results; by default the study's.", typer.Argument)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The run's seed.")] = None,
    data: Annotated[Path | None, place("Folder of packed images; by default the study's.")] = None,
) -> None:
    """Evaluate a run on every part of its images: centre crop and ten crops."""
    run = word(run)
    config = Path(run) / "config.json"
    named = None if Path(run).is_dir() else load_run(run)
    if named:
        hold(named.settings.bits)
    elif config.exists():
        hold(Config.read(config).resolved.bits)

    from harness.pipeline import named_run

    named_run.evaluate(named, run, out, seed, data, HERE)


@app.command(rich_help_panel=PANEL)
def ensemble(study: StudyArgument = STUDY) -> None:
    """Average the nets of all seeds of the variants that a study names under `ensembles`, and write their errors."""
    from harness.files import read_json, write_json

    path = study.folder / "ensembles.json"
    errors = {}
    if study.file.ensembles:  # without any, nothing heavy is imported
        hold(study.variants[study.baseline].bits)
        from harness.ensemble import ensembles

        errors = ensembles(study, HERE, read_json(path) if path.exists() else {})
    write_json(path, errors)


@app.command(rich_help_panel=PANEL)
def gallery(
    study: StudyArgument = STUDY,
    variant: Annotated[str | None, typer.Option(help="The variant; by default the baseline.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Its seed; by default the study's first.")] = None,
    out: Annotated[Path | None, place("Folder; by default reports/STUDY/gallery.")] = None,
) -> None:
    """Draw one run: kernels, answers, nearest neighbours, confusion, augmentations, response normalisation."""
    hold(study.variants[variant if variant in study.variants else study.baseline].bits)
    from harness.gallery.render import find_cell, render

    render(find_cell(study, variant, seed), study, HERE, out or study.folder / "gallery")


@app.command(rich_help_panel=PANEL)
def report(
    study: StudyArgument = STUDY,
    interim: Annotated[
        bool, typer.Option("--interim", help="Look before all runs are there: verdicts by the declared looks alone.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on missing runs, and on runs that were not made alike.")
    ] = False,
) -> None:
    """Write a study's report: tables, figures and the text, from the results of its cells."""
    from harness.report.build import render
    from harness.settings.check import check_name

    check_name(study)
    settings = candidate(study)
    print(render(study, settings, HERE, interim))
    if strict:
        from harness.report.build import faults
        from harness.report.findings import Findings
        from harness.report.runs import read_results

        lines = faults(Findings(study, read_results(study, settings, HERE, interim), settings, HERE))
        for line in lines:
            print(f"strict: {line}")
        if lines:
            raise typer.Exit(1)


LATER = "HARNESS_PUBLISH_LATER"
"""Set in the environment: `harness run` publishes at its end, also what DVC holds to be up to date."""


@app.command(rich_help_panel=PANEL)
def publish(study: StudyArgument = STUDY) -> None:
    """Bring a study's runs and report to MLflow; what is there already is not doubled."""
    if os.environ.get("DVC_STAGE"):
        if not os.environ.get(LATER):
            try_to_publish(study)
        return
    from harness.tracking.publish import publish as publish_study

    print(publish_study(study, candidate(study), HERE))


def try_to_publish(study: Study) -> None:
    """Publish; a store that fails is warned of, since MLflow is a view and no run depends on it."""
    from harness.tracking.publish import publish as publish_study

    try:
        say(str(publish_study(study, candidate(study), HERE)))
    except UserError as error:
        say(f"warning: not published: {error}; `harness publish {study.name}` tries again")
