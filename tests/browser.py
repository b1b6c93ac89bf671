"""A real browser for the tests that look at pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def browser_page(*arguments: str) -> Iterator[Any]:
    """A page of Debian's Chromium, with more `arguments`; the test is skipped without it or without playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("needs Debian's chromium")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", *arguments]
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=options)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(300_000)  # on a machine that does something else besides
        yield page
        browser.close()
