"""`harness verify`: runs of a report re-run and held against their records; the outcome, printed and recorded."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from harness.data.packed import AGAIN, Packed
from harness.data.store import images_of
from harness.errors import UserError
from harness.files import write_json
from harness.grammar import counted
from harness.progress import say
from harness.record import Run, RunFolder, read_run
from harness.report.format import paragraphs
from harness.report.isolation import FILE, Verification, read_verified
from harness.report.runs import CANDIDATE
from harness.settings.load import load_candidate
from harness.settings.study import Study
from harness.verify.match import Made, Match, compare, noise_of, show
from harness.verify.rerun import Rerunner, other_bits

WITHIN = 3
"""Exit status where the bits are those of another machine, and the results agree within the noise of the seeds."""


def targets(study: Study, row: str | None, seed: int | None, everything: bool) -> dict[str, Path]:
    """The runs of a row (of every row with `everything`), of one seed or all: key -> folder below the repository.

    Raises `UserError`.
    """
    rows = [*study.variants, CANDIDATE]
    if (row is None) != everything:
        chosen = "no row" if row is None else f"the row {row} and --all"
        raise UserError(f"verify: got {chosen}; allowed: --all, or one of {', '.join(rows)}")
    if row is not None and row not in rows:
        raise UserError(f"verify: {study.name} has no row {row!r}; allowed: {', '.join(rows)}")
    seeds = ["none, the candidate has that of params.yaml"] if row == CANDIDATE else study.seeds
    if seed is not None and seed not in seeds:
        raise UserError(f"verify: --seed: got {seed}; allowed: {', '.join(map(str, seeds))}")
    if row == CANDIDATE:
        return {CANDIDATE: study.candidate_results}
    return {c.key: c.results for c in study.cells if row in (None, c.variant) and seed in (None, c.seed)}


def verify(
    study: Study, chosen: dict[str, Path], root: Path, *, jobs: int, steps: int | None, here: bool, threads: int | None
) -> int:
    """Make the chosen runs again, print what agrees and what does not, and record it beside the report.

    `steps`: the first steps alone; `here`: by the present code, not the recorded commit's; `threads`: with so many, not
    the recorded number. Returns the exit status: 0 where every run came out as recorded, `WITHIN` where the bits are
    another machine's and every run agrees within noise, 1 where one differs. Raises `UserError` when a run has no
    result, or cannot be re-run.
    """
    folders = {key: RunFolder.of(root / results) for key, results in chosen.items()}
    records = {key: read_run(folder) for key, folder in folders.items() if folder.config.exists()}
    if not records:
        raise UserError(f"no result of {', '.join(chosen)}: there is nothing to verify")
    for key in [key for key in chosen if key not in records]:
        say(f"{key}: no result of {key} in {chosen[key]}: there is nothing to verify")
    images = images_of(study, root)
    if images.content_hash() != images.manifest.hash:
        raise UserError(f"{images.folder}: damaged: its bytes are not those of its manifest; {AGAIN}")
    say(f"verify: {study.name}: {counted(len(records), 'run')} to re-run, {min(jobs, len(records))} at once")
    for line in other_bits(list(records.values())):
        print(line)
    status, failed = 0, list[str]()
    for key, made in _made(records, images, root, jobs, steps, here, threads):
        if isinstance(made, UserError):
            failed.append(str(made))
            say(f"{key}: not verified: {made}")
            continue
        match = compare(records[key], made, here)
        if not match.outcome.verified:
            others = _recorded(study, key, records[key], root)
            noise = noise_of(match, records[key], made, others, study.file.metric, len(records))
            match = replace(match, outcome=match.outcome.model_copy(update={"noise": noise}))
        print(*lines(key, match, bool(records[key].provenance.dirty) and not here), sep="\n", flush=True)
        if not match.outcome.verified and status != 1:
            status = WITHIN if match.outcome.within else 1
        _write(root, study, key, match.outcome)
    if len(failed) < len(records):
        _show(root, study)
    if failed:
        raise UserError(failed[0] if len(failed) == 1 else f"{len(failed)} runs not verified, the first: {failed[0]}")
    return status


def _recorded(study: Study, key: str, record: Run, root: Path) -> list[Run]:
    """The recorded runs of the variant that a run is of, on the same images; none for the candidate."""
    variant = next((cell.variant for cell in study.cells if cell.key == key), None)
    folders = [RunFolder.of(root / cell.results) for cell in study.cells if cell.variant == variant]
    runs = [read_run(folder) for folder in folders if folder.config.exists()]
    return [run for run in runs if run.images_hash == record.images_hash]


def _made(
    records: dict[str, Run], images: Packed, root: Path, jobs: int, steps: int | None, here: bool, threads: int | None
) -> Iterator[tuple[str, Made | UserError]]:
    data, content = images.folder.resolve(), images.manifest.hash

    def make(key: str, record: Run) -> Made | UserError:
        if content != record.hashes.data:
            # Nothing that follows could agree.
            return Made(False, {"data": content}, [], record.provenance.machine, record.provenance.versions)
        try:
            return rerunner.make(key, record, data, threads, steps)
        except UserError as error:
            return error

    with tempfile.TemporaryDirectory(prefix="harness-verify-") as folder:
        rerunner = Rerunner(root, Path(folder).resolve(), here)
        with rerunner.stopping(), ThreadPoolExecutor(jobs) as pool:
            tasks = {pool.submit(make, key, record): key for key, record in records.items()}
            for task in as_completed(tasks):
                yield tasks[task], task.result()


def lines(key: str, match: Match, dirty: bool) -> list[str]:
    """What is printed of one run. `dirty`: its record says that it was made with uncommitted changes."""
    head, *rest = paragraphs("verify", key=key, match=match, run=match.outcome, dirty=dirty, show=show)
    return [head, *(f"  {line}" for line in rest)]


def _lock(root: Path, study: Study) -> FileLock:
    lock = root / ".checkpoints" / f"verified-{study.name}.lock"
    lock.parent.mkdir(exist_ok=True)
    return FileLock(lock, fallback_to_soft=False)


def _write(root: Path, study: Study, key: str, new: Verification) -> None:
    """Add a verification to the report's; that the first steps agree does not replace that the whole run did."""
    path = root / study.folder / FILE
    with _lock(root, study):
        verified = read_verified(path)
        old = verified.get(key)
        if old and old.verified and old.whole and old.record == new.record and new.verified and not new.whole:
            return
        # In the order of their keys, so that the file does not depend on which run ended first.
        write_json(
            path,
            {
                name: one.model_dump(exclude=None if one.noise else {"noise"})
                for name, one in sorted((verified | {key: new}).items())
            },
        )


def _show(root: Path, study: Study) -> None:
    """Make the report again where there is one, to the byte as DVC's next `repro` does: it shows the outcome."""
    path = root / study.report
    if not path.exists():
        return
    from harness.report.build import render  # takes seconds, which a mistake in the command need not wait for

    try:
        # An interim report stays one; where looks are declared, the report knows by itself.
        early = not study.file.looks and path.read_text(encoding="utf-8").startswith("# Interim")
        candidate = load_candidate(root / "params.yaml") if study.is_default else None
        with _lock(root, study):
            render(study, candidate, root, early)
        say(f"verify: the outcome is in {study.folder / 'details.md'}")
    except UserError as error:
        say(f"verify: {study.report} does not show it yet, since it cannot be rendered: {error}")
