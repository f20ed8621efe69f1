"""The glossary: sorted, each term once, with a section that uses it, and linked to."""

import re
from pathlib import Path

import nbformat
import pytest

BOOK = Path(__file__).parents[1] / "book"
PAGE = BOOK / "reference" / "glossary.md"
CHAPTERS = sorted(p for p in BOOK.glob("*/*.ipynb") if p.stem != "exercises")
GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon"}
# How the chapters write a term, where they use a symbol or a longer form.
WRITTEN = {
    "γ": r"\gamma",
    "β": r"\beta",
    "He initialization": "he et al.",
    "Xavier initialization": "xavier",
    "MC dropout": "monte-carlo (mc) dropout",
}
LINK = re.compile(r"\]\((\S+?)#(\S+?)\)")


def entries():
    """Terms, and the text below them, of each entry."""
    for entry in re.split(r"^### ", PAGE.read_text(), flags=re.M)[1:]:
        term, text = re.split(r"\n+", entry, maxsplit=1)
        also = re.match(r"\*Also: (.*)\.\*\n", text)
        others = also[1].replace("`", "").split(", ") if also else []
        yield [term, *others], re.split(r"^## ", text, flags=re.M)[0]


ENTRIES = list(entries())


def plain(term):
    """In lower case, letters of Greek by name, without punctuation."""
    name = "".join(GREEK.get(letter, letter) for letter in term.lower())
    return re.sub(r"[^a-z0-9 ]", "", name.replace("-", " "))


def slug(heading):
    """The anchor that the site gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def prose(path):
    """The Markdown of a notebook without its code."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def test_terms_are_unique_and_sorted():
    terms = [plain(term) for names, _ in ENTRIES for term in names]
    assert len(terms) >= 60
    assert len(set(terms)) == len(terms)
    first = [plain(names[0]) for names, _ in ENTRIES]
    assert first == sorted(first)


def test_terms_stand_below_their_letter():
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        terms = re.findall(r"^### (.*)$", part, re.M)
        assert {plain(term)[0].upper() for term in terms} == {part[0]}


@pytest.mark.parametrize(
    ("terms", "text"), ENTRIES, ids=[terms[0] for terms, _ in ENTRIES]
)
def test_a_chapter_uses_the_term_and_has_the_section(terms, text):
    links = LINK.findall(text)
    assert links
    used = ""
    for file, anchor in links:
        chapter = prose(PAGE.parent / file)
        assert anchor in map(slug, re.findall(r"^#+ (.*)$", chapter, re.M))
        words = re.sub(r"\]\(\S*?\)|[*_`$[]", "", chapter)
        used += re.sub(r"\s+", " ", words).lower()
    names = [re.sub(r" of (batch norm|the optimizer)$", "", term) for term in terms]
    names = [name.replace("_", "") for name in names]
    assert any(WRITTEN.get(name, name.lower()) in used for name in names)


def test_chapters_link_to_every_entry_and_to_nothing_else():
    linked = set()
    for path in CHAPTERS:
        anchors = re.findall(r"/glossary\.md(?:#(\S*?))?\)", prose(path))
        assert len(set(anchors)) == len(anchors), f"{path}: one link a term is enough"
        linked |= set(anchors)
    assert linked == {slug(names[0]) for names, _ in ENTRIES}
