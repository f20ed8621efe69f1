"""The benchmarks' tables: fit for a page, and telling of no particular machine."""

from pathlib import Path

import pytest
import tables

STORED = sorted(tables.FOLDER.glob("*.txt"))


def test_a_table_is_printed_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "FOLDER", tmp_path / "new")
    with tables.table("speed") as add:
        add("layer  ratio")
        add("conv    0.90  ")
        assert not (tmp_path / "new").exists()  # nothing half done
    written = (tmp_path / "new" / "speed.txt").read_text(encoding="utf-8")
    assert written == f"layer  ratio\nconv    0.90\n\n{tables.machine()}\n"
    assert capsys.readouterr().out == written


def test_lines_that_do_not_fit_the_page_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    refused = pytest.raises(ValueError, match="at most 75 columns, got 'xx")
    with refused, tables.table("speed") as add:
        add("x" * 76)
    assert not list(tmp_path.iterdir())


def test_every_benchmark_has_its_table_on_the_page():
    scripts = Path(tables.__file__).parent.glob("*.py")
    names = {script.stem for script in scripts} - {"tables"}
    assert {path.stem for path in STORED} == names
    page = tables.FOLDER.with_name("performance.md").read_text(encoding="utf-8")
    for name in names:
        assert f"_tables/{name}.txt" in page


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_tables(path):
    text = path.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= tables.WIDTH
    assert "PyTorch 2" in text and " cores, " in text
    assert "/home" not in text
