"""The record of claims agrees with the cells that decide them."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILE = ROOT / "book" / "reference" / "claims.yml"
CLAIMS = yaml.safe_load(FILE.read_text())
VERDICTS = {"right", "imprecise", "wrong", "unsupported", "depends"}
KINDS = "CHAFLQTUR"  # concepts first, then what is claimed, printed, asked and cited
# All items of the articles: how many of each kind, and the steps of each algorithm.
INVENTORY = {
    "S0": "C8 H12 A4,5,6 F2 L3 Q4 T7 U2 R4",
    "S1": "C10 H13 A3,3 F6 L2 Q10 T5 U1",
    "S2": "C15 H9 A4,3 F3 L3 Q4 T2 U5",
    "S3": "C12 H9 A3,3 F5 L2 Q6 T6 U2 R4",
    "S4": "C3 H5 A0,0,0 F2 L3 Q4 T7 R1",
}


@pytest.fixture(scope="module")
def cells():
    """(notebook, cell id) -> cell, for all chapters."""
    paths = (p for p in (ROOT / "book").rglob("*.ipynb") if ".ipynb_c" not in str(p))
    return {
        (str(path.relative_to(ROOT / "book").with_suffix("")), cell.id): cell
        for path in paths
        for cell in nbformat.read(path, as_version=4).cells
    }


def printed(cell):
    """The lines of a cell's stored text output, without leading and trailing space."""
    text = "".join(o.text for o in cell.outputs if o.output_type == "stream")
    return [line.strip() for line in text.splitlines()]


def place(item):
    document, kind, number, step = re.fullmatch(
        r"S([0-4])-([A-Z])(\d+)(?:\.(\d+))?", item
    ).groups()
    return int(document), KINDS.index(kind), int(number), int(step or 0)


def inventory():
    for article, kinds in INVENTORY.items():
        for kind, *numbers in (
            re.findall(r"[A-Z]|\d+", each) for each in kinds.split()
        ):
            if kind != "A":
                yield from (f"{article}-{kind}{i + 1}" for i in range(int(numbers[0])))
                continue
            for i, steps in enumerate(map(int, numbers), 1):
                yield from (f"{article}-A{i}.{step + 1}" for step in range(steps))
                if steps == 0:
                    yield f"{article}-A{i}"


def test_every_item_of_the_articles_is_judged():
    assert set(inventory()) == set(CLAIMS)


def test_items_stand_once_and_in_order():
    items = re.findall(r"^(S\S+):$", FILE.read_text(), re.MULTILINE)
    assert items == list(CLAIMS)
    assert items == sorted(set(items), key=place)


@pytest.mark.parametrize("item", CLAIMS)
def test_a_verdict_has_its_evidence(item, cells):
    claim = CLAIMS[item]
    assert claim["verdict"] in VERDICTS
    for text in (claim["says"], claim["correct"]):
        assert text.endswith((".", "?")), text
    if "source" in claim:
        assert set(claim) == {"says", "verdict", "correct", "source"}
        return
    where = claim["notebook"], claim["cell"]
    assert where in cells, f"no cell {where}"
    cell = cells[where]
    if cell.cell_type == "code":
        assert item in cell.metadata.get("claim", []), f"{where} does not name it"
        assert claim["line"] in printed(cell)
    else:
        assert "line" not in claim
    assert set(claim) <= {"says", "verdict", "correct", "notebook", "cell", "line"}


def test_every_item_that_a_cell_names_is_recorded(cells):
    for where, cell in cells.items():
        for item in cell.metadata.get("claim", []):
            assert item in CLAIMS, f"{where} decides {item}"
            recorded = CLAIMS[item].get("notebook"), CLAIMS[item].get("cell")
            assert where == recorded, f"{item} is decided in {where}"
