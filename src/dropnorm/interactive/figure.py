"""One interactive figure: HTML that is complete without its script."""

import json
from base64 import b64encode
from html import escape
from importlib.resources import files


class Figure:
    """What a notebook displays: a picture, its numbers, and controls that redraw it.

    The picture and the numbers of the first setting are in the HTML. Its script, if
    it may run, shows the controls and writes other pictures and numbers in place. It
    loads nothing, and finds its figure by name, so that figures need no ids.

    JupyterLab shows the outputs of a notebook that it does not trust without scripts,
    styles and SVG elements, but keeps the text inside the latter, and other controls.
    So the picture is an image, and the controls are text in a script, until it runs.

    Parameters
    ----------
    name : str
        Of the script, with underscores.
    label : str
        What the picture shows, for a reader who cannot see it.
    controls : list of str
        HTML, from `slider`, `choice` and `button`.
    svg : str
        The content of the picture, 340 units wide.
    height : int
        Of the picture, in these units.
    numbers : str
        HTML: a `table`, a `status` or both, each number in a `number`.
    data : dict
        What the script needs to know; simple enough for JSON.
    """

    def __init__(self, name, label, *, controls, svg, height, numbers, data):
        self._name, self._label = name, label
        self._controls, self._numbers = "".join(controls), numbers
        self._svg, self._height, self._data = svg, height, data

    def __repr__(self):
        return f"interactive figure: {self._label}"

    def _repr_html_(self):
        here = files(__package__)
        code = [(here / f"{name}.js").read_text() for name in ("shared", self._name)]
        style, picture_style = (
            (here / f"{name}.css").read_text() for name in ("shared", "picture")
        )
        picture = (
            '<svg xmlns="http://www.w3.org/2000/svg" class="dropnorm-picture" '
            f'width="340" height="{self._height}" viewBox="0 0 340 {self._height}">\n'
            f"<style>\n{picture_style}</style>\n{self._svg}</svg>"
        )
        source = "data:image/svg+xml;base64," + b64encode(picture.encode()).decode()
        data = escape(json.dumps(self._data, separators=(",", ":")), quote=False)
        data = data.replace("'", "&#39;")
        return (
            f'<figure class="dropnorm-figure" data-figure="{self._name}" '
            f"data-data='{data}'>\n<style>\n{style}</style>\n"
            f'<script type="text/html">\n'
            f'<div class="settings" role="group" aria-label="Settings">\n'
            f"{self._controls}</div>\n</script>\n"
            f'<img alt="{escape(self._label)}" src="{source}"/>\n'
            f'{self._numbers}<p class="still">The first setting. Where scripts run, '
            "controls appear above it.</p>\n</figure>\n"
            f"<script>\n(() => {{\n{''.join(code)}}})();\n</script>\n"
        )


def slider(name, label, low, high, step, value):
    """A slider for a number."""
    return (
        f'<label>{label} = <b class="shown">{value:g}</b>'
        f'<input type="range" data-control="{name}" '
        f'min="{low}" max="{high}" step="{step}" value="{value:g}"/></label>\n'
    )


def steps(name, label, values, value):
    """A slider over a list of numbers."""
    return (
        f'<label>{label} = <b class="shown">{value:g}</b>'
        f'<input type="range" data-control="{name}" data-values="{list(values)}" '
        f'min="0" max="{len(values) - 1}" step="1" value="{values.index(value)}" '
        f'aria-valuetext="{value:g}"/></label>\n'
    )


def choice(name, label, options, value):
    """A menu; `options` maps what is shown to values."""
    chosen = {True: ' selected=""', False: ""}
    items = "".join(
        f'<option value="{option}"{chosen[option == value]}>{escape(shown)}</option>'
        for shown, option in options.items()
    )
    return f'<label>{label}<select data-control="{name}">{items}</select></label>\n'


def button(name, label):
    """A button that counts how often it was pressed, from 1."""
    return (
        f'<button type="button" data-control="{name}" value="1">'
        f'{label} (now no. <b class="shown">1</b>)</button>\n'
    )


def number(name, text):
    """A number that the script writes anew."""
    return f'<span data-number="{name}">{text}</span>'


def table(columns, rows):
    """A table of numbers; `rows` maps the row's heading to its cells."""
    heads = (f'<th scope="col">{column}</th>' for column in columns)
    head = "".join(heads).replace('<th scope="col"></th>', "<td></td>")
    body = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>\n"
        for name, cells in rows.items()
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>\n"


def status(*sentences):
    """Sentences that screen readers say when they change."""
    paragraphs = "".join(f"<p>{sentence}</p>\n" for sentence in sentences)
    return f'<div role="status">\n{paragraphs}</div>\n'


def polyline(points):
    """The points of an SVG polyline."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def axes(box, x_ticks, y_ticks, x_label, y_label):
    """Frame, grid and labels of a plot; ticks map their text to places in the SVG."""
    left, right, top, bottom = box
    parts = [f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>\n']
    for text, x in x_ticks.items():
        parts += [f'<text class="middle" x="{x:.1f}" y="{bottom + 16}">{text}</text>\n']
    for text, y in y_ticks.items():
        parts += [f'<path class="grid" d="M{left + 1} {y:.1f}H{right}"/>\n']
        parts += [f'<text class="end" x="{left - 4}" y="{y + 5:.1f}">{text}</text>\n']
    middle = (left + right) / 2
    parts += [f'<text class="middle" x="{middle}" y="{bottom + 34}">{x_label}</text>\n']
    parts += [f'<text x="4" y="{top - 8}">{y_label}</text>\n']
    return "".join(parts)
