"""The directive `claims`: reference/claims.yml as tables, by claims.html.

Its argument is `counts` or `items`. The tables need no JavaScript;
claims.js adds what filters the items.
"""

import re
from collections import Counter
from pathlib import Path

import jinja2
import nbformat
import yaml
from docutils import nodes
from markupsafe import Markup, escape
from sphinx.util.docutils import SphinxDirective

VERDICTS = ["right", "imprecise", "wrong", "unsupported", "depends"]
KINDS = {  # the letter in an item's name
    "C": "concept",
    "A": "algorithm step",
    "F": "formula",
    "L": "listing",
    "H": "claim",
    "Q": "question",
    "T": "trend or challenge",
    "U": "recommendation",
    "R": "references",
}


def code(text):
    """`Backticks` in a statement become code."""
    html = str(escape(text))
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", html))


class Claims(SphinxDirective):
    required_arguments = 1

    def run(self):
        record = Path(self.env.srcdir, "book", "reference", "claims.yml")
        self.env.note_dependency(str(record))
        claims = yaml.safe_load(record.read_text(encoding="utf-8"))
        for item, claim in claims.items():
            claim["article"], claim["kind"] = item[:2], KINDS[item[3]]
            if "notebook" in claim:
                claim["title"], claim["href"] = self.evidence(item, claim)
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["code"] = code
        html = environment.get_template("claims.html").render(
            part=self.arguments[0],
            claims=claims,
            articles=sorted(
                {claim["article"] for claim in claims.values()}
            ),
            verdicts=VERDICTS,
            counts=Counter(
                (c["article"], c["verdict"]) for c in claims.values()
            ),
        )
        return [nodes.raw("", html, format="html")]

    def evidence(self, item, claim):
        """The title of the chapter that decides, and the address in it."""
        path = Path(self.env.srcdir, "book", f"{claim['notebook']}.ipynb")
        self.env.note_dependency(str(path))
        cells = nbformat.read(path, as_version=4).cells
        anchor = item  # of the cell that runs it
        if "line" not in claim:  # of the heading above the derivation
            for cell in cells:
                for line in cell.source.splitlines():
                    if cell.cell_type == "markdown" and line[:2] == "##":
                        anchor = nodes.make_id(line.lstrip("# "))
                if cell.id == claim["cell"]:
                    break
        page = self.env.app.builder.get_relative_uri(
            self.env.docname, f"book/{claim['notebook']}"
        )
        title = cells[0].source.splitlines()[0].lstrip("# ")
        return title, f"{page}#{anchor}"


def setup(app):
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
