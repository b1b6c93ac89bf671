"""The commands about a study as a whole: run it, see what it comes to, look at it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import HERE, STUDY, RequireClean, StudyArgument, app, candidate, named_study, place, word
from harness.cli.stages import LATER, check, report, try_to_publish
from harness.errors import UserError
from harness.grammar import counted
from harness.settings.load import Named, declared_names, find_study, lineage, load_run, load_study, resolve
from harness.shipped import found

if TYPE_CHECKING:
    from harness.results import Kind

PANEL = "Studies"


@app.command(rich_help_panel=PANEL)
def init(
    folder: Annotated[Path, place("A new or empty folder, outside of any git repository.", typer.Argument)],
    images: Annotated[Path | None, place("Your images, in folders of classes; without it the embedded ones.")] = None,
    name: Annotated[str | None, typer.Option(help="The study's name; by default the folder's.")] = None,
) -> None:
    """Make a repository for a study of your own: git, DVC, a study, its stages, README, continuous integration."""
    from harness.init.create import create

    print("\n".join(create(folder, images, name)))


@app.command(rich_help_panel=PANEL)
def run(
    context: typer.Context,
    study: StudyArgument = STUDY,
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

    from harness import provenance
    from harness.data.watch import changed
    from harness.pipeline import dvc, dvc_files, holder, outcome, pool, remote
    from harness.pipeline.tidy import undeclared
    from harness.progress import say
    from harness.settings.check import check_study

    count, named = pool.workers(jobs, gpus)
    wanted = pool.chosen(study, [name.strip() for name in only.split(",")] if only else [])
    dvc.need_repository()
    context.with_resource(holder.alone(study, "run"))
    check_study(study)  # before anything is written
    dvc_files.write_pipeline(study)
    check(study)
    provenance.check_clean(require_clean, lineage(study.path))
    if require_clean is False:
        os.environ[provenance.ALLOW_DIRTY] = "1"
    doctor(study, count)
    file = dvc_files.path_of(study)
    dvc_files.keep_lock(file)
    dvc.repro(file, ["check", "data"])
    if changed(study, HERE):  # DVC does not read the images
        dvc.repro(file, ["data"], "--force")
    done: list[str] = []
    failed: list[str] = []
    try:
        if force:
            done = wanted
            say(f"run: {counted(len(done), 'run')} to do again, {count} at once")
            failed = pool.run_cells(study, dict.fromkeys(done, dvc.KINDS), count, named)
        while not failed and (cells := dvc.waiting(study, {*wanted} - {*done})):
            say(f"run: {counted(len(cells), 'run')} to do, {count} at once")
            failed = pool.run_cells(study, cells, count, named)
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
    if only and (others := [cell for cell in dvc.waiting(study) if cell not in wanted]):
        # As DVC would run these too, the report is made without it.
        report(study)
        say(f"run: {counted(len(others), 'other run')} to do; run: harness run {study.name}")
        return
    say("run: every run is up to date")
    dvc_files.keep_lock(file)  # with the runs that have just been recorded
    os.environ[LATER] = "1"
    dvc.repro(file, dvc.AFTER_RUNS)
    # Not left to DVC, which knows what was published from here, or from the machine of a committed dvc.lock, but not
    # what the store at hand has.
    try_to_publish(study)
    dvc_files.keep_lock(file)
    remote.share(study, HERE)
    if old := undeclared(study, HERE):
        say(f"run: {counted(len(old), 'run')} of before, not declared any more; see: harness tidy {study.name}")
    for line in outcome.differing(study, HERE):
        print(line)


@app.command(rich_help_panel=PANEL)
def variants(
    study: Annotated[
        str, typer.Argument(help="A study, or a word to search the settings for.", metavar="[STUDY|WORD]")
    ] = "",
    names: Annotated[bool, typer.Option("--names", help="Print the variants' names alone.")] = False,
) -> None:
    """List every setting with its allowed values, help, paper section and claims; or a study's variants."""
    from harness.settings.listing import list_settings, list_variants

    try:
        file = find_study(Path(word(study))) if study else None
    except UserError:
        text = list_settings(study)
        if not text:
            raise
    else:
        declared = load_study(file) if file else None
        text = (
            list_settings() if declared is None else "\n".join(declared.variants) if names else list_variants(declared)
        )
    print(text)


@app.command(rich_help_panel=PANEL)
def ui(
    study: StudyArgument = STUDY, port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000
) -> None:
    """Start MLflow's interface and print links to a study's variants, runs and report."""
    from harness.tracking.publish import publish as publish_study
    from harness.tracking.server import serve

    published = publish_study(study, candidate(study), HERE)
    print(published)
    serve(study, published, HERE, port)


@app.command(rich_help_panel=PANEL)
def plan(
    study: StudyArgument = STUDY,
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

    warnings = [f"warning: {line}" for line in check_study(study)]
    lines = [list_variants(study), *warnings, *cost(study, rate)]
    if effect or hours or study.folder.exists():
        from harness.planning import detectable_lines, recorded_lines, seeds_lines
        from harness.report.runs import read_results
        from harness.report.variants import variant_rows

        rows = variant_rows(study, read_results(study, None, HERE))
        lines += recorded_lines(rows)
        lines += seeds_lines(study, rows, effect, power) if effect else []
        lines += detectable_lines(study, rows, hours) if hours else []
    print("\n".join(lines))


@app.command(rich_help_panel=PANEL)
def doctor(
    study: StudyArgument = STUDY, jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Runs at once.")] = 1
) -> None:
    """Say what a study would run, on which device, and about how long it takes."""
    from collections import Counter

    from harness.cost import outlook
    from harness.report.runs import read_results
    from harness.verify.rerun import machine_bits, other_bits

    results = read_results(study, candidate(study), HERE)
    todo = [cell for cell in results.all if cell.status in ("missing", "stale") or results.outdated]
    runs = [cell.run for cell in results.cells if cell.run]
    print("\n".join([*outlook(study, jobs, len(todo)), machine_bits(), *other_bits(runs)]))
    print(f"done: {len(results.all) - len(todo)} of {counted(len(results.all), 'run')}")
    stale = Counter(cell.note or results.outdated for cell in todo if cell.status != "missing")
    for why, number in stale.items():
        print(f"stale: {counted(number, 'run')}: {why}")


@app.command(rich_help_panel=PANEL)
def claims(
    ids: Annotated[list[str] | None, typer.Argument(help="Claims, as C26, or a study; without it, all.")] = None,
) -> None:
    """List the paper's claims, one a line; a named claim in full; of a study, its verdicts."""
    from harness.claims.claim import load_claims
    from harness.claims.ledger import list_claims

    known = load_claims(found(Path("experiments/claims.yaml"), HERE))
    upper = {name.upper(): name for name in known}
    chosen = {upper[name.upper()]: known[upper[name.upper()]] for name in ids or [] if name.upper() in upper}
    rest = [name for name in ids or [] if name.upper() not in upper]
    try:
        files = [find_study(Path(word(name))) for name in rest]
    except UserError as error:
        studies = ", ".join(sorted(declared_names().values()))
        raise UserError(f"claims: got {rest[0]!r}; allowed: {', '.join(known)}, or a study: {studies}") from error
    if files:
        from harness.report.claims import verdicts
        from harness.report.runs import read_results

        study = load_study(files[-1])
        print(verdicts(chosen or known, study, read_results(study, None, HERE), HERE))
    elif chosen:
        print(list_claims(chosen))
    else:
        for name, claim in known.items():
            print(f"{name:<5} {claim.claim} [section {claim.section}]")


@app.command(rich_help_panel=PANEL)
def describe(
    settings: Annotated[
        str,
        typer.Argument(help="params.yaml, [STUDY:]VARIANT-SEED, or a file of settings; without it the options alone."),
    ] = "",
    study: Annotated[str, typer.Option(help="A study, whose baseline or --variant is described.")] = "",
    variant: Annotated[str, typer.Option(help="A variant of --study, or of the default study.")] = "",
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
    from harness.settings.schema import CROPS

    options = {"preset": preset, "geometry": geometry, "gpus": gpus, "depth": depth}
    values = {key: value for key, value in options.items() if value is not None}
    if geometry and not preset:
        values["crop"] = CROPS.get(geometry, (224,))[0]
    if sum(map(bool, (settings, study or variant, values))) > 1:
        raise UserError("describe: got settings in two ways; allowed: a run, --study and --variant, or options")
    spec = word(settings)
    if study or variant:
        declared = named_study(study or STUDY)
        spec = f"{declared.path}:{variant or declared.baseline}"
    run = load_run(spec) if spec else Named(resolve(values, "describe"))
    source_channels, _, source_classes, _ = SOURCES[run.study.data.source] if run.study else (3, 0, None, None)
    rows = layout(run.settings, channels or source_channels, classes or run.settings.classes or source_classes)
    print(json.dumps(described(rows), indent=2) if as_json else as_text(rows))


@app.command(rich_help_panel=PANEL)
def export(
    study: StudyArgument = STUDY,
    latex: Annotated[bool, typer.Option("--latex", help="Table, figure and references in LaTeX alone.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="The comparisons as CSV alone.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="The forest figure as PDF alone.")] = False,
    png: Annotated[bool, typer.Option("--png", help="The forest figure as PNG alone.")] = False,
    out: Annotated[Path | None, place("Folder; by default build/export/STUDY.")] = None,
) -> None:
    """Write a study's table, forest figure, captions and references for a paper; by default in every form."""
    from harness.results import results_of

    chosen: dict[Kind, bool] = {"latex": latex, "csv": csv, "pdf": pdf, "png": png}
    kinds = [kind for kind, wanted in chosen.items() if wanted] or list(chosen)
    for path in results_of(study, HERE).export(out or HERE / "build/export" / study.name, kinds):
        print(path)


@app.command(rich_help_panel=PANEL)
def tidy(
    study: StudyArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this it is listed.")] = False,
) -> None:
    """List runs that a study no longer declares, and caches that no record names; with --yes remove them."""
    from harness.pipeline import dvc, holder
    from harness.pipeline.tidy import tidy as tidied

    dvc.need_repository()
    with holder.alone(study, "tidy"):
        print("\n".join(tidied(study, HERE, yes)))
