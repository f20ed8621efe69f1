"""Upgrade the book's plain Markdown when the site is built.

Notebooks hold only what JupyterLab, GitHub and Colab render too. This
extension adds what a site can do better: boxes, scrolling formulas, and an
anchor for each claim.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

# First bold word of a block quote that becomes a box. In lower case it is
# the class of the box: the theme styles two, custom.css the others.
BOXES = {"Predict", "Exercise", "Note", "Warning"}

# The theme's script gives elements of this class a tab stop while their
# content is wider than they are, so that they also scroll by keyboard.
SCROLLABLE = "pst-scrollable-table-container"


class Boxes(SphinxTransform):
    """A block quote that begins with **Predict**, say, becomes a box."""

    default_priority = 400

    def apply(self):
        for quote in list(self.document.findall(nodes.block_quote)):
            if not (
                quote.children and isinstance(quote[0], nodes.paragraph)
            ):
                continue
            # The parser puts an empty Text in front of the bold one.
            inline = [node for node in quote[0] if node.astext()]
            if not (inline and isinstance(inline[0], nodes.strong)):
                continue
            bold, *rest = inline
            kind = bold.astext().split()[0].rstrip(".:")
            if kind not in BOXES:
                continue
            title = nodes.title("", "", *bold.children)
            box = nodes.admonition("", title, classes=[kind.lower()])
            if rest:
                if isinstance(rest[0], nodes.Text):
                    rest[0] = rest[0].lstrip(" .:\n")
                box += nodes.paragraph("", "", *rest)
            box += quote.children[1:]
            quote.replace_self(box)


class Formulas(SphinxTransform):
    """Displayed formulas scroll and bear no number but the author's \\tag.

    Sphinx would wrap a formula of several lines in an environment in which
    \\tag is an error, and number a bare align environment itself. (That
    one already has nowrap.)
    """

    default_priority = 400

    def apply(self):
        for formula in self.document.findall(nodes.math_block):
            formula["classes"].append(SCROLLABLE)
            formula["number"] = None
            if r"\tag" in formula.astext() and not formula["nowrap"]:
                formula["nowrap"] = True
                formula.children = [nodes.Text(rf"\[{formula.astext()}\]")]


class ClaimAnchors(SphinxTransform):
    """The items in a cell's metadata (`claim: [S1-L2]`) become anchors."""

    default_priority = 400

    def apply(self):
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") != "cell_code":
                continue
            for claim in cell["cell_metadata"].get("claim", []):
                if claim in self.document.ids:
                    logger.warning(
                        "claim %s is in two cells", claim, location=cell
                    )
                    continue
                cell["ids"].append(claim)
                self.document.ids[claim] = cell


def setup(app):
    for transform in (Boxes, Formulas, ClaimAnchors):
        app.add_transform(transform)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
