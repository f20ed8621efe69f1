"""Serve the built site, open each page once in a headless browser, note what it did.

At the end stands a table of what each page weighs, how long it took to load and what
axe found; `make site-report` makes only that.
"""

import contextlib
import functools
import os
import shutil
import threading
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Page, TimeoutError, sync_playwright
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
PAGES = list(parse_toc_yaml(ROOT / "_toc.yml"))

# Nothing here reaches out to the network or needs a display.
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Visit:
    """A page of the site, open in the browser, and all it asked for while loading."""

    name: str
    html: BeautifulSoup = field(repr=False)  # as served, before any script ran
    page: Page = field(repr=False)
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def show(self, width=1280, scheme="light"):
        """Lay the page out for a window width (pixels) and a color scheme."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.wait_for_function(
            "scheme => document.documentElement.dataset.theme === scheme", arg=scheme
        )


def pytest_generate_tests(metafunc):
    # Module scope keeps the tests of one page together, so it is loaded once; the
    # group keeps them in one process.
    if "name" in metafunc.fixturenames:
        pages = [pytest.param(p, marks=pytest.mark.xdist_group(p)) for p in PAGES]
        metafunc.parametrize("name", pages, indirect=True, scope="module")


def pytest_terminal_summary(terminalreporter):
    """The table: what tests recorded of a page, the worst of all layouts."""
    rows = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for page, cells in report.user_properties:
                row = rows.setdefault(page, {})
                for column, value in cells.items():
                    row[column] = max(value, row.get(column, value))
    if not rows:
        return
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    terminalreporter.section("pages")
    terminalreporter.line(f"{'':32}" + "".join(f"{each:>12}" for each in columns))
    for page in sorted(rows, key=PAGES.index):
        cells = "".join(f"{rows[page].get(each, ''):>12}" for each in columns)
        terminalreporter.line(f"{page:32}{cells}")


@pytest.fixture(scope="session")
def pages() -> list[str]:
    """The names of all pages, in the order in which they are read."""
    return PAGES


@pytest.fixture(scope="session")
def site() -> Path:
    if not (SITE / "index.html").exists():
        pytest.fail(f"{SITE} holds no site. Build it first: make book")
    return SITE


@pytest.fixture(scope="module")
def name(request, site) -> str:
    """The name of a page in _toc.yml, such as book/dropout/layer."""
    if not (site / f"{request.param}.html").exists():
        pytest.fail(f"{request.param} is in _toc.yml but not in {site}: run make book")
    return request.param


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served, on a free port of this machine."""

    class Host(SimpleHTTPRequestHandler):
        """Like GitHub Pages: answers with 404.html where there is no file."""

        error_content_type = "text/html; charset=utf-8"
        error_message_format = (site / "404.html").read_text("utf-8").replace("%", "%%")

        def log_message(self, *args):
            pass

    handler = functools.partial(Host, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = [os.environ.get("DROPNORM_CHROMIUM"), *map(shutil.which, names)]
    path = next(filter(None, found), None)
    if path is None:
        pytest.fail(
            "The tests of the site need Chromium: apt-get install chromium, or set "
            "DROPNORM_CHROMIUM to the path of a Chromium or Chrome that you have."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visit(name, site, address, browser):
    """Each page of _toc.yml in turn, loaded once, with hints and solutions open."""
    # A context of its own, hence an empty cache: the page asks for all that it needs.
    context = browser.new_context()
    source = (site / f"{name}.html").read_text(encoding="utf-8")
    visit = Visit(name, BeautifulSoup(source, "html.parser"), context.new_page())

    def answered(response):
        if response.status >= 400:
            visit.failures.append(f"{response.status} {response.url}")

    def logged(message):
        if message.type in ("error", "warning"):
            visit.console.append(f"{message.type}: {message.text}")

    visit.page.on("console", logged)
    visit.page.on("pageerror", lambda error: visit.console.append(str(error)))
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.on("requestfailed", lambda r: visit.failures.append(f"failed {r.url}"))
    visit.page.on("response", answered)
    visit.page.goto(f"{address}{name}.html", wait_until="networkidle")
    with contextlib.suppress(TimeoutError):  # test_formulas_are_typeset says which
        visit.page.wait_for_function(
            "() => [...document.querySelectorAll('.math')]"
            ".every(formula => formula.querySelector('mjx-container'))",
            timeout=10_000,
        )
    visit.page.evaluate(
        "document.querySelectorAll('details').forEach(each => each.open = true)"
    )
    yield visit
    context.close()
