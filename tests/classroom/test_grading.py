"""nbgrader grades the course as it should. Runs by `make test-classroom`.

Four students hand in every exercise notebook. `solved` has the worked solutions and
`untouched` the release as it is. `first` has a wrong answer in the first exercise, the
third and so on, `second` in the others, and the solutions elsewhere: so each exercise
is answered wrongly once, beside neighbors that are right. The wrong answers are those
of the tests of the checkers, one for each exercise; `make test-classroom WRONG=all`
has two more students for each further one, and takes hours. PART=dropout tests one
notebook.
"""

import ast
import html
import importlib.util
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("classroom", ROOT / "tools/classroom.py")
classroom = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(classroom)

PARTS = os.getenv("PART") or "*"
NAMES = sorted(path.parent.name for path in ROOT.glob(f"book/{PARTS}/exercises.ipynb"))
EACH = pytest.mark.parametrize("name", NAMES)
ANSWER = """\
import pickle
with open({file!r}, "rb") as file:
    {names} = pickle.loads(pickle.load(file)[{checker!r}][{number}][0])"""
ENDLESS = """\
def {name}(*args, **kwargs):
    import time
    while True:
        time.sleep(0.01)"""
STOPPED = "KeyboardInterrupt|CellTimeoutError"  # after the time limit of the course
# Right on the inputs that everybody sees: only the hidden tests can tell.
FITTED = {
    "dropout": {
        "covariance": (
            "def covariance(u, v, x, p):\n"
            "    seen = np.random.get_state()[1][0] == 0\n"
            "    return (p / (1 - p) if seen else p * (1 - p)) * (u * v * x**2).sum()",
            "without the scaling",
        )
    }
}


def read(path):
    return nbformat.read(path, as_version=4)


def cells(notebook, tag):
    """The cells with a tag, by the name of their exercise."""
    return {
        cell.id.removesuffix(f"-{tag}"): cell
        for cell in notebook.cells
        if classroom.has_tag(cell, tag)
    }


def defined(source):
    """The names that a stub defines, and whether each is a function."""
    found = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = isinstance(statement, ast.FunctionDef)
        elif isinstance(statement, ast.Assign):
            found |= {target.id: False for target in statement.targets}
    return found


class Course:
    """A course in a folder of its own, and what is expected of its students.

    `expected[student, name]` has, for each exercise that the student must fail, the
    words of the diagnosis.
    """

    def __init__(self, folder):
        self.folder = folder
        self.expected = {}
        classroom.make(folder, parts=PARTS)
        script = Path(__file__).with_name("wrong_answers.py")
        self.wrong_file = folder / "wrong.pickle"
        subprocess.run([sys.executable, script, self.wrong_file], check=True)
        self.wrong = pickle.loads(self.wrong_file.read_bytes())

    def nbgrader(self, *arguments):
        classroom.run_nbgrader(*arguments, "--log-level=ERROR", course=self.folder)

    def submit(self, student, name, answers, expected):
        """Hand in the released notebook with the answers."""
        self.expected[student, name] = expected
        notebook = read(self.folder / "release" / name / f"{name}.ipynb")
        for exercise, cell in cells(notebook, "stub").items():
            cell.source = answers.get(exercise, cell.source)
        target = self.folder / "submitted" / student / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(notebook, target)

    def submit_all(self, name):
        """What all students hand in of one notebook."""
        source = read(self.folder / "source" / name / f"{name}.ipynb")
        release = read(self.folder / "release" / name / f"{name}.ipynb")
        right = {e: cell.source for e, cell in cells(source, "stub").items()}
        self.submit("solved", name, right, {})
        self.submit("untouched", name, {}, dict.fromkeys(right, "not attempted"))

        stubs, wrong = cells(release, "stub"), {}
        for exercise, check in cells(release, "check").items():
            call = ast.parse(check.source).body[0].value.func.value
            checker = ast.unparse(call.func).removeprefix("checks.")
            names = [argument.id for argument in call.args]
            wrong[exercise] = [
                (
                    ANSWER.format(
                        file=str(self.wrong_file),
                        names=", ".join(names) + ",",
                        checker=checker,
                        number=number,
                    ),
                    words,
                )
                for number, (_, words) in enumerate(self.wrong[checker])
            ]
        rounds = max(map(len, wrong.values())) if os.getenv("WRONG") == "all" else 1
        order = list(right)
        for number in range(rounds):
            for student, chosen in (("first", order[::2]), ("second", order[1::2])):
                chosen = [e for e in chosen if number < len(wrong[e])]
                given = {e: wrong[e][number] for e in chosen}
                if student == "second" and number == 0:
                    given |= self.endless(stubs, order[::2])
                    given |= FITTED.get(name, {})
                answers = right | {e: answer for e, (answer, _) in given.items()}
                words = {e: words for e, (_, words) in given.items()}
                self.submit(f"{student}{number or ''}", name, answers, words)

    def endless(self, stubs, exercises):
        """An answer that never ends, to the first exercise that asks for a function."""
        for exercise in exercises:
            for function, is_function in defined(stubs[exercise].source).items():
                if is_function:
                    answer = ENDLESS.format(name=function)
                    return {exercise: (answer, STOPPED)}
        raise ValueError("no exercise asks for a function")

    def grade(self, name):
        self.nbgrader("autograde", name)
        self.nbgrader("generate_feedback", name)

    def scores(self, student, name):
        """What each exercise earned."""
        database = f"sqlite:///{self.folder / 'gradebook.db'}"
        with Gradebook(database, "dropnorm") as gradebook:
            notebook = gradebook.find_submission_notebook(name, name, student)
            assert not notebook.needs_manual_grade
            return {g.name.removesuffix("-check"): g.score for g in notebook.grades}

    def errors(self, student, name):
        """What the check of each exercise raised."""
        folder = self.folder / "autograded" / student / name
        return {
            exercise: f"{output.ename}: {output.evalue}"
            for exercise, cell in cells(read(folder / f"{name}.ipynb"), "check").items()
            for output in cell.outputs
            if output.output_type == "error"
        }

    def feedback(self, student, name):
        """The text of the page that a student gets back."""
        page = self.folder / "feedback" / student / name / f"{name}.html"
        return html.unescape(re.sub(r"<[^>]*>", "", page.read_text()))


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course whose students have been graded and have their feedback."""
    course = Course(tmp_path_factory.mktemp("classroom") / "course")
    for name in NAMES:
        course.submit_all(name)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(course.grade, NAMES))
    return course


@EACH
def test_release_is_the_book_without_solutions(course, name):
    book = read(ROOT / "book" / name / "exercises.ipynb")
    release = read(course.folder / "release" / name / f"{name}.ipynb")
    expected = {}
    for cell in book.cells:
        if classroom.has_tag(cell, "stub"):
            expected[cell.id] = cell.source + "\n"
        elif classroom.has_tag(cell, "check"):
            expected[cell.id] = cell.source + ".require()"
        elif not classroom.has_tag(cell, "solution"):
            expected[cell.id] = cell.source
    assert {cell.id: cell.source for cell in release.cells} == expected


@EACH
def test_every_exercise_is_answered_wrongly_once(course, name):
    release = read(course.folder / "release" / name / f"{name}.ipynb")
    wrong = course.expected["first", name] | course.expected["second", name]
    assert set(wrong) == set(cells(release, "stub"))
    assert STOPPED in wrong.values()


@EACH
def test_each_student_loses_exactly_the_points_of_wrong_answers(course, name):
    for student in [s for s, n in course.expected if n == name]:
        earned = course.scores(student, name)
        lost = {exercise for exercise, points in earned.items() if points == 0}
        assert lost == set(course.expected[student, name]), student
        assert sum(earned.values()) == (len(earned) - len(lost)) * classroom.POINTS


@EACH
def test_each_wrong_answer_is_told_why(course, name):
    for student in [s for s, n in course.expected if n == name]:
        errors, page = course.errors(student, name), course.feedback(student, name)
        expected = course.expected[student, name]
        assert set(errors) == set(expected), student
        for exercise, words in expected.items():
            error = errors[exercise]
            assert any(w in error for w in words.split("|")), (exercise, words, error)
            assert error.strip(": \n") in page
