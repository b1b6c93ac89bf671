"""What the stages of a study depend on beside its images: `harness check` writes it, DVC reads single keys of it."""

from pathlib import Path
from typing import Any

from harness.data.watch import mark
from harness.errors import UserError
from harness.files import hash_file, hash_json, read_json, write_json
from harness.identity.code import PROVEN, SCOPES, digest
from harness.identity.known import identity
from harness.record import RunFolder
from harness.settings.schema import DataSettings, Settings, sparse
from harness.settings.study import Cell, Study
from harness.shipped import found

SHORT = 8
"""Characters of a hash: enough to tell two states apart; dvc.lock has several for each run."""


def short_hash(settings: Settings | DataSettings) -> str:
    """Hash of a run's or the images' settings, as the stages depend on it."""
    values = sparse(settings) if isinstance(settings, Settings) else settings.model_dump(exclude_defaults=True)
    return hash_json(values)[:SHORT]


def write_checked(study: Study, candidate: tuple[Settings, int] | None, root: Path) -> None:
    """Write what the stages of a study depend on beside the images: hashes of settings, and identities of the code.

    One key a variant, so that a change runs the runs of that variant again and no others. A variant that starts from
    another study's runs depends on these, too.
    """
    runs = {name: _with_start(settings, study, root) for name, settings in study.variants.items()}
    claims = hash_file(found(Path(study.file.claims), root)) if study.file.claims else None
    if candidate:
        runs["candidate"] = hash_json([short_hash(candidate[0]), candidate[1]])[:SHORT]
    # Where weights are kept changes no result.
    source = [mark(study.data)] if study.data.source == "python" else []
    own = {name: hash_file(root / file) for name, file in study.file.metrics.items()}
    declared = study.file.model_dump(mode="json", exclude={"weights", *([] if own else ["metrics"])})
    values = {
        "code": {scope: (identity if scope in PROVEN else digest)(scope)[:SHORT] for scope in SCOPES},
        "data": hash_json([short_hash(study.data), *source])[:SHORT] if source else short_hash(study.data),
        "study": hash_json([declared, study.declaration, claims, *([own] if own else [])])[:SHORT],
        "settings": runs,
    }
    write_json(root / study.checked, values)


def _with_start(settings: Settings, study: Study, root: Path) -> str:
    """Hash of a variant's settings and, where it starts from another study's runs, of these."""
    if not settings.pretrained:
        return short_hash(settings)
    source, _, variant = settings.pretrained.partition("/")
    records = [root / RunFolder.of(Cell(source, variant, seed).results).config for seed in study.seeds]
    marks = [read_json(path)["fingerprint"] if path.exists() else None for path in records]
    return hash_json([short_hash(settings), *marks])[:SHORT]


def check_settings(study: Study, variant: str | None, settings: Settings, seed: int, root: Path) -> None:
    """Refuse to train settings that are not those which `harness check` saw last: DVC would record them as others.

    `variant`: of the study, None for the candidate. Raises `UserError`.
    """
    path = root / study.checked
    if not path.exists():
        raise UserError(f"{path}: no such file; run: harness check {study.name}")
    known: dict[str, Any] = read_json(path).get("settings", {})
    digest = _with_start(settings, study, root) if variant else hash_json([short_hash(settings), seed])[:SHORT]
    if known.get(variant or "candidate") != digest:
        raise UserError(f"{study.path}: {variant or 'the candidate'} changed since `harness check`; run it again")
