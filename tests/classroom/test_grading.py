"""nbgrader grades the course as it should. Runs by `make test-classroom`."""

import html
import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

PATH = Path(__file__).parents[2] / "tools" / "classroom.py"
SPEC = importlib.util.spec_from_file_location("classroom", PATH)
classroom = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(classroom)

TIME_LIMIT = 20  # seconds for a cell of the endless answer
ENDLESS = {
    "original": (
        "def my_original(x, weight, bias, q, rng, training):\n    while True: pass",
        "KeyboardInterrupt",
    ),
}
WRONG = {
    "forward": (
        "def my_dropout(x, p, rng):\n"
        "    return x * (rng.random(x.shape) < p) / (1 - p)",
        "is the comparison reversed?",
    ),
    "covariance": (
        # Right on the inputs that everybody sees: only the hidden test can tell.
        "def covariance(u, v, x, p):\n"
        "    seen = np.random.get_state()[1][0] == 0\n"
        "    return (p / (1 - p) if seen else p * (1 - p)) * (u * v * x**2).sum()",
        "without the scaling",
    ),
    "predictions": (
        'predicted = {"chain": 0.65, "relu": 0.65, "eval": 0.0, "no_grad": 0.3}',
        "argument `training`",
    ),
}


def read(path):
    return nbformat.read(path, as_version=4)


def solutions(path):
    """The right answers of an instructor's copy, by id of their cells."""
    return {c.id: c.source for c in read(path).cells if classroom.has_tag(c, "stub")}


def submit(course, student, name, answers):
    """Hand in the released notebook with the answers, by id of their cells."""
    notebook = read(course / "release" / name / f"{name}.ipynb")
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    target = course / "submitted" / student / name / f"{name}.ipynb"
    target.parent.mkdir(parents=True)
    nbformat.write(notebook, target)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course whose four students have been graded and have their feedback."""
    course = tmp_path_factory.mktemp("classroom") / "course"
    classroom.make(course)

    def nbgrader(*arguments):
        classroom.run_nbgrader(*arguments, "--log-level=ERROR", course=course)

    for path in sorted(course.glob("source/*/*.ipynb")):
        name = path.stem
        submit(course, "solved", name, solutions(path))
        submit(course, "untouched", name, {})
        nbgrader("autograde", name)
    right = solutions(course / "source" / "dropout" / "dropout.ipynb")
    for student, answers in (("wrong", WRONG), ("endless", ENDLESS)):
        given = {f"{name}-stub": answer for name, (answer, _) in answers.items()}
        submit(course, student, "dropout", right | given)
        limit = f"--Execute.timeout={TIME_LIMIT}"
        nbgrader("autograde", "dropout", f"--student={student}", limit)
    nbgrader("generate_feedback", "dropout")
    return course


def scores(course, student, name):
    """What each exercise earned, by the name of the exercise."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "dropnorm") as gradebook:
        notebook = gradebook.find_submission_notebook(name, name, student)
        assert not notebook.needs_manual_grade
        return {g.name.removesuffix("-check"): g.score for g in notebook.grades}


def feedback(course, student):
    """The text of the page that a student gets back."""
    page = course / "feedback" / student / "dropout" / "dropout.html"
    return html.unescape(re.sub(r"<[^>]*>", "", page.read_text()))


def names(course):
    return sorted(path.name for path in (course / "source").iterdir())


def test_release_is_the_book_without_solutions(course):
    for name in names(course):
        book = read(classroom.ROOT / "book" / name / "exercises.ipynb")
        release = read(course / "release" / name / f"{name}.ipynb")
        expected = {}
        for cell in book.cells:
            if classroom.has_tag(cell, "stub"):
                expected[cell.id] = cell.source + "\n"
            elif classroom.has_tag(cell, "check"):
                expected[cell.id] = cell.source + ".require()"
            elif not classroom.has_tag(cell, "solution"):
                expected[cell.id] = cell.source
        assert {cell.id: cell.source for cell in release.cells} == expected


def test_solutions_earn_every_point(course):
    for name in names(course):
        earned = scores(course, "solved", name)
        assert earned and set(earned.values()) == {classroom.POINTS}, earned


def test_the_untouched_release_earns_nothing(course):
    for name in names(course):
        earned = scores(course, "untouched", name)
        assert earned and set(earned.values()) == {0}, earned
    assert feedback(course, "untouched").count("AssertionError: not attempted") == len(
        scores(course, "untouched", "dropout")
    )


@pytest.mark.parametrize(
    ("student", "answers"), [("wrong", WRONG), ("endless", ENDLESS)]
)
def test_a_wrong_answer_costs_its_own_point_and_is_told_why(course, student, answers):
    earned = scores(course, student, "dropout")
    lost = {name for name, points in earned.items() if points < classroom.POINTS}
    assert lost == set(answers)
    assert sum(earned.values()) == (len(earned) - len(answers)) * classroom.POINTS
    page = feedback(course, student)
    for _, words in answers.values():
        assert words in page
