"""Interactive figures: HTML that is whole without its script and asks for nothing."""

import json
import re
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from dropnorm import interactive
from dropnorm.interactive.arithmetic import Generator, fixed

BOOK = Path(__file__).parents[1] / "book"
CURVES = {
    arm: {
        rate: (np.array([2, 4, 10, 20]), 90 - 20 * rate * np.outer(range(4), range(3)))
        for rate in (0.1, 1)
    }
    for arm in ("plain", "BN")
}
CHAPTERS = {
    "dropout_mask": "dropout/layer",
    "variance_shift": "together/variance_shift",
    "batch_norm": "batchnorm/layer",
    "convolution": "cnn/convolution",
    "learning_rates": "batchnorm/why",
}


def make(name):
    arguments = {"curves": CURVES, "rate": 0.1} if name == "learning_rates" else {}
    return getattr(interactive, name)(**arguments)


@pytest.fixture(params=interactive.__all__)
def html(request):
    return make(request.param)._repr_html_()


def tree(html):
    """The HTML without style and code, which must be well-formed XML."""
    bare = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.S)
    return ElementTree.fromstring(f"<div>{bare}</div>")


IMAGE = "data:image/svg+xml;base64,"
NAMESPACE = "http://www.w3.org/2000/svg"


def picture(html):
    """The drawing in the image, which must be well-formed XML."""
    source = tree(html).find(".//img").get("src")
    assert source.startswith(IMAGE)
    return ElementTree.fromstring(b64decode(source.removeprefix(IMAGE)))


def numbers(figure):
    places = tree(figure._repr_html_()).iterfind(".//*[@data-number]")
    return {each.get("data-number"): each.text for each in places}


def test_it_is_small_and_asks_for_nothing(html):
    assert len(html.encode()) < 40_000
    banned = r"https?:|//\w|\beval\b|Function\(|fetch|XMLHttp|import\b|src=|url\(|\bid="
    drawing = ElementTree.tostring(picture(html), encoding="unicode")
    drawing = drawing.replace(NAMESPACE, "")  # a name, which nobody loads
    outside = re.sub(r"// .*|src=\"data:[^\"]*\"", "", html)
    for code in (outside, drawing):
        assert not re.search(banned, code), re.search(banned, code)
    assert html.count("<script>") == 1 and html.count("</script>") == 2


def test_it_is_whole_without_its_script(html):
    figure = tree(html).find("figure")
    assert len(figure.find("img").get("alt")) >= 40
    assert len(list(picture(html).iter())) > 10
    assert all(each.text for each in figure.iterfind(".//*[@data-number]"))
    assert figure.find(".//*[@role='status']").find(".//*[@data-number]") is not None


def test_what_is_left_without_scripts_styles_and_svg_can_be_read(html):
    """As JupyterLab shows a notebook that it does not trust."""
    left = re.sub(r"<(style|script)\b.*?</\1>", "", html, flags=re.S)
    tags = {each.tag for each in ElementTree.fromstring(left).iter()}
    allowed = {"figure", "img", "table", "thead", "tbody", "tr", "th", "td"}
    assert tags <= allowed | {"b", "div", "p", "span"}


def test_every_control_has_a_name(html):
    settings = tree(html).find(".//script/div[@class='settings']")
    controls = settings.findall(".//*[@data-control]")
    assert len(controls) >= 2
    for control in controls:
        if control.tag != "button":
            labels = [label for label in settings if control in list(label)]
            assert [label.tag for label in labels] == ["label"] and labels[0].text


def test_it_is_the_same_every_time(html):
    name = tree(html).find("figure").get("data-figure")
    figure = make(name)
    assert figure._repr_html_() == html
    assert re.fullmatch(r"interactive figure: .{40,200}", repr(figure))


@pytest.mark.parametrize("name", interactive.__all__)
def test_chapters_show_the_figures_of_the_package(name):
    """As stored; nbval compares the whole output."""
    cells = nbformat.read(BOOK / f"{CHAPTERS[name]}.ipynb", as_version=4).cells
    shown = [cell for cell in cells if f"interactive.{name}(" in cell.source]
    (stored,) = [output.data["text/html"] for output in shown[0].outputs]
    fresh = make(name)._repr_html_()
    assert stored.split("<script>")[1] == fresh.split("<script>")[1]
    if name != "learning_rates":
        assert stored == fresh
    else:
        assert len(stored.encode()) < 40_000


def test_generator_is_mulberry32():
    random = Generator(1)
    first = [0.6270739405881613, 0.002735721180215478, 0.5274470399599522]
    assert [random.random() for _ in range(3)] == first
    assert Generator(1).random((3,)).tolist() == first
    many = Generator(7).random((100, 1000))
    assert many.min() >= 0 and many.max() < 1
    assert abs(many.mean() - 0.5) < 0.005 and abs(many.var() - 1 / 12) < 0.001
    z = Generator(8).normal(100_000)
    assert abs(z.mean()) < 0.02 and abs(z.var() - 1) < 0.03


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.125, 2, "0.13"),
        (-0.125, 2, "-0.13"),
        (-0.001, 2, "0.00"),
        (2.5, 0, "3"),
        (1.005, 2, "1.00"),
        (np.float64(-3), 1, "-3.0"),
    ],
)
def test_numbers_are_rounded_as_browsers_do(value, digits, text):
    assert fixed(value, digits) == text


@pytest.mark.parametrize("p", [0, 0.2, 0.9])
def test_dropout_mask_counts_its_mask(p):
    found = numbers(interactive.dropout_mask(p))
    data = tree(interactive.dropout_mask(p)._repr_html_()).find("figure")
    h = np.array(json.loads(data.get("data-data"))["h"])
    kept = Generator(1).random((128,)) >= p
    assert found["kept"] == str(kept.sum())
    y = np.where(kept, h, 0) / (1 - p)
    assert float(found["mean-one"]) == pytest.approx(y.mean(), abs=6e-4)
    assert float(found["variance-one"]) == pytest.approx(y.var(), abs=6e-4)
    exact = (h**2).mean() / (1 - p) - h.mean() ** 2
    assert float(found["variance-formula"]) == pytest.approx(exact, abs=6e-4)
    error = np.sqrt(((h**4).mean() / (1 - p) ** 3) / (400 * 128))
    assert abs(float(found["variance-many"]) - exact) < 5 * error + 6e-4


@pytest.mark.parametrize(("p", "ratio"), [(0.5, 0), (0.3, 1.5), (0.95, 3)])
def test_variance_shift_has_formula_and_simulation(p, ratio):
    found = numbers(interactive.variance_shift(p, ratio))
    exact = 1 / ((ratio**2 + 1) / (1 - p) - ratio**2)
    assert float(found["delta-formula"]) == pytest.approx(exact, abs=6e-4)
    assert float(found["delta-simulation"]) == pytest.approx(exact, rel=0.1)
    parts = float(found["evaluation-simulation"]) / float(found["training-simulation"])
    assert float(found["delta-simulation"]) == pytest.approx(parts, abs=2e-3)


@pytest.mark.parametrize(
    ("m", "gamma", "beta", "eps"), [(2, 1, 0, "0.00001"), (16, -2.5, 1.5, "10")]
)
def test_batch_norm_is_that_of_torch(m, gamma, beta, eps):
    found = numbers(interactive.batch_norm(m, gamma, beta, eps))
    x = torch.tensor([7.0, *(4 + 3 * Generator(1).normal(15))])[:m, None].double()
    affine = torch.tensor([gamma, beta]).double()
    y = F.batch_norm(
        x, None, None, affine[:1], affine[1:], training=True, eps=float(eps)
    )
    expected = [y[0], y.mean(), y.var(correction=0), x.var(correction=0)]
    keys = ["first-y", "y-mean", "y-variance", "used-variance"]
    for key, value in zip(keys, expected, strict=True):
        assert float(found[key]) == pytest.approx(value.item(), abs=6e-4), key


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 0), (3, 2), (2, 1)])
def test_convolution_is_that_of_torch(stride, padding):
    digits = load_digits()
    image = digits.images[list(digits.target).index(5)]
    sobel = [[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    pair = [torch.tensor(a).double()[None, None] for a in (image, sobel)]
    y = F.conv2d(*pair, None, stride, padding)[0, 0]
    last = y.numel() - 1
    found = numbers(interactive.convolution(5, stride, padding, last))
    assert int(found["size"]) == len(y)
    assert float(found["value"]) == y[-1, -1]
    total = eval(found["sum"].replace("−", "-").replace("·", "*"))
    assert total == y[-1, -1]


def test_learning_rates_shows_medians_and_refuses_unlike_arms():
    found = numbers(interactive.learning_rates(CURVES, rate=1))
    assert found["one-20"] == fixed(np.median(CURVES["plain"][1][1][3]), 1)
    assert found["two-end"] == "20"
    for arms in ({"plain": CURVES["plain"]}, {**CURVES, "BN": {0.1: ()}}):
        with pytest.raises(ValueError, match="two arms with the same rates"):
            interactive.learning_rates(arms, rate=0.1)
