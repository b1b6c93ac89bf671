"""The HTML report: it asks no host for anything, shows the CSV files' numbers, and can be used by everyone."""

import csv
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fake_study import STUDY, diverge, make_results, make_study

from harness.report.build import render
from harness.report.format import number, points
from harness.settings.study import Study

HOSTILE = '<img src=x onerror="alert(1)"> </script><script>alert(2)</script> [a](//b.org) {{ 7*7 }} & `'
CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), None)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study with a diverged run and texts that look like markup, and the folder of its repository."""
    root = tmp_path_factory.mktemp("html")
    text = STUDY.replace("Which components of AlexNet help?", f"'{HOSTILE}'").replace("section 3.3", f"'{HOSTILE}'")
    study = make_study(root, re.sub("no-lrn: LRN.*", f"no-lrn: '{HOSTILE}'", text), epochs=6)
    make_results(study, root)
    diverge(root / study.folder / "runs/tanh-1", 3)
    render(study, None, root)
    return study, root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    with sync_api.sync_playwright() as play:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        yield play.chromium.launch(executable_path=CHROMIUM, args=arguments)


def opened(browser: Any, report: tuple[Study, Path], width: int = 1280, scheme: str = "light") -> Any:
    """The report in a new page, with no error and no request but that for the file."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda one: wrong.append(one.text))
    page.on("request", lambda one: wrong.append(one.url) if not one.url.startswith(("file:", "data:")) else None)
    page.goto((report[1] / report[0].html).as_uri())
    assert not wrong
    return page


def test_no_address_leaves_the_folder_and_texts_of_others_are_text(report: tuple[Study, Path]) -> None:
    text = (report[1] / report[0].html).read_text()
    tags: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, dict(attrs)))  # type: ignore[method-assign]
    parser.feed(text)
    addresses = [value or "" for _, names in tags for key, value in names.items() if key in ("src", "href", "action")]
    assert all(re.fullmatch(r"#[\w-]+|data:,|[\w/.-]+\.(md|csv)", address) for address in addresses), addresses
    assert not re.search(r"url\(|@import|https?:", text)
    assert [tag for tag, _ in tags if tag in ("script", "img", "iframe", "object")] == ["script"]
    assert not any(name.startswith("on") for _, names in tags for name in names)
    assert "&lt;/script&gt;&lt;script&gt;alert(2)&lt;/script&gt; [a](//b.org) {{ 7*7 }} &amp; `" in text


def test_hover_values_are_those_of_the_csv_files(report: tuple[Study, Path]) -> None:
    study, root = report
    text = (root / study.html).read_text()
    with (root / study.folder / "variants.csv").open() as one, (root / study.folder / "curves.csv").open() as other:
        row = next(row for row in csv.DictReader(one) if row["variant"] == "one-gpu")
        ends = [r["validation_top1"] for r in csv.DictReader(other) if (r["variant"], r["epoch"]) == ("base", "6")]
    keys = ("difference", "low", "high", "paper_difference")
    mean, low, high, paper = (points(float(row[key])) for key in keys)
    assert f"<title>two columns: {mean} points ({low} to {high})\nundecided\nthe paper: {paper}\n" in text
    assert f"\nbase {number(sum(map(float, ends)) / 5)} (sd " in text.partition("<title>epoch 6\n")[2]
    assert "seed 1, diverged" in text


@pytest.mark.slow
def test_headings_sort_by_click_and_by_keyboard_and_the_pointer_shows_values(browser: Any, report: Any) -> None:
    page = opened(browser, report)

    def values(key: str) -> list[str]:
        return list(page.eval_on_selector_all(".effects > tbody", f"all => all.map(one => one.dataset.{key})"))

    page.hover(".row .hit >> nth=1")
    assert page.inner_text("#tip") == page.eval_on_selector_all(".row .hit", "all => all[1].dataset.tip")
    effects = values("effect")
    assert effects == sorted(effects, key=float, reverse=True)
    page.click("th[data-key=effect] button")
    assert values("effect") == effects[::-1]
    page.focus("th[data-key=component] button")
    page.keyboard.press("Enter")
    assert values("component") == sorted(values("component"), key=str.casefold)
    assert page.eval_on_selector_all("[aria-sort]", "all => all.map(one => one.ariaSort)") == ["ascending"]
    page.click("th[data-key=paper] button")
    assert values("paper") == ["1.7", "1.4", "0.4", "", "", "", ""], "rows without a number stand last"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_accessible_and_fits(browser: Any, report: Any, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = opened(browser, report, width, scheme)
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    violations = axe.Axe().run(page)
    assert violations.violations_count == 0, violations.generate_report()
