"""The bibliography has the works that the book cites, and no others."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml

BOOK = Path(__file__).parents[1] / "book"
SOURCE = BOOK.parent / "src" / "dropnorm"
PAGE = (BOOK / "reference" / "references.md").read_text(encoding="utf-8")
# - Authors (year). Title. Venue ...
ENTRY = re.compile(r"^- (.+?) \((\d{4})\)\. (.+?[.?!]) (?=[A-Z]|arXiv)", re.M)
NOTEBOOKS = sorted(
    path for path in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)
IDS = [path.relative_to(BOOK).as_posix() for path in NOTEBOOKS]
# "Ioffe & Szegedy (2015)", "Ba, Kiros & Hinton, 2016", "(Kim et al., 2023)"
IN_TEXT = re.compile(
    r"\b([A-Z][\w-]+)(?:, [A-Z][\w-]+)*"
    r"(?: et al\.| (?:&|and) [A-Z][\w-]+),? \(?((?:19|20)\d\d)\b"
)

# "Ioffe (2017)", "Gal and Ghahramani (2016)", "Wan et al. (2013)", in a docstring
BY_DOCSTRING = re.compile(
    r"\b([A-Z][\w-]+)(?:(?:,| and) [A-Z][\w-]+)*(?: et al\.)? \(((?:19|20)\d\d)\)"
)


def plain(text):
    """Small letters and digits only, so that line ends and markup do not count."""
    return re.sub(r"[\W_]+", " ", text).strip().lower()


def entries():
    items = re.sub(r"\n  +", " ", PAGE)
    return [(a, year, plain(title)) for a, year, title in ENTRY.findall(items)]


ENTRIES = entries()
TITLES = {title: year for _, year, title in ENTRIES}


def surname(authors):
    return re.split(r",| and ", authors)[0].split()[-1].lower()


# As in "srivastava2014"; two papers of one year may share a key
KEYS = {surname(authors) + year for authors, year, _ in ENTRIES}


def markdown(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def cited(path):
    """The items of a chapter's further reading that name a work with its year."""
    _, _, reading = markdown(path).partition("## Further reading")
    items = [" ".join(item.split()) for item in re.split(r"^- ", reading, flags=re.M)]
    return [item for item in items if re.search(r"\((?:19|20)\d\d\)", item)]


def test_entries_are_told_apart():
    assert len(ENTRIES) > 50
    assert len(TITLES) == len(ENTRIES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_what_a_chapter_cites_is_listed(path):
    for item in cited(path):
        years = re.findall(r"\((\d{4})\)", item)
        found = [t for t in TITLES if t in plain(item) and TITLES[t] in years]
        assert len(found) >= len(years), item


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_works_named_in_the_text_are_listed(path):
    named = {name.lower() + year for name, year in IN_TEXT.findall(markdown(path))}
    assert named <= KEYS


def test_claims_cite_listed_works():
    claims = yaml.safe_load((BOOK / "reference" / "claims.yml").read_text("utf-8"))
    sources = " ".join(claim.get("source", "") for claim in claims.values())
    assert set(re.findall(r"\b[a-z]+(?:19|20)\d\d\b", sources)) <= KEYS


def test_works_named_on_other_pages_are_listed():
    for name in ("claims.yml", "faq.md", "glossary.md", "performance.md"):
        text = (BOOK / "reference" / name).read_text("utf-8")
        named = {name.lower() + year for name, year in IN_TEXT.findall(text)}
        assert named <= KEYS, name


def cited_by_docstrings():
    """The keys of the works in the references of all docstrings."""
    keys = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            text = " ".join((ast.get_docstring(node) or "").split())
            keys |= {n.lower() + year for n, year in BY_DOCSTRING.findall(text)}
    return keys


def test_works_named_in_docstrings_are_listed():
    keys = cited_by_docstrings()
    assert {"ioffe2017", "gal2016", "wan2013"} <= keys
    assert keys <= KEYS


def test_listed_works_are_cited():
    claims = (BOOK / "reference" / "claims.yml").read_text("utf-8")
    everything = " ".join(plain(markdown(path)) for path in NOTEBOOKS)
    others = cited_by_docstrings() | set(re.findall(r"\b[a-z]+\d{4}\b", claims))
    idle = [
        title
        for authors, year, title in ENTRIES
        if title not in everything and surname(authors) + year not in others
    ]
    assert not idle
