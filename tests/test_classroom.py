"""tools/classroom.py turns exercise notebooks into a graded course.

What nbgrader makes of it is tested by `make test-classroom`.
"""

import ast
import copy
import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dropnorm.checks.base import Result

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("classroom", ROOT / "tools/classroom.py")
classroom = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(classroom)

PATHS = sorted((ROOT / "book").glob("*/exercises.ipynb"))
EACH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parent.name)
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*)\n### END SOLUTION", re.DOTALL)
HIDDEN = re.compile(r"\n### BEGIN HIDDEN TESTS\n(.*)\n### END HIDDEN TESTS", re.DOTALL)
BOTH = {"schema_version": 3, "task": False}


def read(path):
    return nbformat.read(path, as_version=4)


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if classroom.has_tag(cell, tag)]


def visible(cell):
    """What is left for students: nbgrader cuts from each BEGIN to its END."""
    return HIDDEN.sub("", SOLUTION.sub("", cell.source))


@EACH
def test_cells_that_are_no_part_of_an_answer_are_unchanged(path):
    book, course = read(path), classroom.graded(read(path))
    kept = [cell for cell in book.cells if not classroom.has_tag(cell, "solution")]
    assert [cell.id for cell in course.cells] == [cell.id for cell in kept]
    for before, after in zip(kept, course.cells, strict=True):
        if not (
            classroom.has_tag(before, "stub") or classroom.has_tag(before, "check")
        ):
            assert after == before
    assert any(cell.id == "guard" for cell in course.cells)
    nbformat.validate(course)


@EACH
def test_book_is_not_changed(path):
    book = read(path)
    before = copy.deepcopy(book)
    classroom.graded(book)
    assert book == before


@EACH
def test_answer_is_the_stub_followed_by_the_solution(path):
    book, course = read(path), classroom.graded(read(path))
    answers = tagged(course, "stub")
    solutions = tagged(book, "solution")
    for stub, answer, solution in zip(
        tagged(book, "stub"), answers, solutions, strict=True
    ):
        assert visible(answer) == stub.source + "\n"
        (code,) = SOLUTION.findall(answer.source)
        ast.parse(code)
        assert f"```python\n{code}\n```" in solution.source
        assert answer.metadata.nbgrader == BOTH | {
            "grade_id": answer.id,
            "grade": False,
            "locked": False,
            "solution": True,
        }


@EACH
def test_students_see_no_solution(path):
    """No line of a solution that the book does not show outside of it."""
    book, course = read(path), classroom.graded(read(path))
    elsewhere = {
        line.strip()
        for cell in book.cells
        if not classroom.has_tag(cell, "solution")
        for line in cell.source.splitlines()
    }
    shown = "\n".join(visible(cell) for cell in course.cells)
    assert "<summary>Solution" not in shown
    for answer in tagged(course, "stub"):
        (code,) = SOLUTION.findall(answer.source)
        secret = {line.strip() for line in code.splitlines()} - elsewhere
        assert secret
        assert not secret & {line.strip() for line in shown.splitlines()}


@EACH
def test_checks_earn_points_and_have_hidden_tests(path):
    book, course = read(path), classroom.graded(read(path), seed=11)
    checks = tagged(course, "check")
    for before, check in zip(tagged(book, "check"), checks, strict=True):
        assert visible(check) == f"{before.source}.require()"
        (hidden,) = HIDDEN.findall(check.source)
        assert hidden == f"{before.source[:-1]}, seed=11).require()"
        assert check.outputs == []
        assert check.metadata.nbgrader == BOTH | {
            "grade_id": check.id,
            "grade": True,
            "locked": True,
            "solution": False,
            "points": 1,
        }
    points = [check.metadata.nbgrader.points for check in checks]
    assert sum(points) == len(tagged(book, "stub"))


@pytest.mark.parametrize("source", ["check(f)", "check(f)  # see above", "(check(f))"])
def test_a_graded_check_raises_unless_passed(source):
    def check(answer, seed=0):
        return Result("passed" if answer == seed else "failed", "why")

    for seed in (None, 7):
        statement = classroom.required(source, seed)
        exec(statement, {"check": check, "f": seed or 0})
        with pytest.raises(AssertionError, match="why"):
            exec(statement, {"check": check, "f": 8})


def test_notebooks_that_cannot_be_graded_are_refused():
    def notebook(check="checks.f(g)", solution="```python\ng = 1\n```", stub="g-stub"):
        return new_notebook(
            cells=[
                new_code_cell("g = None", id=stub, metadata={"tags": ["stub"]}),
                new_code_cell(check, id="g-check", metadata={"tags": ["check"]}),
                new_markdown_cell(
                    solution, id="g-solution", metadata={"tags": ["solution"]}
                ),
            ]
        )

    classroom.graded(notebook())
    with pytest.raises(KeyError, match="h"):
        classroom.graded(notebook(stub="h-stub"))
    with pytest.raises(ValueError, match="not enough values"):
        classroom.graded(notebook(solution="none"))
    with pytest.raises(ValueError, match="a check is one call"):
        classroom.graded(notebook(check="g == 1"))
