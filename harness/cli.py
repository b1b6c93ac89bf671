"""The command line: it parses, calls and prints. Everything heavy is imported where it is needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.settings.schema import Settings
    from harness.settings.study import Study

STUDY = Path("experiments/study.yaml")
CANDIDATE = Path("params.yaml")
CANDIDATE_NAME = "candidate"

app = typer.Typer(
    help="Ablations of AlexNet that can be believed: declared, paired, and re-run to the bit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StudyFile = Annotated[Path, typer.Argument(help="The study's file.")]
RequireClean = Annotated[
    bool | None,
    typer.Option(
        "--require-clean/--allow-dirty",
        help="Refuse code that no commit holds, or record its hash; by default a committed study refuses it.",
    ),
]


def main() -> None:
    """Run a command. A user's mistake is one line and exit status 2; told to stop, 130."""
    try:
        app()
    except UserError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("harness: stopped", file=sys.stderr)
        sys.exit(130)


@app.command()
def check(study: StudyFile = STUDY) -> None:
    """Check a study's file and params.yaml, and write the resolved settings of every run, before anything runs."""
    from harness.claims.schema import claims_of
    from harness.pipeline import check_pipeline
    from harness.settings.check import check_candidate, check_study, write_resolved
    from harness.settings.declared import record
    from harness.settings.study import load_study

    checked = load_study(study)
    for line in check_study(checked):
        print(f"warning: {line}")
    claims_of(checked, Path("."))
    if checked.is_default:
        write_resolved(checked, check_candidate(CANDIDATE, checked))
    else:
        check_pipeline(checked)
        write_resolved(checked, None)
    record(checked, Path("."))


@app.command()
def data(
    study: Annotated[Path, typer.Argument(help="The study's file, or the resolved settings of its images.")] = STUDY,
    out: Annotated[Path | None, typer.Option(help="Folder of the packed images.")] = None,
) -> None:
    """Decode and pack a study's images."""
    from harness.data.pack import pack
    from harness.settings.study import load_data, load_study

    if study.suffix == ".json":
        if out is None:
            raise UserError("data: --out: missing; name the folder of the packed images")
        pack(load_data(study), out)
        return
    checked = load_study(study)
    pack(checked.data, out or checked.packed)


@app.command()
def train(
    settings: Annotated[str, typer.Argument(help="params.yaml, or a study's file and variant: FILE:variants.NAME.")],
    seed: Annotated[int, typer.Option(min=0, help="The run's seed.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the packed images; by default the study's.")] = None,
    reuse: Annotated[Path | None, typer.Option(help="Folder of runs: an equal one in it is copied.")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Seconds between two checkpoints.")] = 20.0,
    require_clean: RequireClean = None,
) -> None:
    """Train one run, or go on with it where it was interrupted."""
    from harness.provenance import check_clean
    from harness.settings.study import load_run, load_study
    from harness.train.loop import Interrupted
    from harness.train.run import train as train_run

    resolved = load_run(settings)
    file, _, key = settings.partition(":")
    check_clean(require_clean, _study_of(file, key))
    if data is None:
        data = load_study(Path(file) if key else STUDY).packed
    command = f"python -m harness train {settings} --seed {seed} --out {out} --data {data}"
    try:
        train_run(resolved, seed, data, out, checkpoint_seconds, command, reuse)
    except Interrupted:
        print("harness: stopped; its state is saved, the same command goes on", file=sys.stderr)
        sys.exit(130)


def _study_of(file: str, key: str) -> Path | None:
    """The study's file that a run's settings come from: FILE:variants.NAME, or STUDY/resolved/NAME.json."""
    path = Path(file)
    if key:
        return path
    resolved = path.parent.name == "resolved" and path.stem != CANDIDATE_NAME
    return path.parent.parent / STUDY.name if resolved else None


@app.command("eval")
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[Path, typer.Argument(help="Folder of its results.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the packed images; by default the study's.")] = None,
) -> None:
    """Evaluate a run on every part of its images: centre crop and ten crops."""
    from harness.evaluate import evaluate as evaluate_run
    from harness.settings.study import load_study

    evaluate_run(run, data or load_study(STUDY).packed, out)


@app.command()
def report(
    study: StudyFile = STUDY,
    interim: Annotated[
        bool, typer.Option("--interim", help="Look before all runs are there: verdicts by the declared looks alone.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where the runs were not made alike, or more than a switch changed.")
    ] = False,
) -> None:
    """Write a study's report: tables, figures and the text, from the results of its cells."""
    from harness.report.render import render
    from harness.settings.study import load_study

    checked = load_study(study)
    print(render(checked, _candidate(checked), Path("."), interim))
    if strict:
        from harness.report.cells import read_results
        from harness.report.strict import faults

        found = faults(checked, read_results(checked, _candidate(checked), Path("."), interim))
        print("\n".join(f"strict: {line}" for line in found), end="\n" if found else "")
        if found:
            raise typer.Exit(1)


def _candidate(study: Study) -> tuple[Settings, int] | None:
    """The run of params.yaml, which stands beside the default study alone."""
    from harness.settings.study import load_candidate

    return load_candidate(CANDIDATE) if study.is_default else None


@app.command()
def plan(
    study: StudyFile = STUDY,
    write: Annotated[bool, typer.Option("--write", help="Write the study's cells.yaml and dvc.yaml.")] = False,
    rate: Annotated[float | None, typer.Option(min=0, help="Training images/s of the baseline, if known.")] = None,
    effect: Annotated[
        float | None, typer.Option(min=0.01, help="Points: the seeds that find such a difference.")
    ] = None,
    power: Annotated[float, typer.Option(min=0.5, max=0.99, help="With this probability.")] = 0.8,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Hours of training: the difference that they find.")
    ] = None,
) -> None:
    """Print what a study's plan comes to: its variants, its runs, what they cost, and what they can find."""
    from harness.cost import cost
    from harness.pipeline import write_pipeline
    from harness.settings.check import check_study
    from harness.settings.listing import list_variants
    from harness.settings.study import load_study

    checked = load_study(study)
    warnings = check_study(checked)
    print(list_variants(checked))
    print("\n".join([*(f"warning: {line}" for line in warnings), *cost(checked, rate)]))
    if effect or hours:
        from harness.report.cells import read_results
        from harness.report.planning import detectable_lines, seeds_lines
        from harness.report.tables import variant_rows

        rows = variant_rows(checked, read_results(checked, None, Path(".")))
        if effect:
            print("\n".join(seeds_lines(checked, rows, effect, power)))
        if hours:
            print("\n".join(detectable_lines(checked, rows, hours)))
    if write:
        if checked.is_default:
            raise UserError(f"{study}: is the study of dvc.yaml at the root, which is written by hand")
        for path in write_pipeline(checked):
            print(f"wrote {path}")


@app.command()
def ensemble(study: StudyFile = STUDY) -> None:
    """Average the nets of all seeds of the variants that a study names under `ensembles`, and write their errors."""
    from harness.ensemble import ensembles
    from harness.files import write_json
    from harness.settings.study import load_study

    checked = load_study(study)
    write_json(checked.folder / "ensembles.json", ensembles(checked, Path(".")))


@app.command()
def run(
    study: StudyFile = STUDY,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Cells at once.")] = 1,
    gpus: Annotated[str, typer.Option(help="GPUs to share out, as 0,1; by default every cell sees all.")] = "",
    require_clean: RequireClean = None,
) -> None:
    """Run a study's cells in parallel, then everything else: as `dvc repro`, faster."""
    import os

    from harness import pool, provenance
    from harness.progress import say
    from harness.settings.study import load_study

    check(study)
    provenance.check_clean(require_clean, study)
    if require_clean is False:
        os.environ[provenance.ALLOW_DIRTY] = "1"
    doctor(study, jobs)
    pipeline = load_study(study).pipeline
    pool.dvc("repro", *pool.upstream(pipeline), show=True)
    cells = pool.waiting(pipeline)
    say(f"run: {len(cells)} cells to run, {jobs} at once" if cells else "run: every cell is up to date")
    failed = pool.run_cells(cells, jobs, [gpu for gpu in gpus.split(",") if gpu], pipeline) if cells else []
    if failed:
        # DVC makes no report while a cell is missing; ours shows what is there, and what is not.
        report(study)
        raise UserError(
            f"run: {len(failed)} of {len(cells)} cells failed: "
            + "; ".join(f"{f} (see {pool.log_of(f, pipeline)})" for f in failed)
        )
    pool.dvc("repro", pipeline.as_posix(), show=True)


@app.command()
def doctor(
    study: StudyFile = STUDY, jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Cells at once.")] = 1
) -> None:
    """Say what a study would run, on which device, and about how long it takes."""
    from harness.estimate import outlook
    from harness.settings.study import load_study

    for line in outlook(load_study(study), jobs):
        print(line)


@app.command()
def publish(
    study: StudyFile = STUDY, mark: Annotated[Path | None, typer.Option(help="File that says: published.")] = None
) -> None:
    """Bring a study's runs and report to MLflow; what is there already is not doubled."""
    from harness.files import write_text
    from harness.settings.study import load_study
    from harness.tracking.publish import publish as publish_study

    checked = load_study(study)
    print(publish_study(checked, _candidate(checked), Path(".")))
    if mark:
        write_text(mark, "published\n")


@app.command()
def ui(
    study: StudyFile = STUDY, port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000
) -> None:
    """Open MLflow's interface on a study's comparison."""
    from harness.settings.study import load_study
    from harness.tracking.publish import publish as publish_study
    from harness.tracking.server import serve

    checked = load_study(study)
    published = publish_study(checked, _candidate(checked), Path("."))
    print(published)
    if published.down:
        raise UserError(
            f"ui: {published.uri} does not answer; start it, or unset MLFLOW_TRACKING_URI for the local one"
        )
    serve(checked, published, Path("."), port)


@app.command()
def describe(
    settings: Annotated[
        str, typer.Argument(help="params.yaml, or FILE:variants.NAME; without it the options alone.")
    ] = "",
    preset: Annotated[list[str] | None, typer.Option(help="Presets, later ones win.")] = None,
    geometry: Annotated[str | None, typer.Option(help="imagenet, medium or small.")] = None,
    gpus: Annotated[int | None, typer.Option(help="1 or 2.")] = None,
    depth: Annotated[str | None, typer.Option(help="full, or the layer to leave out: -conv3.")] = None,
    channels: Annotated[int, typer.Option(min=1, help="Channels of the images.")] = 3,
    classes: Annotated[int | None, typer.Option(min=2, help="Classes of the last layer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Draw the net into this file as well.")] = None,
) -> None:
    """Print the net's layers: shapes, parameters, neurons, multiply-accumulates."""
    import json

    from harness.files import write_text
    from harness.net.describe import as_text
    from harness.net.describe import describe as described
    from harness.net.draw import draw
    from harness.net.layout import layout
    from harness.settings.schema import CROPS
    from harness.settings.study import load_run, resolve

    given = {"preset": preset, "geometry": geometry, "gpus": gpus, "depth": depth}
    own = {key: value for key, value in given.items() if value is not None}
    if geometry and not preset:
        own["crop"] = CROPS.get(geometry, (224,))[0]
    if settings and own:
        raise UserError(f"describe: got {settings} and options; allowed: one of them")
    resolved = load_run(settings) if settings else resolve(own, "describe")
    rows = layout(resolved, channels, classes)
    if svg:
        write_text(svg, draw(rows, resolved.crop, channels))
    print(json.dumps(described(rows), indent=2) if as_json else as_text(rows))


@app.command()
def variants(
    study: Annotated[Path | None, typer.Argument(help="A study's file: its variants instead.")] = None,
    names: Annotated[bool, typer.Option("--names", help="Print the variants' names alone.")] = False,
) -> None:
    """List every setting with its allowed values, help, paper section and claims; or a study's variants."""
    from harness.settings.listing import list_settings, list_variants
    from harness.settings.study import load_study

    if study is None:
        print(list_settings())
    else:
        checked = load_study(study)
        print("\n".join(checked.variants) if names else list_variants(checked))


@app.command()
def verify(
    target: Annotated[Path, typer.Argument(metavar="REPORT_OR_STUDY", help="reports/NAME.md, or a study's file.")],
    row: Annotated[str | None, typer.Argument(help="A variant, or candidate.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Its run with this seed; without it, every seed.")] = None,
    quick: Annotated[int | None, typer.Option(min=1, help="Its first steps alone, so many.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every row.")] = False,
    here: Annotated[bool, typer.Option("--here", help="By the present code, not the recorded commit's.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="CPU threads, not the recorded number.")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Runs at once.")] = 1,
) -> None:
    """Make runs of a report again and compare them with their records to the bit; exit status 1 where they differ."""
    from harness.verify.rows import find_study, targets
    from harness.verify.verify import verify as verify_runs

    study = find_study(target, Path("."))
    chosen = targets(study, row, seed, everything)
    if not verify_runs(study, chosen, Path("."), jobs=jobs, steps=quick, here=here, threads=threads):
        raise typer.Exit(1)


env = typer.Typer(help="The environment that numbers come from.", no_args_is_help=True)
app.add_typer(env, name="env")


@env.command("export")
def env_export(out: Annotated[Path | None, typer.Argument(help="File; without it, print.")] = None) -> None:
    """Write machine, versions and packages of this environment as JSON."""
    import json

    from harness.files import write_json
    from harness.verify.environment import environment

    if out:
        write_json(out, environment())
    else:
        print(json.dumps(environment(), indent=2))


@env.command("compare")
def env_compare(other: Annotated[Path, typer.Argument(help="An exported file, or a run's provenance.json.")]) -> None:
    """Say in what this environment differs from another; exit status 1 where it does."""
    from harness.verify.environment import differences, environment, read_environment

    found = differences(read_environment(other), environment())
    print("\n".join(found) if found else "no difference")
    if found:
        raise typer.Exit(1)


@app.command()
def gallery(
    study: StudyFile = STUDY,
    variant: Annotated[str | None, typer.Option(help="The variant; by default the baseline.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Its seed; by default the study's first.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the packed images; by default the study's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; by default reports/STUDY/gallery.")] = None,
) -> None:
    """Draw one run: kernels, answers, nearest neighbours, confusion, augmentations, response normalisation."""
    from harness.gallery.render import find_cell, render
    from harness.settings.study import load_study

    checked = load_study(study)
    cell = find_cell(checked, variant, seed)
    render(cell, Path("runs") / checked.name / cell.key, data or checked.packed, out or checked.folder / "gallery")


@app.command()
def claims(
    ids: Annotated[list[str] | None, typer.Argument(help="Claims, as C26; without it, all.")] = None,
    study: Annotated[
        Path | None, typer.Option(help="A study's file: its verdicts from the results that are there.")
    ] = None,
    file: Annotated[Path, typer.Option(help="The file of claims.")] = Path("experiments/claims.yaml"),
) -> None:
    """List the paper's claims and what tests them; or, with a study, their verdicts."""
    from harness.claims.listing import list_claims
    from harness.claims.schema import load_claims
    from harness.report.cells import read_results
    from harness.report.ledger import verdicts
    from harness.settings.study import load_study

    known = load_claims(file)
    for wanted in ids or []:
        if wanted not in known:
            raise UserError(f"claims: got {wanted!r}; allowed: {', '.join(known)}")
    chosen = {name: known[name] for name in ids or known}
    if study is None:
        print(list_claims(chosen))
    else:
        checked = load_study(study)
        print(verdicts(chosen, checked, read_results(checked, None, Path(".")), Path(".")))


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="A report's folder, or a git revision with its report.")],
    new: Annotated[str, typer.Argument(metavar="B", help="The same, newer.")],
    study: Annotated[Path, typer.Option(help="The study's file: which report of a revision is read.")] = STUDY,
    csv: Annotated[Path | None, typer.Option(help="Write the rows into this file as well.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all of it into this file as well.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit status 1 where a verdict changed.")] = False,
) -> None:
    """Compare two reports: each row's estimates, whether they agree, and which verdicts changed, and why."""
    from harness.diff.compare import compare
    from harness.diff.listing import COLUMNS, as_json, rows, table
    from harness.diff.sides import read_side
    from harness.diff.source import open_source
    from harness.files import write_csv, write_json
    from harness.settings.study import load_study

    folder = load_study(study).folder
    one, other = (read_side(open_source(given, folder)) for given in (old, new))
    changes = compare(one, other)
    print(table(one, other, changes))
    if csv:
        write_csv(csv, rows(changes), COLUMNS)
    if json:
        write_json(json, as_json(one, other, changes))
    if check and any(change.verdict_changed for change in changes):
        raise typer.Exit(1)


@app.command()
def calibrate(
    out: Annotated[Path, typer.Option(help="Folder of tables and figures; the report is beside it, as OUT.md.")] = Path(
        "reports/calibration"
    ),
    studies: Annotated[int, typer.Option(min=100, help="Simulated studies a cell.")] = 10_000,
) -> None:
    """Simulate how often the tests err and what they find, and write the report on it."""
    from harness.report.calibration import calibrate as simulate

    print(simulate(out, studies, Path(".")))
