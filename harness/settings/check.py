"""What can be known to be wrong before anything runs, beyond each file by itself."""

from pathlib import Path

from harness.errors import UserError
from harness.settings.load import declared_names, load_candidate
from harness.settings.schema import DataSettings, Settings
from harness.settings.study import DEFAULT, TOP5_CLASSES, Study, top_of

SOURCES: dict[str, tuple[int, int, int | None, int | None]] = {
    "fashion-mnist-8k": (1, 28, 10, 3500),
    "fashion-mnist": (1, 28, 10, 54000),
    "cifar10": (3, 32, 10, 45000),
    "cifar100": (3, 32, 100, 45000),
    "stl10": (3, 96, 10, 4500),
    "imagenette": (3, 256, 10, 8522),
    "imagenet": (3, 256, 1000, 1153050),
    "folder": (3, 256, None, None),
    "python": (3, 256, None, None),
    "synthetic": (3, 32, 10, 460),
}
"""Of each source: channels, side of the stored images, classes, images that are left to train without the validation.

The last is for an estimate before they are packed; images of a folder are known then alone.
"""


def check_run(settings: Settings, data: DataSettings, where: str) -> None:
    """Hold a run's settings against what is known of its images. Raises `UserError`."""
    channels, side, classes, training = SOURCES[data.source]
    size = data.size or side
    images = min(filter(None, (training, data.train_limit)), default=settings.batch)
    grey = f"the images of {data.source} are grey: colour noise needs three channels"
    for key, wrong, fact, allowed in (
        ("colour", settings.augment and settings.colour > 0 and channels == 1, grey, "0"),
        ("crop", settings.crop > size, f"the images are {size} x {size}", f"at most {size}"),
        ("batch", settings.batch > images, f"there are at most {images:,} training images", "at most as many"),
        ("classes", classes and settings.classes not in (None, classes), f"{data.source} has {classes}", classes),
    ):
        if wrong:
            raise UserError(f"{where}: {key}: got {getattr(settings, key)}, but {fact}; allowed: {allowed}")


def check_name(study: Study) -> None:
    """Refuse a name that another study has, or another page of reports/, which would be lost. Raises `UserError`."""
    for path, name in declared_names().items():
        if name == study.name and path.resolve() != study.path.resolve():
            raise UserError(f"{study.path}: name: got {study.name!r}, which {path} has; each name is allowed once")
    page = study.report
    ours = not page.is_file() or (study.folder / "variants.csv").exists()  # or its folder is gone, and the page left
    if not ours and f"{study.name}/details.md" not in page.read_text(encoding="utf-8", errors="replace"):
        raise UserError(
            f"{study.path}: name: got {study.name!r}, but {page} is another page, no report of a study; take another "
            "name, or remove that page"
        )


def check_study(study: Study) -> list[str]:
    """Check a study's name and every variant; returns warnings, a line each. Raises `UserError`."""
    check_name(study)
    if study.data.source in ("folder", "python") and not study.data.root:
        what = "folder that holds" if study.data.source == "folder" else "Python file that gives"
        raise UserError(f"{study.path}: data.root: missing; the {what} the images is allowed")
    for name, settings in study.variants.items():
        check_run(settings, study.data, f"{study.path}: variants.{name}")
    _, side, classes, _ = SOURCES[study.data.source]
    # Classes of a folder are known before it is packed where a variant says how many it takes.
    known = [number for number in (classes, *(s.classes for s in study.variants.values())) if number]
    # Evaluation leaves top-5 out where there are few classes: that would show when all runs are made.
    if top_of(study.file.metric) == 5 and known and known[0] < TOP5_CLASSES:
        raise UserError(
            f"{study.path}: metric: got {study.file.metric}, but the images have {known[0]} classes; allowed: a top-1 "
            f"error (with fewer than {TOP5_CLASSES} classes top-5 is not measured)"
        )
    lines = _same(study)
    idle: dict[str, list[str]] = {}
    for name, settings in study.variants.items():
        for line in unreached(settings):
            idle.setdefault(line, []).append(name)
    lines += [f"{study.path}: {line} (variants {', '.join(names)})" for line, names in idle.items()]
    side, crop = study.data.size or side, study.variants[study.baseline].crop
    if 2 * crop <= side:
        lines.append(
            f"{study.path}: data.size: crops of {crop} see {100 * crop**2 / side**2:.1f} % of images of {side} x "
            f"{side}; set data.size to some pixels more than {crop}"
        )
    return lines


def unreached(settings: Settings) -> list[str]:
    """Points in time that no epoch of a run reaches, so that the setting changes nothing; a line each."""
    epochs = settings.epochs
    done = [epoch / epochs for epoch in range(epochs)]  # part of the run before each epoch
    slow = any(settings.conv1_slow <= part < settings.conv1_freeze for part in done)
    drops = settings.drops if settings.schedule == "fixed" else []
    points = [
        ("colour_until", settings.colour_until, settings.colour_until == 1 or settings.colour_until <= done[-1]),
        ("conv1_freeze", settings.conv1_freeze, settings.conv1_freeze == 1 or settings.conv1_freeze <= done[-1]),
        # At rest at once is how a run without a slow phase is declared.
        ("conv1_slow", settings.conv1_slow, slow or settings.conv1_slow in (1, settings.conv1_freeze)),
        *(("drops", drop, drop <= done[-1] + 1e-9) for drop in drops),
    ]
    lines = [
        f"{name}: {point:.3g} is reached in none of {epochs} epochs" for name, point, reached in points if not reached
    ]
    if settings.schedule == "plateau" and settings.patience >= epochs - 1:
        lines.append(f"patience: {settings.patience} epochs without a better error do not fit in {epochs}: no drop")
    return lines


def _same(study: Study) -> list[str]:
    """Variants with the settings of one before: runs that tell nothing, as of factors that set the same key."""
    first: dict[str, str] = {}
    lines = []
    for name in sorted(study.variants, key=lambda one: one != study.baseline):
        known = first.setdefault(study.variants[name].model_dump_json(), name)
        if known == study.baseline != name:
            lines.append(f"{study.path}: variants.{name}: nothing differs from {study.baseline}")
        elif known != name:
            lines.append(f"{study.path}: variants.{name}: the same settings as {known}")
    return lines


def check_default(study: Study) -> None:
    """Refuse in the default study what dvc.yaml at the root does not read: DVC would never run it. Raises `UserError`.

    That file takes `name`, `seeds`, `baseline` and `variants` from the study's own.
    """
    for key in ("extends", "plan"):
        if getattr(study.file, key):
            raise UserError(
                f"{study.path}: {key}: dvc.yaml at the root does not read it; allowed: in a study's folder, as "
                f"{DEFAULT.parent}/NAME/{DEFAULT.name}"
            )


def check_candidate(path: Path, study: Study) -> tuple[Settings, int]:
    """Check params.yaml against the study's images; returns its settings and seed. Raises `UserError`."""
    settings, seed = load_candidate(path)
    check_run(settings, study.data, str(path))
    return settings, seed
