"""Interactive figures in a browser: what they show at several settings, by keyboard."""

import json
import re
from base64 import b64decode

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from dropnorm.interactive.arithmetic import Generator, fixed
from dropnorm.layers import dropout_forward

CHAPTERS = {
    "dropout_mask": "dropout/layer",
    "variance_shift": "together/variance_shift",
    "batch_norm": "batchnorm/layer",
    "convolution": "cnn/convolution",
    "learning_rates": "batchnorm/why",
}


class Figure:
    """A figure of the page, read and set as a reader without a mouse would."""

    def __init__(self, page, name):
        self.page = page
        self.place = page.locator(f"figure[data-figure={name}]")
        self.data = json.loads(self.place.get_attribute("data-data"))

    def set(self, **values):
        """The place of a slider or menu counted from its first, presses of a button."""
        for name, steps in values.items():
            control = self.place.locator(f"[data-control={name}]")
            control.focus()
            kind = control.evaluate("each => each.type")
            if kind == "button":
                key = "Enter"
            elif kind == "range":
                key = "ArrowRight"
                self.page.keyboard.press("Home")
            else:
                key = "ArrowDown"
                for _ in range(control.evaluate("each => each.selectedIndex")):
                    self.page.keyboard.press("ArrowUp")
            for _ in range(steps):
                self.page.keyboard.press(key)

    def shown(self, name):
        texts = self.place.locator(f"[data-number='{name}']").all_inner_texts()
        assert len(set(texts)) == 1, f"{name} has several values: {texts}"
        return texts[0]

    def check(self, digits=3, **expected):
        for name, value in expected.items():
            name = name.replace("_", "-")
            assert float(self.shown(name)) == pytest.approx(
                float(value), abs=0.6 * 10**-digits
            ), name

    def picture(self):
        return self.place.locator("svg").inner_html()


@pytest.fixture(scope="module", params=CHAPTERS)
def opened(request, browser, address):
    context = browser.new_context(viewport={"width": 320, "height": 700})
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(f"{address}book/{CHAPTERS[request.param]}.html")
    yield page, request.param
    context.close()


@pytest.fixture
def figure(request, browser, address):
    name = request.param
    page = browser.new_page()
    page.goto(f"{address}book/{CHAPTERS[name]}.html")
    yield Figure(page, name)
    page.close()


def shows(name):
    return pytest.mark.parametrize("figure", [name], indirect=True)


def test_it_can_be_read_and_touched_on_a_phone(opened):
    page, name = opened
    figure = Figure(page, name).place
    scale = figure.locator("svg").evaluate(
        "svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width"
    )
    sizes = figure.locator("svg text").evaluate_all(
        "all => all.map(text => parseFloat(getComputedStyle(text).fontSize))"
    )
    assert scale * min(sizes) >= 11
    for control in figure.locator("[data-control]").all():
        box = control.bounding_box()
        assert box["height"] >= 24 and box["width"] >= 24
        # what JupyterLab wants, to leave them the arrow keys
        assert control.get_attribute("data-lm-suppress-shortcuts") == "true"
    assert figure.evaluate("each => each.scrollWidth <= each.clientWidth")
    assert page.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_ground_is_light_and_its_letters_are_dark(opened, scheme):
    page, name = opened
    page.emulate_media(color_scheme=scheme)
    figure = Figure(page, name).place
    for selector in ("", "p", "label", "th", "td", "select", "button"):
        for each in (figure.locator(selector) if selector else figure).all():
            color = each.evaluate("each => getComputedStyle(each).color")
            assert color == "rgb(17, 17, 17)", selector
    ground = figure.evaluate("each => getComputedStyle(each).backgroundColor")
    assert ground == "rgb(255, 255, 255)"


@pytest.mark.parametrize("which", CHAPTERS)
def test_without_script_it_shows_the_same(browser, address, which):
    seen = []
    for scripts in (True, False):
        context = browser.new_context(java_script_enabled=scripts)
        page = context.new_page()
        page.goto(f"{address}book/{CHAPTERS[which]}.html")
        figure = page.locator(f"figure[data-figure={which}]")
        assert figure.locator(".settings").count() == scripts
        assert figure.locator(".still").is_visible() != scripts
        numbers = figure.locator("[data-number]").all_inner_texts()
        if scripts:
            svg = figure.locator("svg").inner_html()
        else:
            image = figure.locator("img")
            width, height = (
                image.evaluate(f"each => each.{name}")
                for name in ("naturalWidth", "naturalHeight")
            )
            assert width == 340 and height > 100  # it is drawn
            svg = b64decode(image.get_attribute("src").split(",")[1]).decode()
            svg = svg.partition(">")[2]
        places = [float(place) for place in re.findall(r"-?\d+(?:\.\d+)?", svg)]
        seen.append((numbers, re.findall(r"<\w+", svg), places))
        context.close()
    (numbers, parts, places), (still_numbers, still_parts, still_places) = seen
    assert (numbers, parts) == (still_numbers, still_parts)
    assert places == pytest.approx(still_places, abs=0.11)


@pytest.mark.parametrize("which", CHAPTERS)
def test_two_on_one_page_move_alone(browser, address, which):
    page = browser.new_page()
    served = page.request.get(f"{address}book/{CHAPTERS[which]}.html").text()
    (html,) = re.findall(
        r'<figure class="dropnorm-figure".*?</figure>\s*<script>.*?</script>',
        served,
        flags=re.S,
    )
    page.set_content(html * 2)
    one, two = page.locator("figure").all()
    before = [one.locator("svg").inner_html(), two.locator("svg").inner_html()]
    two.locator("[data-control]").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert one.locator("svg").inner_html() == before[0]
    assert two.locator("svg").inner_html() != before[1]
    page.close()


@shows("dropout_mask")
def test_dropout_mask(figure):
    h = np.array(figure.data["h"])
    for step, presses in ((2, 0), (10, 1), (18, 2), (19, 0)):
        figure.set(p=step, seed=presses)
        p, seed = step / 20, 1 + {2: 0, 10: 1, 18: 3, 19: 3}[step]
        random = Generator(seed)
        y, mask = dropout_forward(h, p, random)
        rest, _ = dropout_forward(np.tile(h, 399), p, random)
        many = np.concatenate([y, rest])
        figure.check(mean_before=h.mean(), variance_before=h.var())
        figure.check(mean_one=y.mean(), variance_one=y.var())
        figure.check(mean_many=many.mean(), variance_many=many.var())
        exact = (h**2).mean() / (1 - p) - h.mean() ** 2
        figure.check(mean_formula=h.mean(), variance_formula=exact)
        assert figure.shown("kept") == str((mask > 0).sum())
        strikes = figure.place.locator("[data-part=cells] .strike")
        assert strikes.count() == (mask == 0).sum()
    figure.set(p=10)
    again = figure.picture()
    figure.set(p=3)
    assert figure.picture() != again
    figure.set(p=10)
    assert figure.picture() == again  # the same setting, the same mask


@shows("variance_shift")
def test_variance_shift(figure):
    for step, tenths, presses in ((10, 0, 0), (6, 15, 1), (19, 30, 0), (0, 7, 1)):
        figure.set(p=step, ratio=tenths, seed=presses)
        seed = 1 + (step == 6) + (step == 19) + 2 * (step == 0)
        p, ratio, random = step / 20, tenths / 10, Generator(seed)
        x = ratio + random.normal(20_000)
        y, _ = dropout_forward(x, p, random)
        exact = 1 / ((ratio**2 + 1) / (1 - p) - ratio**2)
        figure.check(delta_formula=exact, delta_simulation=x.var() / y.var())
        figure.check(evaluation_simulation=x.var(), training_formula=1 / exact)
        figure.check(training_simulation=y.var())


@shows("batch_norm")
def test_batch_norm(figure):
    sizes = [0.00001, 0.001, 0.1, 1, 10]
    seed = 1
    for mode, m, gamma, beta, eps, presses in (
        (0, 2, 1, 0, 0, 0),
        (0, 16, -2.5, 1.5, 4, 1),
        (1, 5, 3, -3, 3, 0),
        (1, 2, 0.25, 2, 0, 1),
        (0, 7, 0, 0.5, 2, 0),
    ):
        figure.set(mode=mode, m=m - 2, gamma=int(4 * gamma + 12))
        figure.set(beta=int(4 * beta + 12), eps=eps, seed=presses)
        seed += presses
        others = 4 + 3 * Generator(seed).normal(15)
        x = torch.tensor([7.0, *others])[:m, None].double()
        running = torch.tensor([4.0]).double(), torch.tensor([9.0]).double()
        affine = torch.tensor([gamma]).double(), torch.tensor([beta]).double()
        training = mode == 0
        saved = [None, None] if training else running
        y = F.batch_norm(x, *saved, *affine, training=training, eps=sizes[eps])
        figure.check(first_y=y[0], y_mean=y.mean(), y_variance=y.var(correction=0))
        figure.check(x_mean=x.mean(), x_variance=x.var(correction=0))
        used = (x.mean(), x.var(correction=0)) if training else running
        figure.check(used_mean=used[0], used_variance=used[1])
        assert figure.place.locator("[data-part=dots] circle").count() == 2 * (m - 1)


@shows("convolution")
def test_convolution(figure):
    digits = load_digits()
    kernels = list(figure.data["kernels"].values())
    for kernel, digit, stride, padding, place in (
        (0, 3, 2, 0, 4),
        (1, 0, 1, 1, 63),
        (2, 9, 3, 2, 5),
        (3, 1, 2, 0, 15),
        (4, 5, 1, 2, 120),
        (5, 7, 2, 1, 2),
    ):
        figure.set(kernel=kernel, digit=digit, stride=stride - 1)
        figure.set(padding=padding, place=place)
        weight = np.array(kernels[kernel]["rows"]) / kernels[kernel]["divisor"]
        image = digits.images[list(digits.target).index(digit)]
        pair = [torch.tensor(a).double()[None, None] for a in (image, weight)]
        pair[0].requires_grad_()
        y = F.conv2d(pair[0], torch.ones_like(pair[1]), None, stride, padding)
        y.sum().backward()
        y = F.conv2d(*pair, None, stride, padding)[0, 0]
        assert figure.shown("size") == str(len(y))
        assert figure.shown("unseen") == str((pair[0].grad == 0).sum().item())
        assert figure.shown("row") == str(place // len(y))
        assert figure.shown("column") == str(place % len(y))
        figure.check(value=y.flatten()[place].item(), digits=2)
        assert figure.place.locator("[data-part=output] path").count() == y.numel()
    figure.set(stride=2)  # fewer windows: the place moves to the last of them
    last = int(figure.shown("size")) - 1
    figure.set(place=120)
    assert figure.shown("row") == figure.shown("column") == str(last)


@shows("learning_rates")
def test_learning_rates(figure):
    assert figure.data["rates"] == [0.01, 0.03, 0.1, 0.3, 1, 3]
    for index, rate in enumerate(figure.data["rates"]):
        figure.set(rate=index)
        assert figure.shown("rate") == f"{rate:g}"
        for arm in ("one", "two"):
            run = figure.data["runs"][arm][index]
            medians = np.median(run["errors"], axis=0)
            assert len(run["errors"]) == 10
            for step in figure.data["looks"]:
                expected = "-"
                if step in run["steps"]:
                    expected = fixed(medians[run["steps"].index(step)], 1)
                assert figure.shown(f"{arm}-{step}") == expected
            assert figure.shown(f"{arm}-end") == str(run["steps"][-1])
            assert figure.shown(f"{arm}-last") == fixed(medians[-1], 1)
            lines = figure.place.locator(f"[data-part=seeds] .{arm}")
            assert lines.count() == 10
    figure.set(arms=1)
    assert figure.place.locator("[data-part=seeds] .one").count() == 10
    assert figure.place.locator("[data-part=seeds] .two").count() == 0
