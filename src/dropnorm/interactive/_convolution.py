"""A kernel that slides over an image of a digit."""

import numpy as np
from sklearn.datasets import load_digits

from dropnorm.interactive.arithmetic import fixed
from dropnorm.interactive.figure import Figure, choice, number, slider, status
from dropnorm.layers import conv2d_forward

KERNELS = {  # name: whole numbers, and what they are divided by
    "Sobel, left to right": ([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], 1),
    "Sobel, top to bottom": ([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], 1),
    "Laplacian": ([[0, 1, 0], [1, -4, 1], [0, 1, 0]], 1),
    "one pixel, 1 × 1": ([[1]], 1),
    "mean of 2 × 2": ([[1, 1], [1, 1]], 4),
    "mean of 5 × 5": ([[1] * 5] * 5, 25),
}
SIDE = 8  # pixels of an image
LEFT, TOP, WIDE = (4, 180), 26, 156  # of the drawings


def _gray(share):
    """From white to a gray in which a mark can still be seen."""
    return np.floor(255 - 120 * share + 0.5).astype(int)


def _sum(weights, window, divisor):
    """The sum as a reader would write it, products in the kernel's order."""
    terms = [f"{w}·{x}" for w, x in zip(weights.flat, window.flat, strict=True) if w]
    text = " + ".join(term.replace("-", "−") for term in terms)
    return f"({text}) / {divisor}" if divisor > 1 else text


def convolution(digit=3, stride=1, padding=0, place=0):
    """A kernel on a window of an 8 × 8 digit, the sum there, and the whole output.

    Parameters
    ----------
    digit : int
    stride : int
        1, 2 or 3.
    padding : int
        0, 1 or 2.
    place : int
        The window that is shown first, in reading order, from 0.
    """
    digits = load_digits()
    images = [digits.images[digits.target == d][0].astype(int) for d in range(10)]
    name, (rows, divisor) = next(iter(KERNELS.items()))
    kernel = np.array(rows)
    k = len(kernel)
    image = images[digit].astype(float)[None, None]
    weight = kernel[None, None] / divisor
    y = conv2d_forward(image, weight, stride=stride, padding=padding)[0][0, 0]
    padded = np.pad(images[digit], padding)
    size = (SIDE + 2 * padding - k) // stride + 1  # (3)
    i, j = divmod(place, size)
    window = padded[stride * i : stride * i + k, stride * j : stride * j + k]
    covered = np.zeros(padded.shape, bool)
    for a in range(size):
        for b in range(size):
            covered[stride * a :, stride * b :][:k, :k] = True
    unseen = (~covered)[padding : padding + SIDE, padding : padding + SIDE].sum()
    top = abs(y).max() or 1

    cell = WIDE / len(padded)

    def box(left, row, column, n=1):
        x, y, side = left + cell * column, TOP + cell * row, cell * n
        return f"M{x:.1f} {y:.1f}h{side:.1f}v{side:.1f}h-{side:.1f}z"

    def cells(grays, left):
        return "".join(
            f'<path fill="rgb({g},{g},{g})" stroke="#aaa" d="{box(left, *at)}"/>'
            for at, g in np.ndenumerate(grays)
        )

    def strike(a, b):
        x, y = LEFT[0] + cell * b + 2, TOP + cell * (a + 1) - 2
        return f"M{x:.1f} {y:.1f}l{cell - 4:.1f}-{cell - 4:.1f}"

    strikes = "".join(strike(a, b) for a, b in np.argwhere(~covered))
    minus = "".join(
        f"M{LEFT[1] + cell * (b + 0.5) - 3:.1f} {TOP + cell * (a + 0.5):.1f}h6"
        for a, b in np.argwhere(y < 0)
    )
    border = box(LEFT[0], padding, padding, SIDE)
    marks = box(LEFT[0], stride * i, stride * j, k) + box(LEFT[1], i, j)
    svg = (
        f'<text x="{LEFT[0]}" y="16">image, padded</text>\n'
        f'<text x="{LEFT[1]}" y="16">output</text>\n'
        f'<g data-part="image">{cells(_gray(padded / 16), LEFT[0])}</g>\n'
        f'<path class="strike" data-part="unseen" d="{strikes}"/>\n'
        f'<path class="one" data-part="border" d="{border}"/>\n'
        f'<g data-part="output">{cells(_gray(abs(y) / top), LEFT[1])}</g>\n'
        f'<path class="bar" data-part="minus" d="{minus}"/>\n'
        f'<path class="window" data-part="window" d="{marks}"/>\n'
        f'<text x="4" y="200">darker: larger; − : negative</text>\n'
        f'<text x="4" y="220">struck out: seen by no window</text>\n'
    )
    formula = f"⌊({SIDE} + 2·{padding} − {k}) / {stride}⌋ + 1"
    numbers = status(
        f"Size, by (3): {number('formula', formula)} = "
        f"<b>{number('size', size)}</b> rows and columns. "
        f"Pixels of the image that no window sees: {number('unseen', unseen)}.",
        f"Window in row {number('row', i)}, column {number('column', j)}: "
        f"{number('sum', _sum(kernel, window, divisor))} = "
        f"<b>{number('value', fixed(y[i, j], 2))}</b>.",
    )
    return Figure(
        "convolution",
        "an 8 × 8 image of a digit with its padding and a window marked in it, and "
        "beside it the output of the kernel, with the number of that window marked",
        controls=[
            choice("kernel", "Kernel", {key: key for key in KERNELS}, name),
            choice("digit", "Digit", {str(d): d for d in range(10)}, digit),
            slider("stride", "S, stride", 1, 3, 1, stride),
            slider("padding", "P, padding", 0, 2, 1, padding),
            slider("place", "window", 0, size**2 - 1, 1, place),
        ],
        svg=svg,
        height=228,
        numbers=numbers,
        data={
            "images": [image.ravel().tolist() for image in images],
            "kernels": {
                key: {"rows": rows, "divisor": divisor}
                for key, (rows, divisor) in KERNELS.items()
            },
        },
    )
