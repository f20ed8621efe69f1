"""Every exercise has a stub, a check and a solution, and every solution passes."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

BOOK = Path(__file__).parents[1] / "book"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PARTS = ["stub", "check", "solution"]


def tags(cell):
    return cell.metadata.get("tags", [])


def part(cell):
    """Which part of an exercise the cell is, or None."""
    return next((name for name in PARTS if name in tags(cell)), None)


def exercises(cells):
    """The cells from one `### Exercise` heading to the next heading, by heading."""
    found, current = {}, None
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            heading = cell.source.splitlines()[0]
            current = None
            if heading.startswith("### Exercise"):
                assert heading not in found, f"two exercises are called {heading}"
                current = found[heading] = []
        if current is not None:
            current.append(cell)
    return found


NOTEBOOKS = {
    path: nbformat.read(path, as_version=4)
    for path in sorted(BOOK.glob("*/exercises.ipynb"))
}
EACH_NOTEBOOK = pytest.mark.parametrize(
    "notebook", NOTEBOOKS.values(), ids=[path.parent.name for path in NOTEBOOKS]
)
EACH_EXERCISE = pytest.mark.parametrize(
    ("notebook", "heading"),
    [
        pytest.param(notebook, heading, id=f"{path.parent.name}: {heading[13:]}")
        for path, notebook in NOTEBOOKS.items()
        for heading in exercises(notebook.cells)
    ],
)


def one(cells, name):
    (cell,) = [cell for cell in cells if part(cell) == name]
    return cell


def solution_code(cells):
    (code,) = FENCE.findall(one(cells, "solution").source)
    return code


def prepare(notebook, cells, answer):
    """The check as a function, with `answer` in the place of the exercise's stub."""
    namespace = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and part(cell) is None:
            exec(cell.source, namespace)
    exec(answer, namespace)
    source = one(cells, "check").source

    def check(seed=None):
        call = ast.parse(source, mode="eval")
        if seed is not None:
            call.body.keywords.append(ast.keyword("seed", ast.Constant(seed)))
        ast.fix_missing_locations(call)
        return eval(compile(call, "check", "eval"), namespace)

    return check


def test_the_notebooks_are_found():
    assert NOTEBOOKS


@EACH_NOTEBOOK
def test_notebook_begins_with_title_guard_and_imports(notebook):
    title, guard, imports = notebook.cells[:3]
    assert title.cell_type == "markdown" and title.source.startswith("# Exercises: ")
    assert guard.id == "guard" and tags(guard) == ["remove-cell"]
    assert "rng = dropnorm.reproducible(0)" in imports.source


@EACH_NOTEBOOK
def test_headings_go_down_one_level_at_a_time(notebook):
    levels = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            source = re.sub(r"^```.*?^```", "", cell.source, flags=re.M | re.S)
            heads = re.findall(r"^(#+) ", source, re.MULTILINE)
            assert len(heads) <= 1, f"{cell.id} has several headings"
            assert not heads or source.startswith("#"), f"{cell.id} opens otherwise"
            levels += [len(head) for head in heads]
    assert levels[0] == 1 and levels.count(1) == 1
    assert max(levels) == 3
    for above, below in zip(levels, levels[1:], strict=False):
        assert below <= above + 1
    assert all(
        heading.startswith("### Exercise ")
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for heading in re.findall(r"^### .*", cell.source, re.MULTILINE)
    )


@EACH_NOTEBOOK
def test_numbers_of_the_exercises_count_up(notebook):
    numbers = [
        int(re.match(r"### Exercise (\d+): ", heading)[1])
        for heading in exercises(notebook.cells)
    ]
    assert numbers == list(range(1, len(numbers) + 1))


@EACH_NOTEBOOK
def test_every_part_belongs_to_an_exercise(notebook):
    within = [c.id for cells in exercises(notebook.cells).values() for c in cells]
    parts = [c.id for c in notebook.cells if part(c)]
    assert set(parts) <= set(within)


@EACH_EXERCISE
def test_exercise_has_stub_check_and_solution_in_this_order(notebook, heading):
    task, *others = exercises(notebook.cells)[heading]
    assert task.cell_type == "markdown" and not tags(task)
    assert [part(cell) for cell in others if part(cell)] == PARTS
    assert [part(cell) for cell in others][-3:] == PARTS
    name = task.id.removesuffix("-task")
    for cell, kind in zip(others[-3:], PARTS, strict=True):
        assert cell.id == f"{name}-{kind}" and tags(cell) == [kind]
        assert cell.cell_type == ("markdown" if kind == "solution" else "code")


@EACH_EXERCISE
def test_stored_output_says_not_attempted(notebook, heading):
    check = one(exercises(notebook.cells)[heading], "check")
    assert "\n" not in check.source and check.source.startswith("checks.")
    (output,) = check.outputs
    assert output.data == {"text/plain": "Not attempted."}


@EACH_EXERCISE
def test_solution_is_folded_and_renders_everywhere(notebook, heading):
    source = one(exercises(notebook.cells)[heading], "solution").source
    assert source.startswith("<details><summary>Solution</summary>\n\n```python\n")
    assert source.endswith("\n\n</details>")


@EACH_EXERCISE
def test_untouched_stub_is_not_attempted(notebook, heading):
    cells = exercises(notebook.cells)[heading]
    check = prepare(notebook, cells, one(cells, "stub").source)
    assert check().status == "not attempted"


@EACH_EXERCISE
def test_solution_passes_also_with_other_seeds(notebook, heading):
    cells = exercises(notebook.cells)[heading]
    check = prepare(notebook, cells, solution_code(cells))
    for seed in (None, 7, 2**31):
        assert check(seed).status == "passed", check(seed)
