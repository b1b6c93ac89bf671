"""The commands about a study as a whole: run it, see what it comes to, look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import STUDY, RequireClean, StudyFile, app, candidate, find_study
from harness.cli.stages import check, publish, report
from harness.errors import UserError
from harness.grammar import counted

PANEL = "Studies"


@app.command(rich_help_panel=PANEL)
def run(
    study: StudyFile = STUDY,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, help="Runs at once; by default one, or one a GPU named.")
    ] = None,
    gpus: Annotated[
        str, typer.Option(help="GPUs to share out, one a run, as 0,1; by default every run sees all.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Train every run again, replacing what is on record.")] = False,
    only: Annotated[
        str, typer.Option(help="The runs of these variants alone, as no-lrn,base; then the report.", metavar="VARIANTS")
    ] = "",
    require_clean: RequireClean = None,
) -> None:
    """Run a study: its runs in parallel, then everything else; as `dvc repro`, faster."""
    import os
    import sys

    from harness import outcome, pipeline, pool, provenance, remote
    from harness.progress import say
    from harness.settings.load import lineage, load_study
    from harness.tracking.publish import pending

    count, named = pool.workers(jobs, gpus)
    checked = load_study(study)
    wanted = pool.chosen(checked, [name.strip() for name in only.split(",")] if only else [])
    pipeline.write_pipeline(checked)
    check(study)
    provenance.check_clean(require_clean, lineage(study))
    if require_clean is False:
        os.environ[provenance.ALLOW_DIRTY] = "1"
    doctor(study, count)
    file = pipeline.path_of(checked)
    pipeline.keep_lock(file)
    pool.repro(file, ["check", "data"])
    done: list[str] = []
    failed: list[str] = []
    try:
        if force:
            done = wanted
            say(f"run: {counted(len(done), 'run')} to do again, {count} at once")
            failed = pool.run_cells(done, count, named, file, force=True)
        while not failed and (cells := [one for one in pool.waiting(checked, file) if one in {*wanted} - {*done}]):
            say(f"run: {counted(len(cells), 'run')} to do, {count} at once")
            failed = pool.run_cells(cells, count, named, file)
            done += cells
    except KeyboardInterrupt:
        print("harness: stopped; run it again to resume", file=sys.stderr)
        sys.exit(130)
    if failed:
        # DVC makes no report while a run is missing; ours shows what is there, and what is not.
        report(study)
        raise UserError(
            f"run: {counted(len(failed), 'run')} failed: "
            + "; ".join(f"{f} (see {pool.log_of(f, file)})" for f in failed)
        )
    if others := [cell for cell in pool.waiting(checked, file) if only and cell not in wanted]:
        # As DVC would run these too, the report is made without it.
        report(study)
        say(f"run: {counted(len(others), 'other run')} to do; run: harness run {checked.name}")
        return
    say("run: every run is up to date")
    pipeline.keep_lock(file)  # with the runs that have just been recorded
    pool.repro(file)
    if pending(checked):
        # DVC holds the stage to be up to date, since nothing that it depends on has changed.
        publish(study)
    pipeline.keep_lock(file)
    remote.share(checked, Path("."))
    for line in outcome.differing(checked, Path(".")):
        print(line)


@app.command(rich_help_panel=PANEL)
def doctor(
    study: StudyFile = STUDY, jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Runs at once.")] = 1
) -> None:
    """Say what a study would run, on which device, and about how long it takes."""
    from collections import Counter

    from harness.cost import outlook
    from harness.report.runs import read_results
    from harness.settings.load import load_study
    from harness.verify.rerun import other_instructions

    checked = load_study(study)
    results = read_results(checked, candidate(checked), Path("."))
    todo = [cell for cell in results.all if cell.status in ("missing", "stale")]
    machines = (cell.run.provenance.machine for cell in results.cells if cell.run)
    print("\n".join([*outlook(checked, jobs, len(todo)), *other_instructions(machines)]))
    print(f"done: {len(results.all) - len(todo)} of {counted(len(results.all), 'run')}")
    for why, number in Counter(cell.note for cell in results.cells if cell.status == "stale").items():
        print(f"stale: {counted(number, 'run')}: {why}")
    if results.candidate and results.candidate.status == "stale":
        print(f"stale: the candidate: {results.candidate.note}")


@app.command(rich_help_panel=PANEL)
def plan(
    study: StudyFile = STUDY,
    rate: Annotated[float | None, typer.Option(min=0, help="Training images/s of the baseline, if known.")] = None,
    effect: Annotated[
        float | None, typer.Option(min=0.01, help="Show how many seeds would detect a difference of so many points.")
    ] = None,
    power: Annotated[float, typer.Option(min=0.5, max=0.99, help="Probability of detecting it.")] = 0.8,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Show the difference that so many hours of training would detect.")
    ] = None,
) -> None:
    """Print what a study's plan comes to: its variants, its runs, what they cost, and what they can find."""
    from harness.cost import cost
    from harness.settings.check import check_study
    from harness.settings.listing import list_variants
    from harness.settings.load import load_study

    checked = load_study(study)
    warnings = check_study(checked)
    print(list_variants(checked))
    print("\n".join([*(f"warning: {line}" for line in warnings), *cost(checked, rate)]))
    if effect or hours or checked.folder.exists():
        from harness.planning import detectable_lines, recorded_lines, seeds_lines
        from harness.report.runs import read_results
        from harness.report.variants import variant_rows

        rows = variant_rows(checked, read_results(checked, None, Path(".")))
        print("\n".join(recorded_lines(rows)))
        if effect:
            print("\n".join(seeds_lines(checked, rows, effect, power)))
        if hours:
            print("\n".join(detectable_lines(checked, rows, hours)))


@app.command(rich_help_panel=PANEL)
def ui(
    study: StudyFile = STUDY, port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000
) -> None:
    """Start MLflow's interface and print links to a study's variants, runs and report."""
    from harness.settings.load import load_study
    from harness.tracking.publish import publish as publish_study
    from harness.tracking.server import serve

    checked = load_study(study)
    published = publish_study(checked, candidate(checked), Path("."))
    print(published)
    if published.down:
        raise UserError(
            f"ui: {published.uri} does not answer; start it, or unset MLFLOW_TRACKING_URI for the local one"
        )
    serve(checked, published, Path("."), port)


@app.command(rich_help_panel=PANEL)
def variants(
    study: Annotated[
        Path | None, typer.Argument(help="A study, or a word to search the settings for.", metavar="[STUDY|WORD]")
    ] = None,
    names: Annotated[bool, typer.Option("--names", help="Print the variants' names alone.")] = False,
) -> None:
    """List every setting with its allowed values, help, paper section and claims; or a study's variants."""
    from harness.settings.listing import list_settings, list_variants
    from harness.settings.load import load_study

    try:
        file = find_study(study)
    except UserError:
        if not (study and (found := list_settings(str(study)))):
            raise
        print(found)
        return
    if file is None:
        print(list_settings())
    else:
        checked = load_study(file)
        print("\n".join(checked.variants) if names else list_variants(checked))


@app.command(rich_help_panel=PANEL)
def describe(
    settings: Annotated[
        str,
        typer.Argument(help="params.yaml, [STUDY:]VARIANT-SEED, or a file of settings; without it the options alone."),
    ] = "",
    preset: Annotated[list[str] | None, typer.Option(help="Presets, later ones win.")] = None,
    geometry: Annotated[str | None, typer.Option(help="imagenet, medium or small.")] = None,
    gpus: Annotated[int | None, typer.Option(help="1 or 2.")] = None,
    depth: Annotated[str | None, typer.Option(help="full, or the layer to leave out: -conv3.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels; by default the study's, else 3.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Classes; by default the study's, else 1000.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print the net's layers: shapes, parameters, neurons, multiply-accumulates."""
    import json

    from harness.net.describe import as_text
    from harness.net.describe import describe as described
    from harness.net.layout import layout
    from harness.settings.check import SOURCES
    from harness.settings.load import Named, load_run, resolve
    from harness.settings.schema import CROPS

    given = {"preset": preset, "geometry": geometry, "gpus": gpus, "depth": depth}
    own = {key: value for key, value in given.items() if value is not None}
    if geometry and not preset:
        own["crop"] = CROPS.get(geometry, (224,))[0]
    if settings and own:
        raise UserError(f"describe: got {settings} and options; allowed: one of them")
    named = load_run(settings) if settings else Named(resolve(own, "describe"))
    resolved, study = named.settings, named.study
    own_channels, _, own_classes, _ = SOURCES[study.data.source] if study else (3, 0, None, None)
    channels, classes = channels or own_channels, classes or resolved.classes or own_classes
    rows = layout(resolved, channels, classes)
    print(json.dumps(described(rows), indent=2) if as_json else as_text(rows))


@app.command(rich_help_panel=PANEL)
def claims(
    ids: Annotated[list[str] | None, typer.Argument(help="Claims, as C26, or a study; without it, all.")] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            help="A study: its verdicts from the results that are there.", metavar="STUDY", callback=find_study
        ),
    ] = None,
    file: Annotated[Path, typer.Option(help="The file of claims.")] = Path("experiments/claims.yaml"),
) -> None:
    """List the paper's claims, one a line; a named claim in full; of a study, its verdicts."""
    from harness.claims.claim import load_claims
    from harness.claims.ledger import list_claims
    from harness.report.claims import verdicts
    from harness.report.runs import read_results
    from harness.settings.load import declared_names, load_study

    known = load_claims(file)
    upper = {name.upper(): name for name in known}
    wanted = []
    for given in ids or []:
        if given.upper() in upper:
            wanted.append(upper[given.upper()])
            continue
        try:
            study = find_study(Path(given))
        except UserError as error:
            studies = ", ".join(sorted(declared_names().values()))
            raise UserError(f"claims: got {given!r}; allowed: {', '.join(known)}, or a study: {studies}") from error
    chosen = {name: known[name] for name in wanted or known}
    if study is None and not wanted:
        for name, claim in known.items():
            print(f"{name:<5} {claim.claim} [section {claim.section}]")
    elif study is None:
        print(list_claims(chosen))
    else:
        checked = load_study(study)
        print(verdicts(chosen, checked, read_results(checked, None, Path(".")), Path(".")))
