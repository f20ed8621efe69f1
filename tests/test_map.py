"""The map of chapters on the front page: complete, and drawn from the chapters."""

import re
from pathlib import Path
from posixpath import join, normpath

import nbformat
import pytest
from chapter_map import lanes
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).parents[1]
INDEX = (ROOT / "book" / "index.md").read_text()
MAP = re.search(r"^```\{chapter-map\}\n(.*?)^```", INDEX, re.M | re.S)[1]
NEEDS = {line.split()[0]: line.rpartition("):")[2].split() for line in MAP.splitlines()}


def links(chapter):
    """The chapters that a chapter's prose links to."""
    cells = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    files = re.findall(r"\]\(([^)\s:#]+)\.ipynb", text)
    return {normpath(join(chapter, "..", file)) for file in files}


def all_needs(chapter):
    """What a chapter needs, and what that needs in turn."""
    return set(NEEDS[chapter]).union(*map(all_needs, NEEDS[chapter]))


def test_the_map_has_every_chapter_in_reading_order():
    files = [name.removeprefix("book/") for name in parse_toc_yaml(ROOT / "_toc.yml")]
    assert list(NEEDS) == [
        f for f in files if f != "index" and not f.startswith("reference/")
    ]


@pytest.mark.parametrize("chapter", NEEDS)
def test_a_chapter_refers_to_what_it_needs(chapter):
    before = list(NEEDS)[: list(NEEDS).index(chapter)]
    assert set(NEEDS[chapter]) <= links(chapter) & set(before)


@pytest.mark.parametrize("chapter", NEEDS)
def test_no_line_follows_from_others(chapter):
    for each in NEEDS[chapter]:
        others = set(NEEDS[chapter]) - {each}
        assert each not in set().union(*map(all_needs, others))


def test_a_line_begins_to_the_right_of_those_that_run():
    number, last = lanes(NEEDS)
    order = list(NEEDS)
    for one in number:
        for other in number:
            if order.index(one) < order.index(other) < order.index(last[one]):
                assert number[one] < number[other]
