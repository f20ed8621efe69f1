"""The rules that every notebook keeps, so that it reads well in four places."""

import ast
import inspect
import re
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import yaml
from execute import METADATA
from publish import guard
from sphinx_external_toc.parsing import parse_toc_yaml

from dropnorm import layers

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(
    p for p in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
)
IDS = [str(p.relative_to(ROOT)) for p in NOTEBOOKS]
# What differs from run to run or from machine to machine.
VOLATILE = {
    "an address": r"\b0x[0-9a-fA-F]{6,}",
    "a path": r"(^|[\s'\"(])((/[\w.-]+){2,}|[A-Z]:\\)",
    "a time": r"\b\d+(\.\d+)? ?(ns|us|µs|ms|s|sec|seconds|minutes)\b|Wall time",
    "a warning": r"Warning\b",
    "a traceback": r"Traceback \(most recent",
}
MYST = {
    "a directive": r"^\s*(```+|~~~+|:::+)\s*\{",
    "a role": r"\{[a-z:-]+\}`",
    "a substitution": r"\{\{",
    "a target": r"^\([\w-]+\)=",
}


@pytest.fixture(params=NOTEBOOKS, ids=IDS)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    return nbformat.read(path, as_version=4).cells


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def markdown(cells):
    return [cell for cell in cells if cell.cell_type == "markdown"]


def texts(cell):
    """Everything in a cell's outputs that nbval compares as text."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        else:
            for kind, value in output.get("data", {}).items():
                if not kind.startswith("image/png"):
                    yield str(value)


def test_there_are_notebooks_and_the_toc_has_them_all():
    listed = set(parse_toc_yaml(ROOT / "_toc.yml"))
    assert NOTEBOOKS
    prose = (p for p in (ROOT / "book").rglob("*.md") if "_static" not in p.parts)
    pages = {str(p.relative_to(ROOT).with_suffix("")) for p in [*NOTEBOOKS, *prose]}
    assert listed == pages


def test_execution_counts_run_from_one(cells):
    counts = {cell.id: cell.execution_count for cell in code(cells)}
    assert list(counts.values()) == list(range(1, len(counts) + 1)), counts


def test_no_cell_is_empty(cells):
    assert [cell.id for cell in cells if not cell.source.strip()] == []


def test_no_error_and_nothing_on_stderr(cells):
    for cell in code(cells):
        for output in cell.outputs:
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", f"{cell.id}: {output.text}"


def test_outputs_are_the_same_on_every_run_and_machine(cells):
    for cell in code(cells):
        for text in texts(cell):
            for what, pattern in VOLATILE.items():
                found = re.search(pattern, text, re.MULTILINE)
                assert not found, f"{cell.id} prints {what}: {found[0]!r}"


def test_no_widgets(cells):
    for cell in code(cells):
        for output in cell.outputs:
            kinds = set(output.get("data", {}))
            assert not any("widget" in kind for kind in kinds), cell.id


def test_metadata_are_in_the_normal_form(path):
    """`make execute` writes this form; so does nothing else by accident."""
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata == METADATA
    for cell in notebook.cells:
        allowed = {"tags", "claim", "mystnb"}
        assert set(cell.metadata) <= allowed, f"{cell.id}: {set(cell.metadata)}"
    assert path.read_text() == nbformat.writes(notebook) + "\n", "run make execute"


def test_cell_ids_are_readable_and_unique(cells):
    ids = [cell.id for cell in cells]
    assert len(set(ids)) == len(ids)
    for name in ids:
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name), name
        assert not re.fullmatch(r"[0-9a-f]{8}", name), f"{name} is a random id"


def test_every_figure_has_the_alternative_text_of_its_code(cells):
    for cell in code(cells):
        figures = [o for o in cell.outputs if "image/png" in o.get("data", {})]
        for figure in figures:
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= 40, f"{cell.id}: show figures with plots.show"
            assert alt == figure.metadata["image/png"]["alt"], cell.id
        assert len(figures) <= 1, f"{cell.id}: one figure a cell, one alt text"


def test_every_interactive_figure_has_a_task_and_a_description(cells):
    for before, cell in pairwise(cells):
        outputs = cell.get("outputs", [])
        pages = [
            o.data["text/html"] for o in outputs if "text/html" in o.get("data", {})
        ]
        for page in pages:
            assert page.startswith('<figure class="dropnorm-figure"'), cell.id
            alt = re.search(r'<img alt="([^"]*)"', page)[1]
            assert len(alt) >= 40, cell.id
            assert before.cell_type == "markdown" and "> **Predict." in before.source
            assert len(page.encode()) < 40_000, cell.id
        assert len(pages) <= 1, f"{cell.id}: one figure a cell"


def test_size_and_width(path, cells):
    assert path.stat().st_size < 1_000_000
    for cell in cells:
        blocks = [cell.source]
        if cell.cell_type == "markdown":
            blocks = re.findall(r"^```\w*\n(.*?)^```", cell.source, re.M | re.S)
        for line in "\n".join(blocks).splitlines():
            assert len(line) <= 75, f"{cell.id}: {line}"


def test_outputs_are_ignored_only_for_a_reason(cells):
    for cell in code(cells):
        tags = [t for t in cell.metadata.get("tags", []) if t.startswith("nbval")]
        for tag in tags:
            assert re.search(rf"# {tag}: \w+ \w+", cell.source), (
                f"{cell.id} has the tag {tag} without '# {tag}: reason'"
            )


def test_the_guard_comes_first_and_is_the_same_everywhere(cells):
    first = code(cells)[0]
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    expected = guard(config["repository"]["url"])
    assert (first.id, first.source) == ("guard", expected)
    assert first.metadata.tags == ["remove-cell"]
    assert re.search(r"^rng = dropnorm\.reproducible\(", code(cells)[1].source, re.M)


def test_markdown_is_plain(cells):
    for cell in markdown(cells):
        prose = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "", cell.source, flags=re.S)
        for what, pattern in MYST.items():
            found = re.search(pattern, prose, re.MULTILINE)
            assert not found, f"{cell.id} has {what}: {found[0]!r}"
        tags = set(re.findall(r"</?([a-zA-Z]\w*)[\s>]", prose))
        assert tags <= {"details", "summary", "code"}, f"{cell.id}: {tags}"


def test_details_have_the_blank_lines_that_every_renderer_needs(cells):
    for cell in markdown(cells):
        if "<details>" in cell.source:
            assert re.search(r"</summary>\n\n", cell.source), cell.id
            assert re.search(r"\n\n</details>\s*$", cell.source), cell.id
            for fence in re.finditer(r"^```\w*$", cell.source, re.MULTILINE):
                before = cell.source[: fence.start()]
                after = cell.source[fence.end() :]
                opens = before.count("\n```") % 2 == 0
                assert (before if opens else after).strip("\n") != ""
                assert before.endswith("\n\n") if opens else after[:2] == "\n\n", (
                    f"{cell.id}: blank lines around fences"
                )


def test_relative_links_lead_to_files(path, cells):
    for cell in markdown(cells):
        for target in re.findall(r"\]\(([^)\s]+)\)", cell.source):
            if not target.startswith(("http:", "https:", "#")):
                file = path.parent / target.split("#")[0]
                assert file.exists(), f"{cell.id}: {target}"


def test_claims_are_ids_of_the_audit(cells):
    for cell in cells:
        for claim in cell.metadata.get("claim", []):
            assert re.fullmatch(r"S[0-4]-[A-Z]\d+(\.\d+)?", claim), cell.id


def quoted(cells):
    """The Python that stands in a Markdown cell below the words "from the package:"."""
    for cell in markdown(cells):
        before, words, after = cell.source.partition("from the package:\n\n")
        if words:
            yield re.match(r"```python\n(.*?)^```", after, re.M | re.S)[1]


def without_docstrings(tree):
    for node in ast.walk(tree):
        kinds = ast.ClassDef, ast.FunctionDef
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


def test_code_quoted_from_the_package_is_the_packages(cells):
    """Chapters quote functions of dropnorm.layers without their docstrings."""
    for text in quoted(cells):
        for quote in ast.parse(text).body:
            source = inspect.getsource(getattr(layers, quote.name))
            original = ast.parse(source).body[0]
            assert without_docstrings(quote) == without_docstrings(original)


@pytest.mark.parametrize(
    "chapter",
    [
        "foundations/networks",
        "dropout/layer",
        "batchnorm/layer",
        "batchnorm/backward",
        "cnn/convolution",
    ],
)
def test_quotations_are_found(chapter):
    path = ROOT / "book" / f"{chapter}.ipynb"
    assert list(quoted(nbformat.read(path, as_version=4).cells))


@pytest.mark.parametrize("hidden", ["keras", "onnx", "onnxruntime", "onnxscript"])
def test_frameworks_says_in_one_line_what_to_install(hidden, monkeypatch):
    """Its optional packages are those of the group `practice`, checked up front."""
    path = ROOT / "book" / "practice" / "frameworks.ipynb"
    setup = code(nbformat.read(path, as_version=4).cells)[1].source
    start, _, _ = setup.partition("import keras")
    monkeypatch.setitem(sys.modules, hidden, None)  # as if it were not installed
    with pytest.raises(ImportError, match=f"also needs {hidden}: ") as error:
        exec(start, {})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    group = project["optional-dependencies"]["practice"]
    packages = " ".join(re.match(r"\w+", line)[0] for line in group)
    assert str(error.value).endswith(f"%pip install {packages}")
