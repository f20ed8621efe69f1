"""Run notebooks in place and write them in the one form that the tests accept.

    python tools/execute.py book/dropout/layer.ipynb ...

Keeps cell ids, sources and the cells' own metadata; replaces outputs and counts;
drops everything that changes from run to run. A figure shown by
`dropnorm.plots.show` carries its alternative text in the output's metadata: it is
copied into the cell's, where the site looks for it.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def normalize(notebook):
    """Bring an executed notebook into the stored form, in place."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat_minor = 5
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        cell.metadata.pop("mystnb", None)
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell.metadata["mystnb"] = {"image": {"alt": alt}}


def execute(path):
    """Run one notebook with its own folder as working directory."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    normalize(notebook)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        execute(Path(name))
