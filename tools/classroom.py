"""Make a graded nbgrader course of the book's exercise notebooks (`make classroom`).

    python tools/classroom.py [--seed 7]

Each book/<part>/exercises.ipynb becomes an assignment <part> in _build/classroom:
the instructor's copy in source/, the students' in release/, and a zip of each.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import nbformat

ROOT = Path(__file__).resolve().parents[1]
COURSE = ROOT / "_build" / "classroom"
SEED = 7
POINTS = 1  # for each exercise
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

STUB_AND_SOLUTION = """\
{stub}
### BEGIN SOLUTION
{solution}
### END SOLUTION"""

CHECK_AND_HIDDEN_TEST = """\
{check}
### BEGIN HIDDEN TESTS
{hidden}
### END HIDDEN TESTS"""


def graded(notebook, seed=SEED):
    """The instructor's copy of an exercise notebook.

    Stub and solution become one cell, which nbgrader turns into the stub again; the
    check earns points, and is followed by a hidden one with other inputs; all other
    cells stay as they are.
    """
    notebook = nbformat.from_dict(notebook)  # a copy
    solutions = {}
    for cell in notebook.cells:
        if has_tag(cell, "solution"):
            (code,) = FENCE.findall(cell.source)
            solutions[cell.id.removesuffix("-solution")] = code.strip()
    notebook.cells = [c for c in notebook.cells if not has_tag(c, "solution")]
    for cell in notebook.cells:
        if has_tag(cell, "stub"):
            solution = solutions.pop(cell.id.removesuffix("-stub"))
            cell.source = STUB_AND_SOLUTION.format(stub=cell.source, solution=solution)
            cell.metadata.nbgrader = nbgrader_metadata(cell, solution=True)
        elif has_tag(cell, "check"):
            check, hidden = required(cell.source), required(cell.source, seed)
            cell.source = CHECK_AND_HIDDEN_TEST.format(check=check, hidden=hidden)
            cell.metadata.nbgrader = nbgrader_metadata(cell, points=POINTS)
            cell.outputs = []
    if solutions:
        raise ValueError(f"no stub for the solutions of {', '.join(solutions)}")
    return notebook


def has_tag(cell, tag):
    return tag in cell.metadata.get("tags", [])


def required(check, seed=None):
    """`checks.part.name(answer)` as a statement that raises unless it passed.

    nbgrader gives full points to a cell that raises nothing.
    """
    call = ast.parse(check, mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError(f"a check is one call of a checker, got {check!r}")
    if seed is not None:
        call.keywords.append(ast.keyword("seed", ast.Constant(seed)))
    return f"{ast.unparse(call)}.require()"


def nbgrader_metadata(cell, solution=False, points=None):
    """What nbgrader asks of a cell: an answer (solution), or a test with points."""
    metadata = {
        "schema_version": 3,
        "grade_id": cell.id,
        "grade": points is not None,
        "locked": points is not None,
        "solution": solution,
        "task": False,
    }
    return metadata if points is None else metadata | {"points": points}


def run_nbgrader(*arguments, course=COURSE):
    """Run this environment's nbgrader, which looks for `alembic` on the PATH."""
    bin = Path(sys.executable).parent
    path = f"{bin}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [bin / "nbgrader", *arguments],
        cwd=course,
        env=os.environ | {"PATH": path},
        check=True,
    )


def make(course=COURSE, seed=SEED, parts="*"):
    """Write the course into its folder, anew."""
    shutil.rmtree(course, ignore_errors=True)
    course.mkdir(parents=True)
    config = Path(shutil.copy(ROOT / "tools" / "nbgrader_config.py", course))
    for path in sorted(ROOT.glob(f"book/{parts}/exercises.ipynb")):
        name = path.parent.name
        notebook = graded(nbformat.read(path, as_version=4), seed)
        target = course / "source" / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(notebook, target)
        run_nbgrader("generate_assignment", name, "--log-level=WARN", course=course)
    release = course / "release"
    archive(course / "source.zip", course, [config, *course.glob("source/*/*.ipynb")])
    archive(course / "release.zip", release, release.glob("*/*.ipynb"))


def archive(target, folder, files):
    """Zip the files under the names that they have in the folder."""
    with ZipFile(target, "w", ZIP_DEFLATED) as zip:
        for file in sorted(files):
            zip.write(file, file.relative_to(folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a graded nbgrader course.")
    parser.add_argument("--seed", type=int, default=SEED, help="of the hidden tests")
    make(seed=parser.parse_args().seed)
    print(f"For teachers:  {COURSE / 'source'} and source.zip, with solutions")
    print(f"For students:  {COURSE / 'release'} and release.zip")
