"""What the teacher's page says is so: its program, its commands, its plan."""

import ast
import re
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "reference" / "teaching.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_other_bug_gets_the_diagnosis_on_the_page():
    (program,) = (block for block in blocks("python") if "checks." in block)
    *statements, check = ast.parse(program).body
    namespace = {}
    exec(compile(ast.Module(statements, []), "page", "exec"), namespace)
    result = eval(compile(ast.Expression(check.value), "page", "eval"), namespace)
    (printed,) = blocks("text")
    assert repr(result).split() == printed.split()


@pytest.mark.parametrize("program", blocks("bash"), ids=range(len(blocks("bash"))))
def test_commands_are_those_of_a_shell(program):
    subprocess.run(["bash", "-n"], input=program, text=True, check=True)


def test_the_exercise_that_changes_is_where_the_page_says():
    cells = nbformat.read(ROOT / "book" / "dropout" / "exercises.ipynb", 4).cells
    (stub,) = (cell for cell in cells if cell.id == "listing-stub")
    (task,) = (cell for cell in cells if cell.id == "listing-task")
    assert "def repaired(x, rate, rng)" in stub.source
    assert "a dropout from an article" in task.source.splitlines()[0]
    assert "*a dropout from an article*" in PAGE


def test_every_notebook_of_exercises_and_no_other_chapter_is_left_out():
    for path in (ROOT / "book").glob("*/*.ipynb"):
        if path.parent.name != "practice":
            assert f"](../{path.relative_to(ROOT / 'book')})" in PAGE, path
