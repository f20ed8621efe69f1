"""tools/execute.py brings notebooks into the form that test_notebooks demands."""

import execute
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def test_execute_stores_outputs_and_alt_text_and_nothing_volatile(tmp_path):
    source = (
        "import matplotlib.pyplot as plt\n"
        "from dropnorm import plots\n"
        "print(6 * 7)\n"
        "plots.show(plt.subplots()[0], 'empty axes')"
    )
    cells = [
        new_markdown_cell("# Title", id="title"),
        new_code_cell(source, id="draw", metadata={"tags": ["stub"]}),
    ]
    path = tmp_path / "notebook.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"author": "me"}), path)
    execute.execute(path)
    first = path.read_text()
    execute.execute(path)
    assert path.read_text() == first

    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata == execute.METADATA
    cell = notebook.cells[1]
    assert (cell.id, cell.execution_count, cell.source) == ("draw", 1, source)
    assert cell.metadata == {
        "tags": ["stub"],
        "mystnb": {"image": {"alt": "empty axes"}},
    }
    printed, figure = cell.outputs
    assert printed.text == "42\n" and "image/png" in figure.data


def test_stale_alt_text_goes(tmp_path):
    cell = new_code_cell("1", metadata={"mystnb": {"image": {"alt": "gone"}}})
    notebook = new_notebook(cells=[cell])
    execute.normalize(notebook)
    assert "mystnb" not in notebook.cells[0].metadata
