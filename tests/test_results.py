"""Results have a way out: frames and files for a paper hold the numbers of the report, and say what they are."""

import csv
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from fake_study import diverge, make_results, make_study
from reading import Table, rows_of, told

import harness
from harness import StudyResults, cli, load_study
from harness.errors import UserError
from harness.files import read_yaml
from harness.record import HISTORY, RunFolder
from harness.report import paper
from harness.report.format import METRICS
from harness.settings.study import Study

ROOT = Path(__file__).parent.parent
ODD = r"""50% of_it & {more} #1 ~x^2 \frac$ "no" [<a|b>] é -- ‡"""
"""A component's name with all that LaTeX takes for its own."""

SMALL = """
name: pair_2
title: Two variants
purpose: A study of two.
data: {source: fashion-mnist-8k}
seeds: [0, 1, 2, 3, 4]
margin: 0.5
claims: claims.yaml
variants:
  base: &base {preset: [paper, small], width: 0.5, colour: 0, epochs: 3}
  tanh: {<<: *base, activation: tanh, lr: 0.003}
  wide: {<<: *base, width: 1.0}
  no-lrn: {<<: *base, lrn: false}
published: {no-lrn: {top1: 1.4, where: section 3.3}}
components: {wide: +width}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """A study with all its runs and its report, one component of an odd name; in a repository of its own."""
    root = tmp_path_factory.mktemp("results")
    shutil.copy(ROOT / "experiments/claims.yaml", root)
    study = make_study(root, f"{SMALL[:-2]}, tanh: {json.dumps(ODD)}}}\n")
    make_results(study, root)
    told(study, root)
    return root, study


@pytest.fixture(scope="module")
def results(small: tuple[Path, Study]) -> StudyResults:
    return load_study("pair_2", small[0])


def read(text: str) -> Table:
    return list(csv.DictReader(io.StringIO(text)))


# ---- in Python


def test_the_package_has_no_names_but_those_that_it_loads() -> None:
    with pytest.raises(AttributeError, match="load_studies"):
        _ = harness.load_studies  # type: ignore[attr-defined]


def test_the_comparisons_are_the_rows_of_the_reports_table(results: StudyResults, small: tuple[Path, Study]) -> None:
    rows = rows_of(small[0] / "reports/pair_2/variants.csv")[1:]
    frame = results.comparisons
    assert list(frame["variant"]) == [row["variant"] for row in rows] == ["tanh", "wide", "no-lrn"]
    shown = read(frame.to_csv(index=False))
    for mine, row in zip(shown, rows, strict=True):
        for key in row.keys() - {"runs", "command"}:
            if (found := mine[key]) != row[key]:
                assert (found in ("True", "False") and found.lower() == row[key]) or float(found) == float(row[key]), (
                    key
                )
    assert list(frame["added"]) == [False, True, False]
    assert frame["pooled"].dtype == bool


def test_runs_and_histories_are_the_records(results: StudyResults, small: tuple[Path, Study]) -> None:
    root, study = small
    assert list(zip(results.runs["variant"], results.runs["seed"], strict=True)) == [
        (c.variant, c.seed) for c in study.cells
    ]
    assert set(results.runs["status"]) == {"finished"}
    for cell, row in zip(study.cells, results.runs.to_dict("records"), strict=True):
        files = RunFolder.of(root / cell.results)
        stored = json.loads(files.metrics.read_text())
        assert {key: row[key] for key in stored if key.startswith("test_")} == {
            key: value for key, value in stored.items() if key.startswith("test_")
        }
        made = json.loads(files.provenance.read_text())
        assert (row["weights"], row["cpu"], row["torch"]) == (
            made["hashes"]["weights"], made["machine"]["cpu"], made["versions"]["torch"],
        )  # fmt: skip
        history = results.history.query("variant == @cell.variant and seed == @cell.seed")
        assert read(history[list(HISTORY)].to_csv(index=False)) == [
            {key: value.replace("nan", "") for key, value in epoch.items()} for epoch in rows_of(files.history)
        ]


def test_the_predictions_are_those_behind_the_errors(results: StudyResults) -> None:
    frame = results.predictions
    assert list(frame.columns[:5]) == ["variant", "seed", "image", "label", "predicted"]
    assert (frame["correct"] == (frame["label"] == frame["predicted"])).all()
    assert len(frame) == 4000 * len(results.runs)
    assert frame.groupby(["variant", "seed"])["image"].nunique().eq(4000).all()


def test_every_column_is_documented_and_there(results: StudyResults) -> None:
    documented = runpy.run_path(str(ROOT / "docs/frames.py"))["frames"]()
    assert set(documented) == {"runs", "history", "predictions", "comparisons", "claims"}
    for name, columns in documented.items():
        named = [one for names, _ in columns for one in names.split(", ")]
        assert len(named) == len(set(named))
        more = {"test_images"} if name == "runs" else set()  # a further number of metrics.json
        assert set(getattr(results, name).columns) - more == set(named), name


def test_claims_have_their_verdicts_when_the_study_is_done(results: StudyResults, small: tuple[Path, Study]) -> None:
    ledger = rows_of(small[0] / "reports/pair_2/ledger.csv")
    assert list(results.claims["verdict"]) == [row["verdict"] for row in ledger]
    assert list(results.claims["claim"]) == [row["claim"] for row in ledger] != []
    estimated = results.claims.dropna(subset="ours")
    assert set(estimated.query("claim == 'C12'")["unit"]) <= {"points"}


def test_there_is_no_verdict_before_every_run_has_ended(tmp_path: Path) -> None:
    study = make_study(tmp_path, SMALL.replace("claims: claims.yaml\n", ""))
    make_results(study, tmp_path)
    diverge(tmp_path / "reports/pair_2/runs/tanh-1", epoch=2)
    shutil.rmtree(tmp_path / "reports/pair_2/runs/wide-4")
    early = load_study("pair_2", tmp_path)
    assert early.comparisons["verdict"].isna().all()
    assert early.comparisons["interim"].all()
    assert "verdict" not in early.table()
    counts = early.runs.groupby("variant", sort=False)["status"].value_counts().to_dict()
    assert counts["tanh", "diverged"] == counts["wide", "missing"] == 1
    assert len(early.history.query("variant == 'tanh' and seed == 1")) == 2
    assert "Interim" in early.caption()
    assert len(early.predictions) == 4000 * 18


def test_table_figure_and_notebook_show_what_the_report_does(results: StudyResults, small: tuple[Path, Study]) -> None:
    table = results.table()
    assert list(table["variant"]) == [effect.row.variant for effect in results.findings.components]
    figure, narrow = results.forest(), results.forest(column=True)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert [label.removesuffix(" (added)") for label in labels] == [
        e.component.label for e in results.findings.components
    ]
    assert narrow.get_size_inches()[0] == 3.25
    narrow.draw_without_rendering()
    inside = narrow.get_tightbbox()
    assert inside.x0 > -0.01 and inside.x1 < 3.26, "nothing is cut off"  # noqa: PT018
    shown = results._repr_html_()
    assert "<table>" in shown
    assert "data:image/svg+xml" in shown
    assert METRICS[results.study.file.metric] in shown
    assert "<a|b>" not in shown
    page = (small[0] / "reports/pair_2.md").read_text()
    assert re.findall(r"<td[^>]*>(?:<strong>)?([+−][\d.]+)", shown) == re.findall(r"\| (?:\*\*)?([+−][\d.]+)", page)


# ---- for a paper


def numbers(row: str) -> list[str]:
    """The numbers of a row of the table in LaTeX."""
    text = row.replace("$-$", "-").replace("$+$", "").replace("{[}", "").replace("{]}", "")
    return re.findall(r"-?\d+\.\d+", text.partition("&")[2])


@pytest.mark.parametrize("name", ["components", "small"])
def test_the_tables_numbers_are_those_of_the_report(
    name: str, results: StudyResults, small: tuple[Path, Study]
) -> None:
    root = ROOT if name == "components" else small[0]
    results = load_study("components", ROOT) if name == "components" else results
    rows = {row["variant"]: row for row in rows_of(root / results.study.folder / "variants.csv")}
    body = paper.table_tex(results.findings).partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(results.comparisons)
    for line, effect in zip(body, results.findings.components, strict=True):
        row, sign = rows[effect.row.variant], -1 if effect.component.added else 1
        ends = sorted(sign * float(row[key]) for key in ("low", "high"))
        exact = [sign * float(row["difference"]), *ends, max(float(row["adjusted_p"]), 0.0001)]
        exact += [float(row["paper_difference"])] if row["paper_difference"] else []
        for text, number in zip(numbers(line), exact, strict=True):
            assert abs(float(text) - number) <= 0.5001 * 10.0 ** -len(text.partition(".")[2])


def test_the_caption_states_n_interval_test_and_adjustment(results: StudyResults) -> None:
    stated = ("n = 5", "95 %", "`block`", "alpha 0.05", "3 comparisons", "Dunnett", "0.5 points", "4,000 test images")
    assert [part for part in stated if part not in results.caption()] == []


def test_names_are_shown_as_they_are() -> None:
    assert paper.tex(r"50% & a_b {c} #1 $x \y") == r"50\% \& a\_b \{c\} \#1 \$x \textbackslash{}y"
    assert paper.tex("−1.5 to +2.0") == "$-$1.5 to $+$2.0"
    assert paper.latex(r"`a_b` of **two \| three** & <b>") == r"\texttt{a\_b} of \textbf{two $|$ three} \& $<$b$>$"


def test_all_that_is_exported_compiles(results: StudyResults, tmp_path: Path) -> None:
    files = results.export(tmp_path / "out")
    names = {path.name for path in files}
    assert names == {
        f"pair_2-{rest}" for rest in ("table.tex", "figure.tex", "comparisons.csv", "forest.pdf", "forest.png")
    } | {"references.bib"}
    again = {path: path.read_bytes() for path in files}
    assert {path: path.read_bytes() for path in results.export(tmp_path / "out")} == again
    packages = re.findall(
        r"\\usepackage|\\require", "".join(path.read_text() for path in files if path.suffix == ".tex")
    )
    assert packages == []
    for path in files:
        if path.suffix == ".tex":
            text = path.read_text()
            assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
            assert text.count(r"\begin") == text.count(r"\end")
    text = (
        r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx}\setlength{\textwidth}{6.75in}"
        r"\setlength{\columnsep}{0.25in}\begin{document}\input{pair_2-table}\input{pair_2-figure}"
        r"\cite{alexnet-harness,krizhevsky2012imagenet}\bibliographystyle{plain}\bibliography{references}\end{document}"
    )
    (tmp_path / "out/main.tex").write_text(text)
    if not (program := shutil.which("pdflatex")):
        pytest.skip("no pdflatex: the structure alone was checked")
    words = {"latex": [program, "-interaction=nonstopmode", "-halt-on-error", "main"], "bibtex": ["bibtex", "main"]}
    for step in ("latex", "bibtex", "latex", "latex"):
        done = subprocess.run(
            words[step], cwd=tmp_path / "out", capture_output=True, text=True, errors="replace", check=False
        )
        assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "undefined" not in done.stdout


@pytest.mark.parametrize("name", ["components", "overfitting", "noise"])
def test_committed_studies_are_exported_with_their_warnings(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "docs")
    study = load_study(name, "..")
    files = {path.name: path for path in study.export(tmp_path, ["latex", "csv"])}
    assert (f"{name}-figure.tex" in files) == (name != "noise")
    warnings = (ROOT / f"reports/{name}.md").read_text().count("> **Warning.**")
    assert (
        warnings == study._repr_html_().count("Warning.") == files[f"{name}-table.tex"].read_text().count("% Warning:")
    )
    if name == "noise":
        with pytest.raises(UserError, match="figure"):
            study.export(tmp_path, ["pdf"])


def test_the_references_are_those_of_the_citation_file(results: StudyResults) -> None:
    cited = read_yaml(ROOT / "CITATION.cff")
    text = paper.references(results.findings).replace("{", "").replace("}", "")
    assert cited["version"] == harness.__version__
    assert f"Version {cited['version']}" in text
    for work in (cited, *cited["references"]):
        assert f"title = {work['title']}," in text
        for author in work["authors"]:
            assert author.get("family-names", author.get("name")) in text
        assert work is cited or f"year = {work['year']}," in text


def test_a_command_writes_what_is_asked_for(
    small: tuple[Path, Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (end.value.code, *capsys.readouterr())

    monkeypatch.chdir(small[0])
    status, out, _ = call("export", "pair_2", "--csv", "--out", str(tmp_path / "one"))
    assert (status, out) == (0, f"{tmp_path}/one/pair_2-comparisons.csv\n")
    assert pd.read_csv(out.strip())["difference"].tolist() == load_study("pair_2").comparisons["difference"].tolist()
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path, SMALL.replace("claims: claims.yaml\n", ""))
    status, out, error = call("export", "pair_2")
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert "harness run pair_2" in error
    assert not (tmp_path / "build").exists()


# ---- the example


@pytest.mark.slow
def test_the_example_runs_and_shows_the_reports_numbers() -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    path = ROOT / "docs/results.ipynb"
    assert path.stat().st_size < 100_000
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count]
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    shown = [json.dumps(cell.outputs) for cell in code]
    assert "image/svg+xml" in "".join(shown)
    numbers = [float(text) for text in re.findall(r"<td>(-?\d+\.\d+)</td>", shown[1])]
    for row in rows_of(ROOT / "reports/components/variants.csv"):
        if row["difference"] and row["variant"] != "candidate":
            assert {round(float(row[key]), 4) for key in ("difference", "low", "high")} <= set(numbers)
