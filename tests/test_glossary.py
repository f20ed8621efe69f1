"""The glossary: sorted, each term once, and each with a section that uses it."""

import re
from pathlib import Path

import nbformat
import pytest

PAGE = Path(__file__).parents[1] / "book" / "reference" / "glossary.md"
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
    body = re.search(r"^```\{glossary\}\n(.*?)^```", PAGE.read_text(), re.M | re.S)[1]
    for entry in re.split(r"\n\n(?=\S)", body.strip()):
        terms = re.match(r"(?:\S.*\n)+", entry)[0]
        yield terms.splitlines(), entry[len(terms) :]


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
        used += re.sub(r"\s+", " ", re.sub(r"[*_`$]", "", chapter)).lower()
    names = [re.sub(r" \(.*\)$", "", term).replace("_", "") for term in terms]
    assert any(WRITTEN.get(name, name.lower()) in used for name in names)
