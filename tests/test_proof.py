"""That only the switch changed is shown from the runs' records, and a row of which it is not true fails."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clones import write
from conftest import TINY, commit, git
from fake_study import STUDY, alter, diverge, make_results, make_study
from reading import by_first, section, tables_of, told, warnings_of
from typer.testing import CliRunner

from harness import provenance
from harness.cli import app
from harness.data.store import images_of, pack_study
from harness.errors import UserError
from harness.evaluate import evaluate
from harness.identity.known import Known, Machine, Proof
from harness.provenance import check_clean, committed
from harness.record import RunFolder, read_run
from harness.report import build, figures, runs
from harness.report.build import faults
from harness.report.findings import Findings
from harness.report.isolation import PROOF_COLUMNS, IsolationCheck, compare, proofs
from harness.report.runs import Results, present_code, read_results
from harness.settings import declared
from harness.settings.load import load_study
from harness.settings.study import Study
from harness.train.run import train

REPOSITORY = Path(__file__).parent.parent

SHORT = TINY | {"epochs": 1}

TINY_STUDY: dict[str, Any] = {
    "name": "tiny", "title": "Tiny", "purpose": "Tests.",
    "data": {"source": "synthetic", "train_limit": 120, "test_limit": 20}, "seeds": [0], "variants": {"base": SHORT},
}  # fmt: skip

SWITCHES: dict[str, tuple[dict[str, Any], set[str], set[str]]] = {
    # variant: what it changes, streams that this moves, layers whose initial weights it affects
    "no-lrn": ({"lrn": False}, set(), set()),
    "no-dropout": ({"dropout": 0.0}, set(), set()),
    "no-augment": ({"augment": False}, {"augmentation stream"}, set()),
    "no-colour": ({"colour": 0.0}, {"augmentation stream"}, set()),
    "divided": ({"colour_divide": 1.1}, set(), set()),
    "one-order": ({"reshuffle": False}, {"batch order"}, set()),
    "batch-16": ({"batch": 16}, {"augmentation stream"}, set()),
    "longer": ({"epochs": 2}, {"batch order", "augmentation stream"}, set()),
    "larger-crop": ({"crop": 32}, {"augmentation stream"}, {"fc6"}),
    "one-gpu": ({"gpus": 1}, set(), {"conv1", "conv2", "conv3", "conv4"}),
    "no-conv4": ({"depth": "-conv4"}, set(), {"conv4"}),
    "flat-bias": ({"bias_init": 0.0}, set(), {"conv2", "conv4", "conv5", "fc6", "fc7"}),
    "wide-init": ({"init_std": 0.02}, set(), {"conv1", "conv2"}),
    "narrow-fc": ({"fc_width": 8}, set(), {"fc6", "fc7", "fc8"}),
    "bfloat16": ({"precision": "bfloat16"}, set(), set()),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study of many switches, each really run."""
    root = tmp_path_factory.mktemp("real")
    variants = {"base": SHORT} | {name: SHORT | changes for name, (changes, _, _) in SWITCHES.items()}
    write(root / "study.yaml", TINY_STUDY | {"name": "switches", "variants": variants})
    study = load_study(root / "study.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        pack_study(study, root)
        packed = images_of(study, root)
        for cell in study.cells:
            files = RunFolder.of(root / cell.results)
            train(study.variants[cell.variant], cell.seed, packed, files.training, 1e9, "test")
            evaluate(read_run(files), cell.key, packed, files.evaluation)
    return study, root


@pytest.mark.parametrize("variant", SWITCHES)
def test_a_run_moves_what_its_switch_declares_to_move_and_no_more(real: tuple[Study, Path], variant: str) -> None:
    (pair,) = checks(*real)[variant].pairs
    changes, moved, affected = SWITCHES[variant]
    assert pair.failures == pair.unshown == []
    assert pair.changed == sorted(changes)
    assert set(pair.moved) == moved
    # conv5 of the one-GPU net has the shape that it has in two columns, though it sees other kernels.
    assert set(pair.initial_affected) == affected
    assert not set(pair.initial_equal) & affected


def checks(study: Study, root: Path) -> dict[str, IsolationCheck]:
    return {check.variant: check for check in proofs(study, read_results(study, None, root))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of many seeds whose results are made up, with the hashes that real ones have."""
    root = tmp_path_factory.mktemp("made")
    study = make_study(root)
    make_results(study, root)
    declared.record(study, root)
    return root


@pytest.fixture
def fake(made: Path, tmp_path: Path) -> tuple[Study, Path]:
    """The same study, to be changed."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return load_study(tmp_path / "experiments" / "study.yaml"), tmp_path


def change(root: Path, key: str, name: str, how: Callable[[Any], object]) -> None:
    """Change a record of a run of the fake study."""
    alter(root / f"reports/components/runs/{key}/{'eval' if name == 'metrics' else 'train'}/{name}.json", how)


def findings(study: Study, root: Path, early: bool = False) -> Findings:
    return Findings(study, read_results(study, None, root, early), None, root)


def test_an_honest_study_is_proven_on_every_seed(fake: tuple[Study, Path]) -> None:
    study, _ = fake
    by_variant = checks(*fake)
    assert list(by_variant) == [name for name in study.variants if name != study.baseline]
    assert {(check.verdict, len(check.pairs)) for check in by_variant.values()} == {("proven", len(study.seeds))}


def test_an_undeclared_change_of_settings_in_the_baseline_leaves_every_row_a_pair_less(
    fake: tuple[Study, Path],
) -> None:
    study, root = fake
    change(root, "base-0", "config", lambda values: values["settings"].update(workers=3))
    assert checks(*fake)["no-lrn"].verdict == "proven", "the number of workers changes no number"
    change(root, "base-0", "config", lambda values: values["settings"].update(lr=0.02))
    for check in checks(*fake).values():  # stale runs are not compared
        assert (check.alone, len(check.pairs)) == ([0], len(study.seeds) - 1)


@pytest.mark.parametrize(
    ("name", "how", "why"),
    [
        ("provenance", lambda v: v["hashes"].update(batch_order="x"), "batch order"),
        ("provenance", lambda v: v["hashes"].update(data="x"), "data"),
        ("config", lambda v: v["data"].update(hash="x"), "images"),
        ("provenance", lambda v: v["hashes"]["initial"].update(conv3="x"), "initial weights of conv3"),
        ("provenance", lambda v: v["hashes"]["initial"].pop("fc7"), "fc7"),
        ("provenance", lambda v: v["machine"].update(threads=8), "threads: 1 against 8"),
        ("provenance", lambda v: v["versions"].update(torch="9"), "torch: 2.9.0 against 9"),
    ],
)
def test_whatever_else_differs_fails_the_row_and_is_named(
    fake: tuple[Study, Path], name: str, how: Callable[[Any], object], why: str
) -> None:
    change(fake[1], "no-lrn-2", name, how)
    by_variant = checks(*fake)
    assert {variant: check.verdict for variant, check in by_variant.items() if check.verdict != "proven"} == {
        "no-lrn": "fails"
    }
    ((seed, (failure,)),) = [(pair.seed, pair.failures) for pair in by_variant["no-lrn"].pairs if pair.failures]
    assert seed == 2
    assert failure.startswith(why)


def test_a_stream_may_move_only_where_the_switch_says_so(fake: tuple[Study, Path]) -> None:
    for variant in ("no-augment", "no-dropout"):
        change(fake[1], f"{variant}-1", "provenance", lambda values: values["hashes"].update(augmentation="x"))
    by_variant = checks(*fake)
    assert (by_variant["no-augment"].verdict, by_variant["no-dropout"].verdict) == ("proven", "fails")
    assert by_variant["no-augment"].pairs[1].moved == ["augmentation stream"]
    change(fake[1], "no-augment-1", "provenance", lambda values: values["hashes"].update(batch_order="x"))
    assert checks(*fake)["no-augment"].verdict == "fails"


def test_what_a_diverged_run_cannot_show_is_said_and_a_missing_one_left_open(fake: tuple[Study, Path]) -> None:
    study, root = fake
    diverge(root / "reports/components/runs/tanh-0", 3)
    change(root, "tanh-0", "provenance", lambda v: v["hashes"].update(batch_order="x", augmentation="x"))
    for seed in study.seeds:
        shutil.rmtree(root / f"reports/components/runs/no-decay-{seed}")
    tanh, decay = (checks(*fake)[variant] for variant in ("tanh", "no-decay"))
    assert tanh.verdict == "proven"
    assert [bool(pair.unshown) for pair in tanh.pairs] == [True, False, False, False, False]
    assert (decay.verdict, decay.alone) == ("open", study.seeds)


def test_the_report_and_its_csv_hold_the_proof(fake: tuple[Study, Path]) -> None:
    study, root = fake
    change(root, "no-lrn-2", "provenance", lambda values: values["hashes"].update(batch_order="x"))
    report = told(study, root)
    (table,) = tables_of(section(report.details, "Isolation check"))
    assert list(by_first(table)) == list(study.variants)
    assert [name for name, cells in by_first(table).items() if cells[1].startswith("**")] == ["no-lrn"]
    assert "batch order" in by_first(table)["no-lrn"][1]
    assert any("`no-lrn`" in line for line in warnings_of(report.page))
    rows = report.csv("proof")
    assert list(rows[0]) == PROOF_COLUMNS
    assert [f"{row['variant']}-{row['seed']}" for row in rows] == [c.key for c in study.cells if c.variant != "base"]
    failing = [(row["variant"], row["seed"], row["why"]) for row in rows if row["verdict"] != "proven"]
    assert failing == [("no-lrn", "2", "batch order differs")]


# ---- rows that were not made alike, that uncommitted, and what made a number


def test_rows_that_were_not_made_alike_are_grouped_and_strict_fails(fake: tuple[Study, Path]) -> None:
    study, root = fake
    assert faults(findings(study, root)) == []
    assert [one.name for one in findings(study, root).conditions if one.matters and one.mixed] == []
    changed = {
        "images": ("data", "hash", "x" * 64), "device": ("machine", "device_name", "Other"),
        "threads": ("machine", "threads", 8), "instructions": ("machine", "instructions", "AVX512"),
        "torch": ("versions", "torch", "9.9"), "numpy": ("versions", "numpy", "9.9"),
        "CUDA": ("versions", "cuda", "13.0"),
    }  # fmt: skip
    for group, name, value in changed.values():
        for key in ("no-lrn-1", "no-lrn-2"):
            record = "config" if group == "data" else "provenance"
            change(root, key, record, lambda values, g=group, n=name, v=value: values[g].update({n: v}))  # type: ignore[misc]
    made_alike = findings(study, root)
    mixed = {one.name: one.groups for one in made_alike.conditions if one.matters and one.mixed}
    assert set(mixed) == set(changed)
    for name, (_, _, value) in changed.items():
        values = list(mixed[name])
        assert str(value)[:12] in values[-1]
        assert [cell.key for cell in mixed[name][values[-1]]] == ["no-lrn-1", "no-lrn-2"]
    report = told(study, root)
    rows = by_first(tables_of(section(report.details, "What was held fixed"))[-1])
    assert {name.strip("*") for name in rows if name.startswith("**")} == set(changed)
    assert any(set(changed) <= set(re.findall(r"\w+", line)) for line in warnings_of(report.page))
    lines = faults(made_alike)
    assert {line.partition(":")[0] for line in lines} == {*changed, "no-lrn"}
    assert all("no-lrn-1, no-lrn-2" in line for line in lines if not line.startswith("no-lrn:"))


@pytest.mark.parametrize(
    ("record", "key", "fault"), [("provenance", "dirty", "no-lrn: "), ("metrics", "weights", "weights: ")]
)
def test_a_run_of_uncommitted_code_or_of_errors_of_other_weights_is_marked(
    fake: tuple[Study, Path], record: str, key: str, fault: str
) -> None:
    study, root = fake
    change(root, "no-lrn-2", record, lambda values: values.update({key: "a" * 64}))
    report = told(study, root)
    assert any("`no-lrn` 2" in line for line in warnings_of(report.page))
    (line,) = faults(findings(study, root))
    assert line.startswith(fault)
    assert line.endswith(": no-lrn-2")
    if key == "dirty":
        table = tables_of(section(report.details, "Variants"))[0]
        assert [row["variant"] for row in table if "†" in row["variant"]] == ["`no-lrn` †"]
        assert [(r["variant"], r["seed"]) for r in report.csv("cells") if r["dirty"] == "a" * 64] == [("no-lrn", "2")]


def in_folder(study: Study, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    # No figures are looked at here, and they take most of the time.
    for name in ("forest", "seeds", "power", "curves"):
        monkeypatch.setattr(figures, name, lambda *_: b"")
    (root / "params.yaml").write_text(json.dumps(study.variants["base"].model_dump() | {"seed": 0}))


STRICT = ["report", "experiments/study.yaml", "--strict"]


def test_strict_is_an_exit_status_and_the_report_is_there_all_the_same(
    fake: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, root = fake
    in_folder(study, root, monkeypatch)
    assert CliRunner().invoke(app, STRICT).exit_code == 0
    change(root, "no-lrn-2", "provenance", lambda values: values["hashes"].update(batch_order="x"))
    (root / study.report).unlink()
    done = CliRunner().invoke(app, STRICT)
    assert done.exit_code == 1
    assert re.search(r"(?m)^strict: no-lrn: .*batch order", done.output)
    assert (root / study.report).exists()
    assert CliRunner().invoke(app, STRICT[:2]).exit_code == 0


def test_strict_fails_where_runs_are_missing_or_stale_and_not_where_they_diverged(fake: tuple[Study, Path]) -> None:
    study, root = fake
    runs = root / study.folder / "runs"
    diverge(runs / "tanh-0", 3)
    assert faults(findings(study, root)) == []
    for key in ("no-lrn-1", "no-decay-0", "no-decay-4"):
        shutil.rmtree(runs / key)
    change(root, "one-gpu-2", "config", lambda values: values["settings"].update(lr=0.02))
    (line,) = [line for line in faults(findings(study, root)) if line.startswith("runs: ")]
    assert [int(number) for number in re.findall(r"\b\d+\b", line.partition(":")[2])][:3] == [3, 1, 40]
    assert {"no-lrn-1", "one-gpu-2", "no-decay-0"} <= set(re.findall(r"[\w-]+", line))
    early = faults(findings(study, root, early=True))
    assert not any(line.startswith("runs:") for line in early), "a look before all runs are there was asked for"


def test_runs_of_another_numerics_identity_are_stale_and_counted_alike_everywhere(
    fake: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, root = fake
    in_folder(study, root, monkeypatch)
    change(root, "no-lrn-2", "provenance", lambda values: values["hashes"].update(code="y" * 64))
    change(root, "tanh-0", "metrics", lambda values: values.update(code="z" * 64))
    change(root, "tanh-1", "metrics", lambda values: values.pop("code"))
    notes = {cell.key: cell.note for cell in read_results(study, None, root).cells if cell.status == "stale"}
    assert list(notes) == ["no-lrn-2", "tanh-0", "tanh-1"]
    assert all(word in note for word, note in zip(("y" * 12, "z" * 12, "unknown"), notes.values(), strict=True))
    assert checks(*fake)["no-lrn"].alone == [2]
    done = CliRunner().invoke(app, STRICT)
    assert done.exit_code == 1
    assert re.search(r"strict: runs: 3 .*\b40\b.*no-lrn-2, tanh-0, tanh-1", done.output)
    assert doctors_stale_runs() == 3
    monkeypatch.setattr(runs, "identity", lambda scope: "n" * 64)
    (line,) = [line for line in faults(findings(study, root)) if line.startswith("runs: ")]
    assert line.startswith("runs: 40 ")
    assert doctors_stale_runs() == 40


def doctors_stale_runs() -> int:
    """Stale runs of all reasons, as `harness doctor` counts them."""
    output = CliRunner().invoke(app, ["doctor"], catch_exceptions=False).output
    return sum(int(number) for number in re.findall(r"(?m)^stale: (\d+) runs?: ", output))


def test_a_pair_of_two_numerics_identities_is_no_proof(fake: tuple[Study, Path]) -> None:
    study, root = fake
    results = read_results(study, None, root)
    base, run = (results.finished(name)[0] for name in ("base", "no-lrn"))
    nets = study.variants["base"], study.variants["no-lrn"]
    assert compare(["lrn"], nets, base, run).failures == []
    # The second is equal as far as it is shown.
    for code in ("y" * 64, run.hashes.code[:-1] + "y"):
        hashes = run.hashes.model_copy(update={"code": code})
        other = dataclasses.replace(run, provenance=run.provenance.model_copy(update={"hashes": hashes}))
        (failure,) = compare(["lrn"], nets, base, other).failures
        assert failure.startswith("numerics identity")


def test_the_report_says_under_which_numerics_identity_and_by_which_proof(
    monkeypatch: pytest.MonkeyPatch, fake: tuple[Study, Path]
) -> None:
    results = read_results(fake[0], None, fake[1])
    entered = Known(data={}, train={}, eval={})
    monkeypatch.setattr(build, "digest", lambda scope: "d" * 64)
    monkeypatch.setattr(build, "read_known", lambda: entered)
    assert "`dddddddddddd`" in build.identity_text(results)
    machine = Machine(cpu="AMD EPYC", instructions="AVX2", torch="2.9.0")
    proof = Proof(
        digest="d" * 64, commit="0123456789abcdef", machine=machine, probes=12, against="b" * 64, when="2026-11-28"
    )
    entered = entered.entered("train", "a" * 64, proof)
    for word in ("`aaaaaaaaaaaa`", " 12 ", "AMD EPYC", "AVX2", "2.9.0", "`0123456789ab`", "2026-11-28"):
        assert word in build.identity_text(results)
    assert build.identity_text(Results([], None, present_code()))


def test_strict_fails_where_the_declaration_is_not_the_one_that_was_seen(fake: tuple[Study, Path]) -> None:
    study, root = fake
    (root / declared.path_of(study)).unlink()
    (line,) = faults(findings(study, root))
    assert line.startswith(f"declaration: {declared.path_of(study)} ")
    declared.record(study, root)
    assert faults(findings(study, root)) == []
    looser = make_study(root, STUDY.replace("seeds:", "margin: 0.5\nconfidence: 0.9\nseeds:"))
    (line,) = faults(findings(looser, root))
    assert line.startswith("declaration: ")
    assert "confidence, margin" in line
    assert faults(findings(looser, root, early=True)) == [line], "an early look is held to its declaration too"
    declared.record(looser, root)
    assert faults(findings(looser, root)) == []


def test_strict_passes_on_the_studies_whose_reports_are_here() -> None:
    for path in sorted((REPOSITORY / "experiments").rglob("study.declared.json")):
        lines = faults(findings(load_study(path.with_name("study.yaml")), REPOSITORY))
        assert not [line for line in lines if line.startswith(("runs:", "declaration:"))], path


def test_each_number_carries_its_runs_and_their_command(fake: tuple[Study, Path]) -> None:
    study, root = fake
    report = told(study, root)
    ran = {cell.key: cell.run for cell in read_results(study, None, root).cells if cell.run}
    for row in report.csv("variants") + report.csv("images"):
        runs = dict(part.split(": ") for part in row["runs"].split("; "))
        assert list(runs) == [str(seed) for seed in study.seeds]
        for seed, fingerprint in runs.items():
            assert ran[f"{row['variant']}-{seed}"].fingerprint[:12] == fingerprint
        both = "base" if row["variant"] == "base" else f"{row['variant']},base"
        assert row["command"] == f"harness run components --force --only {both}"
    for row in report.csv("cells"):
        key = f"{row['variant']}-{row['seed']}"
        # By its present name, whatever its record says.
        command = f"python -m harness train components:{key}"
        assert (row["fingerprint"], row["command"]) == (ran[key].fingerprint, command)


COMPUTES = ("net/lrn.py", "evaluate.py", "data/sources.py")
"""Some of the code that computes numbers."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with a study and some of the code, committed; the working folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")] + ["HARNESS_ALLOW_DIRTY"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    code = provenance._code()
    assert {Path(name).as_posix().partition("/harness/")[2] for name in code} >= set(COMPUTES)
    assert not [name for name in code if "/report/" in name]
    monkeypatch.setattr(provenance, "ROOT", tmp_path)  # the repository that holds the code
    monkeypatch.setattr(provenance, "_code", lambda: [f"harness/{name}" for name in COMPUTES])
    make_study(tmp_path)
    for name in ("net/lrn.py", "evaluate.py", "report/words.py"):
        (tmp_path / "harness" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "harness" / name).write_text("first = 1\n")
    git("init", "-q")
    commit()
    return tmp_path


STUDY_FILE = Path("experiments/study.yaml")


def test_a_committed_study_refuses_code_that_no_commit_holds(repository: Path) -> None:
    check_clean(None, [STUDY_FILE])
    check_clean(True, [])
    assert provenance.source() == {"commit": git("rev-parse", "HEAD").strip(), "dirty": None}
    (repository / "harness/report/words.py").write_text("another = 1\n")
    check_clean(None, [STUDY_FILE])  # another report makes no other run
    (repository / "harness/net/lrn.py").write_text("second = 1\n")
    first = provenance.source()["dirty"]
    assert first
    with pytest.raises(UserError, match=r"--require-clean: uncommitted changes in harness/net/lrn\.py;"):
        check_clean(None, [STUDY_FILE])
    allowed = r"take --allow-dirty, or HARNESS_ALLOW_DIRTY=1 in the environment under dvc"
    with pytest.raises(UserError, match=f"{allowed}: the runs then record"):
        check_clean(True, [])
    (repository / ".git").rename(repository / "elsewhere")
    with pytest.raises(UserError, match=f"no git commit .* {allowed}$"):
        check_clean(True, [])
    (repository / "elsewhere").rename(repository / ".git")
    check_clean(False, [STUDY_FILE])
    check_clean(None, [])  # a candidate, or the settings of a verification
    (repository / "harness/net/lrn.py").write_bytes(b"# caf\xe9\n")
    assert provenance.source()["dirty"] not in (None, first), "another change has another hash"
    git("checkout", "-q", "harness")
    (repository / "harness/data").mkdir()
    (repository / "harness/data/sources.py").write_text("new = 1\n")
    with pytest.raises(UserError, match=r"harness/data/sources\.py"):
        check_clean(None, [STUDY_FILE])


def test_a_study_that_is_not_committed_runs_with_any_code(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "harness/evaluate.py").write_text("second = 1\n")
    with pytest.raises(UserError, match=r"harness/evaluate\.py"):
        check_clean(None, [STUDY_FILE])
    with monkeypatch.context() as allowed:
        allowed.setenv("HARNESS_ALLOW_DIRTY", "1")
        check_clean(None, [STUDY_FILE])
    new = repository / "experiments/-new study/study.yaml"
    new.parent.mkdir()
    new.write_text(STUDY_FILE.read_text())
    STUDY_FILE.write_text(f"{STUDY_FILE.read_text()}# tried\n")
    for path in (STUDY_FILE, new):
        check_clean(None, [path])
    assert not committed([new])


def test_training_a_committed_study_refuses_and_an_allowed_run_records_the_changes(repository: Path) -> None:
    (repository / "experiments/study.yaml").write_text(json.dumps(TINY_STUDY))
    (repository / "params.yaml").write_text(json.dumps(SHORT | {"seed": 0}))
    commit()
    pack_study(load_study(STUDY_FILE), repository)
    (repository / "harness/net/lrn.py").write_text("second = 1\n")
    words = ["train", "experiments/study.yaml:base", "--seed", "0", "--out", "out/base-0"]
    with pytest.raises(UserError, match="--require-clean"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert not (repository / "out").exists()
    done = CliRunner().invoke(app, [*words, "--allow-dirty"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads((repository / "out/base-0/provenance.json").read_text())
    assert record["dirty"] == provenance.source()["dirty"]
    assert re.fullmatch("[0-9a-f]{64}", record["dirty"])
    # The candidate is what code is tried with before it is committed; its images are the default study's.
    tried = CliRunner().invoke(app, ["train", "params.yaml", "--seed", "0", "--out", "out/candidate"])
    assert tried.exit_code == 0, tried.output
    assert json.loads((repository / "out/candidate/provenance.json").read_text())["dirty"] == record["dirty"]
