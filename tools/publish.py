"""Write the repository's address into every file that needs it.

    python tools/publish.py owner/name

Until then the book knows no address: no page has a launch button, and the guard cell
of a notebook says how to make the package instead of installing it.
"""

import re
import sys
from pathlib import Path

import nbformat

UNPUBLISHED_GUARD = """\
try:
    import dropnorm
except ImportError as error:
    raise ImportError(
        "this notebook needs the book's package: run `make book` in a "
        "clone of the book, then open the notebook with `make lab`"
    ) from error"""
PUBLISHED_GUARD = """\
try:
    import dropnorm
except ImportError:
    %pip install -q "dropnorm @ git+{url}"
    import dropnorm"""


def guard(url):
    """The first code cell of every notebook, for the address in _config.yml."""
    return PUBLISHED_GUARD.format(url=url) if url else UNPUBLISHED_GUARD


def publish(root, repository):
    """Set the address in all files below `root`; raise ValueError if one has no place.

    `repository` is "owner/name" on GitHub. A second call changes the address.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"REPOSITORY must be owner/name, got {repository!r}")
    owner, name = repository.split("/")
    url = f"https://github.com/{repository}"
    host = f"{owner.lower()}.github.io"
    # The repository of that name is served at the top, all others in a folder.
    site = f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"
    lines = {
        "_config.yml": {
            r"^  url: .*$": f"  url: {url}",
            r"^  binderhub_url: .*$": "  binderhub_url: https://mybinder.org",
            r"^  colab_url: .*$": "  colab_url: https://colab.research.google.com",
            r"^  use_issues_button: .*$": "  use_issues_button: true",
            r"^  baseurl: .*$": f"  baseurl: {site}",
        },
        "README.md": {
            r"^(# .*)\n(\nRead it at .*\n)?": rf"\1\n\nRead it at <{site}>.\n",
        },
        "CITATION.cff": {
            r"^version: (.*)\n(repository-code: .*\n)?(url: .*\n)?": (
                rf'version: \1\nrepository-code: "{url}"\nurl: "{site}"\n'
            ),
        },
    }
    for file, changes in lines.items():
        text = (root / file).read_text(encoding="utf-8")
        for pattern, replacement in changes.items():
            text, found = re.subn(pattern, replacement, text, count=1, flags=re.M)
            if not found:
                raise ValueError(f"{file} has no line like {pattern}")
        (root / file).write_text(text, encoding="utf-8")
    for path in sorted((root / "book").rglob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.id == "guard":
                cell.source = guard(url)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("make publish REPOSITORY=owner/name")
    publish(Path(__file__).parents[1], sys.argv[1])
