"""The directive `chapter-map` draws which chapter needs which.

Each line of its content is a chapter, by file below book/, its short name
in parentheses, and behind a colon the chapters that it needs:

    dropout/layer (the layer): foundations/networks

From every chapter that others need a line runs down, and where one of
these stands, turns to it. Lines begin to the right of all those that run
already, so none is crossed where it begins.
"""

import re
from pathlib import Path

import jinja2
import yaml
from docutils import nodes
from markupsafe import Markup
from sphinx.util.docutils import SphinxDirective

LINE = re.compile(r"(\S+) \((.+)\):((?: \S+)*)$")
LANE, ROW, NAME = 11, 27, 190  # widths of line and name, height of row
UP, DOWN = 4, 6  # where, above and below its middle, lines reach a row


def parts(root):
    """Each chapter of _toc.yml, with the title of its part."""
    toc = yaml.safe_load(
        Path(root, "_toc.yml").read_text(encoding="utf-8")
    )
    return {
        each["file"].removeprefix("book/"): part["caption"]
        for part in toc["parts"]
        for each in part["chapters"]
        if not each["file"].startswith("book/reference/")
    }


def lanes(needs):
    """The number of each needed chapter's line, and who needs it last."""
    last, number = {}, {}
    for chapter, needed in needs.items():
        for each in needed:
            last[each] = chapter
    running = []
    for chapter in needs:
        running = [each for each in running if last[each] != chapter]
        if chapter in last:
            number[chapter] = 1 + max(map(number.get, running), default=-1)
            running.append(chapter)
    return number, last


class ChapterMap(SphinxDirective):
    has_content = True

    def run(self):
        found = [LINE.match(line) for line in self.content]
        if not all(found):
            raise self.error("a line is not 'file (name): files'")
        self.env.note_dependency(str(Path(self.env.srcdir, "_toc.yml")))
        of = parts(self.env.srcdir)
        if [match[1] for match in found] != list(of):
            raise self.error("the chapters are not those of _toc.yml")
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        html = environment.get_template("chapter_map.svg").render(
            **self.drawing(found, of)
        )
        return [nodes.raw("", Markup(html), format="html")]

    def drawing(self, found, of):
        name = {match[1]: match[2] for match in found}
        needs = {match[1]: match[3].split() for match in found}
        number, last = lanes(needs)
        left = (1 + max(number.values())) * LANE + 16
        y, here, top, headings, chapters = 0, None, {}, [], []
        for chapter in needs:
            if of[chapter] != here:
                here = of[chapter]
                y += ROW
                headings.append({"y": y, "text": here})
            y += ROW
            top[chapter] = y
            wanted = ", ".join(name[each] for each in needs[chapter])
            chapters.append(
                {
                    "y": y,
                    "name": name[chapter],
                    "href": self.env.app.builder.get_relative_uri(
                        self.env.docname, f"book/{chapter}"
                    ),
                    "needs": wanted,
                }
            )
        paths, dots = [], []
        for chapter, needed in needs.items():
            end = top[chapter] - UP
            for each in needed:
                x = LANE * number[each] + 6
                begin = top[each] + DOWN
                if last[each] == chapter:
                    paths.append(
                        {
                            "color": list(number).index(each) % 4,
                            "d": f"M{left - 4} {begin}H{x + 5}"
                            f"q-5 0-5 5V{end - 5}q0 5 5 5",
                        }
                    )
                else:
                    dots.append({"x": x, "y": end})
            if needed:
                first = min(needed, key=number.get)
                x = LANE * number[first] + 6 + 5 * (last[first] == chapter)
                paths.append(
                    {"color": "end", "d": f"M{x} {end}H{left - 10}"}
                )
        return {
            "width": left + NAME,
            "height": y + 14,
            "left": left,
            "headings": headings,
            "chapters": chapters,
            "paths": paths,
            "dots": dots,
        }


def setup(app):
    app.add_directive("chapter-map", ChapterMap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
