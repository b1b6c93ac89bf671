"""A plan expands to declared runs, is checked before anything runs, and runs that studies share are trained once."""

import json
from pathlib import Path
from typing import Any

import conftest
import pytest
from conftest import TINY, tiny
from own_studies import OWN

from harness.cost import cost, totals
from harness.errors import UserError
from harness.files import read_json, write_bytes
from harness.identity.code import SCOPES
from harness.pipeline.checked import write_checked
from harness.pipeline.dvc_files import STAGES, cells_of, check_pipeline, path_of, write_pipeline
from harness.pipeline.pool import seed_by_seed, workers
from harness.settings.load import Named, find_study, lineage, load_run, load_study, resolve
from harness.settings.plan import Plan, expand, word
from harness.settings.presets import DIFFERENCES, PRESETS
from harness.settings.study import is_root

ROOT = Path(__file__).parent.parent
STUDIES = [Path("experiments") / name / "study.yaml" for name in OWN]
FACTORS = {"a": {"lrn": False}, "b": {"dropout": 0}, "c": {"gpus": 1}, "d": {"weight_decay": 0}}


def names(**step: Any) -> list[str]:
    return list(expand(Plan(**step), FACTORS, "f"))


def study_file(folder: Path, **keys: Any) -> Path:
    plan = {"name": "s", "settings": TINY, "factors": FACTORS, "plan": [{"kind": "one_factor"}], "variants": {}}
    return conftest.study_file(folder, **plan | keys)


def test_a_plan_names_what_it_combines() -> None:
    assert names(kind="one_factor") == ["a", "b", "c", "d"] == names(kind="leave_one_out")
    assert names(kind="one_factor", factors=["b"]) == ["b"]
    assert names(kind="add_one_in", factors=["a", "b", "c"]) == ["all", "all-but-a", "all-but-b", "all-but-c"]
    assert names(kind="factorial", factors=["a", "b"]) == ["a", "b", "a_b"]
    assert len(set(names(kind="factorial"))) == 15
    assert names(kind="grid", values={"lr": [0.01, 3e-5], "gpus": [1, 2]}) == [
        "lr-0p01_gpus-1", "lr-0p01_gpus-2", "lr-3em05_gpus-1", "lr-3em05_gpus-2",
    ]  # fmt: skip
    assert (word("-conv3"), word(True)) == ("conv3", "on")
    added = expand(Plan(kind="add_one_in"), FACTORS, "f")
    assert (added["all"], added["all-but-b"]) == (tuple(FACTORS.values()), (FACTORS["a"], FACTORS["c"], FACTORS["d"]))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"plan": [{"kind": "one_factor", "factors": []}]}, "plan.0: got a plan that expands to no variant"),
        ({"plan": [{"kind": "grid", "values": {"lr": []}}]}, "expands to no variant"),
        ({"plan": [{"kind": "one_factor", "factors": ["x"]}]}, "plan.0: factors: got 'x'; allowed: a, b, c, d"),
        ({"plan": [{"kind": "twice"}]}, "plan.0.kind: got 'twice'; allowed: one of one_factor"),
        ({"plan": [{"kind": "one_factor", "values": {"lr": [1]}}]}, "values: got 1 settings; allowed with kind: grid"),
        ({"seeds": list(range(101)), "limit": 500}, "limit: got 5 variants x 101 seeds = 505 runs; allowed: at"),
        ({"plan": [], "factors": {}}, "variants: got none"),
        ({"factors": {"x": {"lnr": False}}}, "variants.x: unknown setting 'lnr'; did you mean"),
        ({"factors": {"x": {"columns": "dense", "gpus": 1}}}, "variants.x: columns: got 'dense'; allowed only with"),
        ({"variants": {"a": {}}}, "variants.a: is a variant of the plan, too"),
        ({"ensembles": ["z"]}, "ensembles: got 'z'; allowed: base, a, b, c, d"),
        ({"extends": "study.yaml"}, "a circle is not allowed"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused_in_one_line(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        load_study(study_file(tmp_path, **keys))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def child_file(folder: Path, **keys: Any) -> Path:
    """A study beside the one of `study_file`, which it extends."""
    folder.mkdir(exist_ok=True)
    values = {"extends": "../study.yaml", "name": "c", "title": "t", "purpose": "p"}
    (folder / "study.yaml").write_text(json.dumps(values | keys))
    return folder / "study.yaml"


def test_a_study_lays_its_settings_over_those_of_the_one_it_extends(tmp_path: Path) -> None:
    study_file(tmp_path, seeds=[3, 4], confidence=0.9)
    plan = [{"kind": "one_factor", "factors": ["a", "e"]}]
    study = load_study(child_file(tmp_path / "child", settings={"epochs": 1}, factors={"e": {"lr": 0.5}}, plan=plan))
    assert list(study.variants) == ["base", "a", "e"]
    assert study.seeds == [3, 4]
    assert study.file.confidence == 0.9
    assert study.variants["base"] == tiny(epochs=1)
    assert study.variants["e"] == tiny(epochs=1, lr=0.5)


def test_what_the_paper_says_of_a_variant_is_inherited_by_a_study_that_has_it(tmp_path: Path) -> None:
    paper = {name: {"top1": top1, "where": "3"} for name, top1 in (("a", 1.4), ("b", 0.4))}
    study_file(tmp_path, published=paper)

    def published(**keys: Any) -> dict[str, float | None]:
        plan = [{"kind": "one_factor", "factors": ["b", "e"]}]
        study = load_study(child_file(tmp_path / "child", factors={"e": {"lr": 0.5}}, plan=plan, **keys))
        return {name: entry.top1 for name, entry in study.published.items()}

    assert published() == {"b": 0.4}
    assert published(published={}) == {}
    assert published(published={"e": {"top1": 2, "where": "4"}}) == {"e": 2}
    with pytest.raises(UserError, match=r"published\.a: no such variant; allowed: base, b, e"):
        published(published=paper)


def test_a_variant_with_a_preset_starts_from_it_and_is_computed_as_its_study(tmp_path: Path) -> None:
    study = load_study(study_file(tmp_path, variants={"own": {"preset": "paper"}, "over": {"lr": 0.5}}))
    assert study.variants["own"] == resolve({"preset": "paper", "bits": "native"}, "t")
    assert study.variants["over"] == tiny(lr=0.5)


def test_the_differences_are_settings_of_their_own_and_together_the_run() -> None:
    assert list(DIFFERENCES) == [f"A{number}" for number in range(1, 17)]
    changed = [key for factor in DIFFERENCES.values() for key in factor]
    assert len(changed) == len(set(changed))
    together = resolve({"preset": "paper"} | {k: v for f in DIFFERENCES.values() for k, v in f.items()}, "t")
    assert together.model_copy(update={"epochs": 91}) == resolve({"preset": "as_run"}, "t")
    for factor in DIFFERENCES.values():
        one = resolve({"preset": "paper"} | factor, "t")
        assert {
            k: v for k, v in one.model_dump().items() if v != resolve({}, "t").model_dump()[k]
        }.keys() <= factor.keys()
    assert PRESETS["as_run"]["epochs"] == 91


@pytest.mark.parametrize("path", STUDIES, ids=[path.parent.name for path in STUDIES])
def test_each_study_s_pipeline_is_what_it_declares(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = load_study(path)
    assert study.name == path.parent.name
    if not (path.parent / "cells.yaml").exists():
        pytest.skip("it was never run")
    check_pipeline(study)


def test_cells_name_the_study_its_runs_and_the_study_that_it_extends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study_file(Path("experiments/s"), seeds=[3, 4])
    plan = [{"kind": "one_factor", "factors": ["b"]}]
    child = child_file(Path("experiments/child"), extends="../s/study.yaml", plan=plan)
    assert cells_of(load_study(child)) == {
        "name": "c", "folder": "experiments/child", "parent": "experiments/s/study.yaml", "first": "base-3",
        "seeds": [3, 4], "variants": ["base", "b"],
    }  # fmt: skip
    assert list(lineage(child)) == [child, Path("experiments/s/study.yaml")]
    assert cells_of(load_study(Path("experiments/s/study.yaml")))["parent"] == "experiments/s/study.yaml"


def test_check_refuses_a_pipeline_that_is_not_the_study_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = study_file(Path("experiments/s"))
    write_bytes(STAGES, (ROOT / STAGES).read_bytes())
    study = load_study(path)
    check_pipeline(study)  # none was written
    write_pipeline(study)
    check_pipeline(study)
    assert path_of(study).read_bytes() == STAGES.read_bytes()
    study_file(Path("experiments/s"), seeds=[0, 1])
    with pytest.raises(UserError, match=r"s/cells.yaml: is not what .*study.yaml declares; run: harness run s"):
        check_pipeline(load_study(path))
    write_pipeline(load_study(path))
    check_pipeline(load_study(path))
    path_of(study).write_text(path_of(study).read_text().replace("harness train", "harness trian"))
    with pytest.raises(UserError, match=r"s/dvc\.yaml: differs from .*pipeline\.yaml, of which it is a copy; run: cp"):
        check_pipeline(load_study(path))
    edited = path_of(study).read_bytes()
    write_pipeline(load_study(path))
    assert path_of(study).read_bytes() == edited, "what a user wrote stays"


def test_what_the_stages_depend_on_has_one_key_a_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def checked(**keys: Any) -> dict[str, Any]:
        study = load_study(study_file(Path("experiments/s"), **keys))
        write_checked(study, None, Path("."))
        found: dict[str, Any] = read_json(study.checked)
        return found

    first = checked()
    assert first["settings"].keys() == {"base", "a", "b", "c", "d"}
    assert len(set(first["settings"].values())) == 5
    assert first["code"].keys() == SCOPES.keys()
    assert checked(title="another") | {"study": ""} == first | {"study": ""}
    other = checked(factors=FACTORS | {"a": {"lrn_k": 1.0}})
    assert {name for name in first["settings"] if other["settings"][name] != first["settings"][name]} == {"a"}
    assert (other["data"], other["code"]) == (first["data"], first["code"])
    assert other["study"] != first["study"]
    fewer = checked(plan=[{"kind": "one_factor", "factors": ["a"]}])
    assert fewer["settings"] == {name: first["settings"][name] for name in ("base", "a")}
    assert checked(data={"source": "synthetic", "train_limit": 100})["data"] != first["data"]


def test_the_cost_of_a_study_is_its_work(tmp_path: Path) -> None:
    study = load_study(study_file(tmp_path, data={"source": "fashion-mnist-8k"}, settings=TINY | {"colour": 0}))
    lines = " ".join(cost(study))
    images = 5 * 2 * 3500
    assert f"training: {images:,} images" in lines
    work = sum(totals(settings, 1, 10)["macs"] for settings in study.variants.values()) * 2 * 3500
    assert f"{3 * work:.2g} multiply-accumulates" in lines
    assert "images/s of the baseline" in " ".join(cost(study, rate=1000))
    paper = totals(resolve({"preset": "paper"}, "t"), 3, 1000)
    assert paper["macs"] == 724_406_816
    # Of a folder that is not packed, the classes that its study says.
    folder = {"source": "folder", "root": "images", "train_limit": 100}
    study = load_study(study_file(tmp_path, data=folder, settings=TINY | {"classes": 7}))
    work = sum(totals(settings, 3, 7)["macs"] for settings in study.variants.values()) * 2 * 100
    assert f"{3 * work:.2g} multiply-accumulates" in " ".join(cost(study))


@pytest.mark.parametrize(
    ("names", "file"),
    [
        (["noise", "experiments/noise", "reports/noise.md", "reports/noise", "reports/noise.html"], "noise/study.yaml"),
        (["components", "experiments", "reports/components.md", "experiments/study.yaml"], "study.yaml"),
        (["choices", "experiments/choices.yaml"], "choices.yaml"),
    ],
)
def test_a_study_is_named_by_its_name_folder_file_or_report(
    names: list[str], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for name in names:
        assert find_study(Path(name)) == Path("experiments") / file
        study = load_study(Path("experiments") / file)
        assert load_run(f"{name}:{study.baseline}") == Named(study.variants[study.baseline], study, study.baseline)


def test_a_file_comes_before_a_name_and_a_name_of_two_studies_is_refused(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / "experiments" / place).mkdir(parents=True)
        (tmp_path / "experiments" / place / "study.yaml").write_text("name: same\n")
    with pytest.raises(UserError, match=r"same: the name of 2 studies; allowed: .*one/study\.yaml, .*two/study\.yaml"):
        find_study(Path("same"), tmp_path)
    (tmp_path / "same").write_text("name: file\n")
    assert find_study(Path("same"), tmp_path) == tmp_path / "same"


def test_cells_run_seed_by_seed_in_the_order_of_the_study(tmp_path: Path) -> None:
    study = load_study(study_file(tmp_path, seeds=[2, 10], plan=[{"kind": "one_factor", "factors": ["c", "a"]}]))
    every = ["base-2", "c-2", "a-2", "base-10", "c-10", "a-10"]
    assert seed_by_seed({cell.key for cell in study.cells} | {"candidate"}, study) == [*every, "candidate"]
    assert seed_by_seed({"a-10", "a-2", "base-10"}, study) == ["a-2", "base-10", "a-10"]


def test_as_many_cells_run_at_once_as_gpus_are_named() -> None:
    assert (workers(None, ""), workers(3, "")) == ((1, []), (3, []))
    assert (workers(None, "0, 1"), workers(1, "0,1")) == ((2, ["0", "1"]), (1, ["0", "1"]))
    with pytest.raises(UserError, match="-j: got 3, but --gpus names 2"):
        workers(3, "0,1")


def test_a_study_folder_that_is_called_experiments_is_neither_the_default_study_nor_a_root(tmp_path: Path) -> None:
    root = tmp_path / "experiments"  # nor does it matter what the repository is called
    default, other = study_file(root / "experiments"), study_file(root / "experiments/experiments", name="other")
    assert (load_study(default).is_default, load_study(other).is_default) == (True, False)
    assert (is_root(root), is_root(root / "experiments")) == (True, False)
