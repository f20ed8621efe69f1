"""The repository's address stands in every file that needs it, or in none."""

import re
import shutil
from pathlib import Path

import nbformat
import publish
import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = ["_config.yml", "README.md", "CITATION.cff"]


@pytest.fixture
def copy(tmp_path):
    for file in FILES:
        shutil.copy(ROOT / file, tmp_path)
    shutil.copytree(ROOT / "book" / "dropout", tmp_path / "book" / "dropout")
    return tmp_path


def guards(root):
    for path in (root / "book").rglob("*.ipynb"):
        (cell,) = (c for c in nbformat.read(path, 4).cells if c.id == "guard")
        yield cell.source


def check_agreement(root):
    """All files speak of one address; with none, there is no launch button."""
    config = yaml.safe_load((root / "_config.yml").read_text())
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    url = config["repository"]["url"]
    launch = config["launch_buttons"]
    assert set(guards(root)) == {publish.guard(url)}
    assert citation.get("repository-code", "") == url
    assert config["html"]["use_issues_button"] == bool(url)
    assert bool(launch["binderhub_url"]) == bool(launch["colab_url"]) == bool(url)
    sites = re.findall(r"^Read it at <(.*)>\.$", (root / "README.md").read_text(), re.M)
    assert sites == ([citation["url"]] if url else [])
    assert config["html"]["baseurl"] == citation.get("url", "")
    return url


def test_this_repository_agrees_with_itself():
    check_agreement(ROOT)


def test_publish_sets_the_address_everywhere_and_can_change_it(copy):
    publish.publish(copy, "Somebody/their-book")
    assert check_agreement(copy) == "https://github.com/Somebody/their-book"
    first = {file: (copy / file).read_text() for file in FILES}
    assert "https://somebody.github.io/their-book/" in first["README.md"]
    assert set(guards(copy)) == {
        "try:\n    import dropnorm\nexcept ImportError:\n"
        '    %pip install -q "dropnorm @ '
        'git+https://github.com/Somebody/their-book"\n    import dropnorm'
    }
    publish.publish(copy, "else/where")
    assert check_agreement(copy) == "https://github.com/else/where"
    publish.publish(copy, "Somebody/their-book")
    assert {file: (copy / file).read_text() for file in FILES} == first


def test_the_repository_named_as_its_host_is_served_at_the_top(copy):
    publish.publish(copy, "Somebody/Somebody.github.io")
    url = "https://github.com/Somebody/Somebody.github.io"
    assert check_agreement(copy) == url
    config = yaml.safe_load((copy / "_config.yml").read_text())
    assert config["html"]["baseurl"] == "https://somebody.github.io/"


@pytest.mark.parametrize(
    "bad", ["", "name", "https://github.com/a/b", "a/b/c", "a b/c"]
)
def test_a_bad_address_is_named(copy, bad):
    before = {file: (copy / file).read_text() for file in FILES}
    with pytest.raises(ValueError, match="REPOSITORY must be owner/name"):
        publish.publish(copy, bad)
    assert {file: (copy / file).read_text() for file in FILES} == before


def test_a_file_without_its_place_is_named(copy):
    (copy / "CITATION.cff").write_text("title: no version\n")
    with pytest.raises(ValueError, match="CITATION.cff has no line like"):
        publish.publish(copy, "a/b")
