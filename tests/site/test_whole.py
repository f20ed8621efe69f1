"""What the site offers beside its pages, as readers meet it in a browser."""

import re
import zipfile
from pathlib import Path
from urllib.parse import urljoin

import pytest
from axe_playwright_python.sync_playwright import Axe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


def test_site_opens_on_its_front_page(page, address):
    page.goto(address, wait_until="networkidle")
    assert page.title().startswith("Dropout and Batch Normalization")


@pytest.mark.parametrize(
    ("words", "best"),
    [
        ("dropout layer", "dropout/layer.html"),
        ("batch normalization layer", "batchnorm/layer.html"),
        ("convolution", "cnn/convolution.html"),
        ("variance shift", "reference/glossary.html#variance-shift"),
        ("DropConnect", "reference/glossary.html#dropconnect"),
        ("BatchNorm2d", "reference/api/layers.html#dropnorm.layers.BatchNorm2d"),
    ],
)
def test_search_finds_the_page(page, address, words, best):
    page.goto(f"{address}book/index.html", wait_until="networkidle")
    page.keyboard.press("Control+k")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    page.locator("#search-results li").nth(4).wait_for()
    found = [
        urljoin(page.url, link.get_attribute("href")).removeprefix(f"{address}book/")
        for link in page.locator("#search-results li > a").all()
    ]
    found = [re.sub(r"\?[^#]*", "", url) for url in found]
    assert best in found[:3]


def test_search_says_that_it_found_nothing(page, address):
    page.goto(f"{address}search.html?q=xylophone", wait_until="networkidle")
    page.get_by_text("did not match any documents").wait_for()


@pytest.mark.parametrize("path", ["nothing.html", "book/no/such/chapter.html"])
def test_a_wrong_address_gets_a_page_that_works(page, address, path):
    failed = []
    page.on("response", lambda r: r.status >= 400 and failed.append(r.url))
    answer = page.goto(address + path, wait_until="networkidle")
    assert answer.status == 404 and failed == [address + path]
    assert page.get_by_role("heading", name="There is no such page").is_visible()
    links = page.evaluate(
        "() => [...document.links].map(a => a.href).filter(url => !url.includes('#'))"
    )
    assert len(links) > 20
    answers = {url: page.request.get(url).status for url in set(links)}
    assert set(answers.values()) == {200}
    options = {"resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=options).response["violations"]
    assert not [v for v in found if v["impact"] in ("serious", "critical")]
    page.set_viewport_size({"width": 320, "height": 900})
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 320
    page.keyboard.press("Control+k")
    page.keyboard.type("pooling")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}search.html?q=pooling")


def test_keyboard_skips_to_the_text(page, address):
    page.goto(f"{address}book/dropout/layer.html", wait_until="networkidle")
    page.keyboard.press("Tab")
    skip = page.get_by_text("Skip to main content")
    assert skip.evaluate("link => link === document.activeElement")
    assert skip.bounding_box()["y"] >= 0  # and is seen
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(
        "document.querySelector('main').contains(document.activeElement)"
    )


def test_every_stop_of_the_keyboard_is_seen(page, address):
    page.goto(f"{address}book/dropout/exercises.html", wait_until="networkidle")
    assert page.locator("[tabindex]:not([tabindex='0'], [tabindex='-1'])").count() == 0
    stops, unseen = 0, []
    for _ in range(200):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => {
              const focused = document.activeElement;
              if (focused === document.body) return null;
              const box = focused.getBoundingClientRect();
              const style = getComputedStyle(focused);
              return {
                html: focused.outerHTML.slice(0, 120),
                inside: box.width > 0 && box.right > 0 && box.left < innerWidth
                  && box.bottom > 0 && box.top < innerHeight,
                marked: style.outlineStyle !== "none" || style.boxShadow !== "none",
              };
            }"""
        )
        if stop is None:
            break
        stops += 1
        if not (stop["inside"] and stop["marked"]):
            unseen.append(stop)
    assert stops > 60
    assert not unseen


def test_solutions_open_by_keyboard(page, address):
    page.goto(f"{address}book/dropout/exercises.html", wait_until="networkidle")
    solution = page.locator("details").filter(has_text="Solution").first
    solution.locator("summary").focus()
    assert solution.get_attribute("open") is None
    page.keyboard.press("Enter")
    assert solution.get_attribute("open") is not None


def test_zip_has_every_notebook(site):
    notebooks = [p for p in ROOT.glob("book/**/*.ipynb") if ".ipynb_" not in str(p)]
    with zipfile.ZipFile(site / "dropnorm-book.zip") as archive:
        assert archive.testzip() is None
        for path in notebooks:
            inside = f"dropnorm-book/{path.relative_to(ROOT).as_posix()}"
            assert archive.read(inside) == path.read_bytes()
        names = set(archive.namelist())
    needed = ["Makefile", "requirements.txt", "pyproject.toml", "src/dropnorm/data.py"]
    assert {f"dropnorm-book/{each}" for each in needed} <= names
    assert not [name for name in names if "/." in name or "_build" in name]
