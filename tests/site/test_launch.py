"""Launch buttons lead to the notebooks; without an address there are none.

A button depends only on the settings and on the path of a page, so the site is built of
the book's settings and of pages that hold only a title.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import nbformat
import publish
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).parents[2]
HOSTS = {"colab.research.google.com", "mybinder.org"}
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def build(folder, repository=None):
    """Make a site in the folder, and return the links of each page."""
    for file in ("_config.yml", "_toc.yml", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / file, folder)
    for part in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / part, folder / "book" / part)
    pages = list(parse_toc_yaml(ROOT / "_toc.yml"))
    for page in pages:
        target = folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / f"{page}.ipynb").exists():
            cells = [
                new_markdown_cell("# Title"),
                new_code_cell(publish.guard(""), id="guard"),
            ]
            nbformat.write(new_notebook(cells=cells), target.with_suffix(".ipynb"))
        else:
            target.with_suffix(".md").write_text("# Title\n")
    if repository:
        publish.publish(folder, repository)
    command = Path(sys.executable).with_name("jupyter-book")
    subprocess.run([command, "build", "--quiet", folder], check=True)
    links = {}
    for page in pages:
        html = (folder / "_build" / "html" / f"{page}.html").read_text(encoding="utf-8")
        anchors = BeautifulSoup(html, "html.parser").select("a[href]")
        links[page] = [urlparse(anchor["href"]) for anchor in anchors]
    return links


def launches(links):
    return [link for link in links if link.netloc in HOSTS]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return build(tmp_path_factory.mktemp("published"), "Somebody/their-book")


@pytest.mark.skipif(bool(CONFIG["repository"]["url"]), reason="the book is published")
def test_without_an_address_no_page_has_a_launch_button(tmp_path):
    found = {page: launches(links) for page, links in build(tmp_path).items()}
    assert found and not any(found.values())


def test_every_launch_link_names_its_notebook(published):
    for page, links in published.items():
        is_notebook = (ROOT / f"{page}.ipynb").exists()
        found = {link.netloc: link for link in launches(links)}
        assert set(found) == (HOSTS if is_notebook else set()), page
        if is_notebook:
            assert found["colab.research.google.com"].path == (
                f"/github/Somebody/their-book/blob/main/{page}.ipynb"
            )
            binder = found["mybinder.org"]
            assert binder.path == "/v2/gh/Somebody/their-book/main"
            assert parse_qs(binder.query)["urlpath"] == [f"lab/tree/{page}.ipynb"]


def test_every_page_links_to_its_issues_and_to_no_other_repository(published):
    for page, links in published.items():
        paths = [link.path for link in links if link.netloc == "github.com"]
        ours = [path for path in paths if path.startswith("/Somebody/their-book")]
        assert "/Somebody/their-book/issues/new" in ours, page
        assert ours == paths, page
