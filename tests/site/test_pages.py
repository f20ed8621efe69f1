"""What every page of the built site keeps to, as readers meet it in a browser."""

import gzip
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import nbformat
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
WEIGHT_LIMIT = 1_500_000  # bytes, as a server that compresses text sends them
COMPRESSED = {".png", ".jpg", ".webp", ".woff", ".woff2", ".ipynb", ".zip"}

# Text of the article that readers see as prose: no code, no typeset formulas.
PROSE = """() => {
  const walker = document.createTreeWalker(
    document.querySelector("article"), NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!parent.closest("pre, code, script, style, mjx-container"))
      texts.push(walker.currentNode.data);
  }
  return texts;
}"""

# Nearly all that axe looks at is words of code, whose contrast takes most of its time.
# One word of each style on a page stands for the others.
MARK_REPEATED_CODE = """() => {
  const seen = new Set();
  for (const word of document.querySelectorAll("article pre span")) {
    const block = word.closest("pre").parentElement.parentElement.className;
    const style = `${block}, ${word.parentElement.className}, ${word.className}`;
    if (seen.has(style) && !word.querySelector("a, span"))
      word.dataset.repeated = "";
    seen.add(style);
  }
}"""

RAW_FORMULA = re.compile(r"\$[^$]+\$|\$\$|\\[\[\]()]|\\begin\{|\\tag\{")
RAW_MARKDOWN = re.compile(
    r"```"  # a fence, mostly for want of a blank line after </summary>
    r"|:::"  # a directive
    r"|\{[\w:+-]+\}`?"  # a role, or a directive's name
    r"|\]\("  # a link
    r"|\*\*\w"  # bold
    r"|</?\w+>"  # a tag
)


def test_console_is_silent(visit):
    assert not visit.console


def test_no_request_leaves_the_site(visit, address):
    outside = [
        url for url in visit.requests if not url.startswith((address, "data:", "blob:"))
    ]
    assert not outside


def test_no_request_fails(visit):
    assert not visit.failures


def test_page_has_an_icon(visit):
    # Without one, browsers ask for a favicon.ico that is not there (headless does not).
    assert visit.html.select("link[rel=icon][href]")


def test_weight(visit, address, site, record_property):
    sizes = {}
    for url in visit.requests:
        if url.startswith(address):
            path = site / unquote(urlparse(url).path).lstrip("/")
            content = path.read_bytes()
            if path.suffix not in COMPRESSED:
                content = gzip.compress(content, compresslevel=6)
            sizes[path.relative_to(site).as_posix()] = len(content)
    seconds = visit.page.evaluate(
        "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
    )
    weight = {"kB gzipped": sum(sizes.values()) // 1000, "load, s": round(seconds, 2)}
    record_property(visit.name, weight)
    heaviest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    assert sum(sizes.values()) < WEIGHT_LIMIT, f"heaviest: {heaviest}"


def test_formulas_are_typeset(visit):
    untypeset = visit.page.evaluate(
        """() => [...document.querySelectorAll(".math")]
          .filter(formula => !formula.querySelector("mjx-container"))
          .map(formula => formula.textContent)"""
    )
    assert not untypeset
    errors = visit.page.evaluate(
        """() => [...document.querySelectorAll("mjx-merror")].map(error =>
          error.closest(".math").textContent + error.dataset.mjxError)"""
    )
    assert not errors
    raw = [text for text in visit.page.evaluate(PROSE) if RAW_FORMULA.search(text)]
    assert not raw, "formulas that the site shows as source"


def test_no_markdown_is_left_raw(visit):
    raw = [text for text in visit.page.evaluate(PROSE) if RAW_MARKDOWN.search(text)]
    assert not raw
    complaints = [each.get_text() for each in visit.html.select(".system-message")]
    assert not complaints


def test_marked_quotes_are_boxes(visit):
    plain = [
        quote.get_text()
        for quote in visit.html.select("article blockquote")
        if re.match(r"\s*(Predict|Exercise|Note|Warning)\b", quote.get_text())
    ]
    assert not plain


def test_images_are_described(visit):
    images = visit.page.evaluate(
        "[...document.images].map(image => [image.src, image.alt.trim()])"
    )
    path = re.compile(r"^\S*[/\\]\S*$|\.(png|jpe?g|svg|gif|webp)\b", re.IGNORECASE)
    undescribed = [(src, alt) for src, alt in images if not alt or path.search(alt)]
    assert not undescribed


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_images_are_visible(visit, scheme):
    visit.show(scheme=scheme)
    images = visit.page.evaluate(
        """() => [...document.querySelectorAll("article img")].map(image => ({
          src: image.src,
          loaded: image.naturalWidth > 0,
          width: image.getBoundingClientRect().width,
          ground: getComputedStyle(image).backgroundColor,
        }))"""
    )
    unseen = [each for each in images if not (each["loaded"] and each["width"] > 0)]
    assert not unseen
    if scheme == "dark":
        # Computed colors with a fourth number, "rgba(…)", are not opaque.
        dark = [each for each in images if not each["ground"].startswith("rgb(")]
        assert not dark, "transparent parts of these would show the dark page"


@pytest.mark.parametrize("width", [320, 390])
def test_page_fits_a_phone(visit, width):
    visit.show(width=width)
    beyond = visit.page.evaluate(
        """() => {
          const root = document.scrollingElement;
          if (root.scrollWidth <= innerWidth) return [];
          const scrolls = each => each.closest("pre, div.math, .output")
            || each.closest(".pst-scrollable-table-container");
          return [...document.querySelectorAll("article *")]
            .filter(each => each.getBoundingClientRect().right > innerWidth)
            .filter(each => !scrolls(each)).slice(0, 3)
            .map(each => `<${each.localName} class="${each.className}"> in `
              + each.closest("p, li, div, section").textContent.slice(0, 80))
            .concat(`the page is ${root.scrollWidth} pixels wide`);
        }"""
    )
    assert not beyond


def test_code_and_formulas_fit_a_desk(visit):
    visit.show()
    wide = visit.page.evaluate(
        """() => [...document.querySelectorAll("article pre, article div.math")]
          .filter(block => block.scrollWidth > block.clientWidth)
          .map(block => block.textContent.split("\\n")
            .reduce((a, b) => a.length > b.length ? a : b))"""
    )
    assert not wide, "lines that readers at a desk must scroll to see"


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")]
)
def test_accessible(visit, width, scheme, record_property):
    visit.show(width, scheme)
    # The theme gives tab stops to what scrolls, 300 ms after a change.
    visit.page.wait_for_timeout(400)
    # Without preload: axe would fetch style sheets again, from wrong addresses.
    options = {"resultTypes": ["violations"], "preload": False}
    visit.page.evaluate(MARK_REPEATED_CODE)
    context = {"exclude": [["[data-repeated]"]]}
    result = Axe().run(visit.page, context=context, options=options)
    found = {"critical": [], "serious": [], "moderate": [], "minor": []}
    for violation in result.response["violations"]:
        found[violation["impact"]] += [
            f"{violation['id']}: {node['html'][:200]}" for node in violation["nodes"]
        ]
    record_property(visit.name, {impact: len(each) for impact, each in found.items()})
    assert not found["critical"] + found["serious"]


def test_page_fits_paper(visit):
    visit.page.set_viewport_size({"width": 680, "height": 900})  # A4, margins of 15 mm
    visit.page.emulate_media(media="print", color_scheme="dark")
    cut_off = visit.page.evaluate(
        """() => {
          const folded = [...document.querySelectorAll("details")];
          folded.forEach(each => each.open = false);
          dispatchEvent(new Event("beforeprint"));
          const hidden = folded
            .filter(each => !each.lastElementChild.checkVisibility());
          const wide = [...document.querySelectorAll(
              "article pre, article div.math, article table, article img")]
            .filter(each => each.scrollWidth > each.clientWidth + 1
              || each.getBoundingClientRect().right > innerWidth);
          const dark = document.documentElement.dataset.theme !== "light";
          dispatchEvent(new Event("afterprint"));
          folded.forEach(each => each.open = true);
          return hidden.concat(wide).map(each => each.outerHTML.slice(0, 200))
            .concat(dark ? ["dark"] : []);
        }"""
    )
    visit.page.emulate_media(media="screen")
    assert not cut_off


def test_link_preview(visit, site):
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    address = config["html"]["baseurl"]
    tags = {m["property"]: m["content"] for m in visit.html.select("meta[property]")}
    heading = visit.html.select_one("article h1").find_all(string=True, recursive=False)
    assert tags["og:title"] == "".join(heading)
    about = visit.html.select_one("meta[name=description]")["content"]
    assert tags["og:description"] == about
    assert 20 < len(about) <= 202 and about[-1] in ".?…"
    assert not RAW_FORMULA.search(about)
    assert ("og:image" in tags) == ("og:url" in tags) == bool(address)
    if address:
        assert tags["og:url"] == f"{address}{visit.name}.html"
        assert (site / tags["og:image"].removeprefix(address)).is_file()


def test_page_says_where_one_is(visit, pages):
    contents = visit.html.select("nav.bd-docs-nav a[aria-current=page]")
    assert len(contents) == (visit.name != pages[0])
    neighbors = {-1: "a.left-prev", 1: "a.right-next"}
    for step, link in neighbors.items():
        at = pages.index(visit.name) + step
        expected = [f"{pages[at]}.html"] if 0 <= at < len(pages) else []
        found = visit.html.select(link)
        urls = [urljoin(f"{visit.name}.html", each["href"]) for each in found]
        assert urls == expected


def test_page_names_its_edition(visit):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    footer = visit.html.select_one("footer.bd-footer-content")
    assert f"Edition {citation['version']}," in footer.get_text()
    assert footer.select("a[href$='changelog.html'], a[href='#']")


def test_buttons_lead_only_to_configured_hosts(visit):
    # With an empty repository.url there is none, and so no launch button at all.
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    urls = [config["repository"]["url"], *config["launch_buttons"].values()]
    allowed = {urlparse(url).netloc for url in urls} - {""}
    links = [a["href"] for a in visit.html.select(".article-header-buttons a[href]")]
    strangers = [url for url in links if urlparse(url).netloc not in {"", *allowed}]
    assert not strangers


def test_links_lead_somewhere(name, site):
    ids = {}

    def ids_of(path):
        if path not in ids:
            html = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
            ids[path] = {each["id"] for each in html.select("[id]")}
        return ids[path]

    page = site / f"{name}.html"
    html = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    broken = []
    for attribute in ("href", "src"):
        for element in html.select(f"[{attribute}]"):
            url, anchor = urldefrag(urljoin(f"/{name}.html", element[attribute]))
            if urlparse(url).scheme:
                continue
            target = site / unquote(urlparse(url).path).lstrip("/")
            if not target.is_file() or (anchor and anchor not in ids_of(target)):
                broken.append(element[attribute])
    assert not broken


def test_claims_have_anchors(name, site):
    notebook = ROOT / f"{name}.ipynb"
    if not notebook.exists():
        assert (ROOT / f"{name}.md").exists()  # prose only: no cells, no claims
        return
    cells = nbformat.read(notebook, as_version=4).cells
    claims = {claim for cell in cells for claim in cell.metadata.get("claim", [])}
    html = BeautifulSoup(
        (site / f"{name}.html").read_text(encoding="utf-8"), "html.parser"
    )
    missing = [claim for claim in claims if not html.find(id=claim)]
    assert not missing


def test_claims_can_be_filtered(browser, address):
    claims = yaml.safe_load((ROOT / "book/reference/claims.yml").read_text("utf-8"))
    wanted = {
        f"claim-{item}"
        for item, claim in claims.items()
        if item.startswith("S1") and claim["verdict"] == "wrong"
    }
    page = browser.new_page()
    page.goto(f"{address}book/reference/claims.html", wait_until="networkidle")
    rows = page.locator("table.claims tbody tr:visible")
    assert rows.count() == len(claims)
    page.get_by_label("Article").select_option("S1")
    page.get_by_label("Verdict").select_option("wrong")
    assert {row.get_attribute("id") for row in rows.all()} == wanted
    page.reload(wait_until="networkidle")  # the address keeps the choice
    assert {row.get_attribute("id") for row in rows.all()} == wanted
    page.get_by_label("Words").fill("batch norm no such words")
    assert rows.count() == 0
    assert page.get_by_role("status").inner_text() == f"0 of {len(claims)} items"
    page.close()
