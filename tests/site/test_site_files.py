"""Link previews, sitemap, 404 page, zip: book/_ext/site_files.py, on a small book.

The book itself is built without an address here; this one has one, or has none.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import site_files
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
ADDRESS = "https://somebody.github.io/their-book/"
LONG = "A question comes first, " + "and it is long, " * 20 + "is it not?"


def build(folder, address):
    """A book of two pages, the first with a figure; return the folder of its site."""
    book = folder / "book"
    (book / "part").mkdir(parents=True)
    shutil.copy(ROOT / "CITATION.cff", book)
    shutil.copy(ROOT / "book" / "_static" / "card.png", book / "figure.png")
    (book / "index.md").write_text(
        "# The first & only\n\n`code`\n\nA page.\n\nIs 1 < 2 & true?\n\n"
        "![What it shows](figure.png)\n\n```{toctree}\npart/page\n```\n"
    )
    (book / "part" / "page.md").write_text(f"# A page\n\nNo figure.\n\n{LONG}\n")
    options = {
        "extensions": "myst_parser,sphinx_book_theme,site_files",
        "html_theme": "sphinx_book_theme",
        "html_title": "Book",
        "html_baseurl": address,
    }
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-C", book, folder / "site"]
    command += [f"-D{name}={value}" for name, value in options.items()]
    path = os.pathsep.join([str(ROOT / "book" / "_ext"), *sys.path])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return build(tmp_path_factory.mktemp("published"), ADDRESS)


@pytest.fixture(scope="module")
def unpublished(tmp_path_factory):
    return build(tmp_path_factory.mktemp("unpublished"), "")


def read(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def tags(path):
    found = read(path).select("meta[property]")
    return {each["property"]: each["content"] for each in found}


def test_preview_of_a_page_with_a_figure(published):
    assert tags(published / "index.html") == {
        "og:type": "article",
        "og:site_name": "Book",
        "og:title": "The first & only",
        "og:description": "Is 1 < 2 & true?",
        "og:url": f"{ADDRESS}index.html",
        "og:image": f"{ADDRESS}_images/figure.png",
        "og:image:alt": "What it shows",
        "twitter:card": "summary_large_image",
    }
    assert (published / "_images" / "figure.png").is_file()


def test_preview_of_a_page_without_one(published):
    found = tags(published / "part" / "page.html")
    assert found["og:image"] == f"{ADDRESS}_static/card.png"
    about = found["og:description"]
    assert LONG.startswith(about.removesuffix(" …")) and 180 < len(about) <= 202


def test_without_an_address_nothing_needs_one(unpublished):
    found = tags(unpublished / "index.html")
    assert set(found) == {"og:type", "og:site_name", "og:title", "og:description"}
    assert not (unpublished / "sitemap.xml").exists()


def test_sitemap(published):
    root = ElementTree.parse(published / "sitemap.xml").getroot()
    assert root.tag == "{http://www.sitemaps.org/schemas/sitemap/0.9}urlset"
    found = [each[0].text for each in root]
    assert found == [f"{ADDRESS}index.html", f"{ADDRESS}part/page.html"]


def test_links_of_the_404_page_hold_in_every_folder(published, unpublished):
    for site, root in [(published, "/their-book/"), (unpublished, "/")]:
        page = read(site / "404.html")
        assert page.html["data-content_root"] == root
        for name in ("href", "src", "action"):
            urls = [each[name] for each in page.select(f"[{name}]")]
            assert urls
            for url in urls:
                assert url.startswith((root, "#", "https://")), url
                path = url.split("?")[0].split("#")[0].removeprefix(root)
                if url.startswith(root) and path != "book/index.html":
                    assert (site / path).is_file()


def test_contents_mark_the_current_page(published):
    marked = read(published / "part" / "page.html").select("nav [aria-current=page]")
    assert [each.get_text(strip=True) for each in marked] == ["A page"]


def test_zip_is_the_same_every_day_and_leaves_out_what_is_hidden(tmp_path):
    book = tmp_path / "book"
    (book / "book" / ".ipynb_checkpoints").mkdir(parents=True)
    (book / "book" / ".ipynb_checkpoints" / "a.ipynb").write_text("{}")
    (book / "book" / "a.ipynb").write_text("{}")
    (book / "Makefile").write_text("all:")
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    site_files.pack(book, first)
    os.utime(book / "Makefile", (1, 1))
    site_files.pack(book, second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = [f"dropnorm-book/{each}" for each in ("Makefile", "book/a.ipynb")]
        assert archive.namelist() == names
        assert {each.external_attr >> 16 for each in archive.infolist()} == {0o644}


def test_one_edition_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    number, date = re.search(r"^## (\S+) \((.*)\)$", changelog, re.M).groups()
    released = citation["date-released"]
    assert citation["version"] == package["project"]["version"] == number
    assert date == f"{released.day} {released:%B %Y}"
