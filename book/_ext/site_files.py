"""What belongs to the site as a whole.

Link previews, the edition at the foot of each page, the mark of a page in
the contents, and the files sitemap.xml, 404.html and dropnorm-book.zip.

What needs the site's address appears once `make publish` has written it,
as html.baseurl, into _config.yml.
"""

import re
import zipfile
from html import escape
from pathlib import Path
from urllib.parse import urlparse

import yaml
from docutils import nodes

# The notebooks, and all that the commands under "How to run it" need.
ZIP = "dropnorm-book"
ZIPPED = [
    *["*.md", "*.txt", "*.toml", "_*.yml", "*.cff", "LICENSE", "Makefile"],
    *["benchmarks/**/*", "binder/**/*", "book/**/*", "src/**/*"],
    *["tests/**/*", "tools/**/*"],
]

# _static/card.png, for pages without a figure
CARD = "Dropout and Batch Normalization: an executable book"

NOT_FOUND = """\
<h1>There is no such page</h1>
<p>The address may be mistyped, or the page has moved.</p>
<p>Search the book (<kbd>Ctrl</kbd> + <kbd>K</kbd>), look into its
contents, or start at the <a href="book/index.html">front page</a>.</p>
"""


def edition(app, config):
    """Number and date of the edition, for edition.html."""
    path = Path(app.srcdir, "CITATION.cff")
    citation = yaml.safe_load(path.read_text(encoding="utf-8"))
    date = citation["date-released"]
    config.html_context["edition"] = citation["version"]
    config.html_context["edition_date"] = f"{date.day} {date:%B %Y}"


def description(doctree):
    """The question of a chapter; of another page, its first paragraph."""
    texts = [
        " ".join(paragraph.astext().split())
        for paragraph in doctree.findall(nodes.paragraph)
    ]
    sentences = [text for text in texts if text.endswith((".", "?"))][:3]
    questions = [text for text in sentences if text.endswith("?")]
    text = [*questions, *sentences, ""][0]
    if len(text) > 200:
        text = text[:200].rsplit(" ", 1)[0] + " …"
    return text


def picture(doctree):
    """Path and description of a page's first figure, else of the card."""
    for image in doctree.findall(nodes.image):
        if image["uri"].endswith(".png"):
            return f"_images/{Path(image['uri']).name}", image["alt"]
    return "_static/card.png", CARD


def link_preview(app, pagename, templatename, context, doctree):
    """Title, description and picture of a page, as Open Graph has them."""
    if doctree is None:  # no page of the book: index, search, 404
        return
    site, about = app.config.html_baseurl, description(doctree)
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": app.env.titles[pagename].astext(),
        "og:description": about,
    }
    if site:
        path, alt = picture(doctree)
        tags["og:url"] = site + app.builder.get_target_uri(pagename)
        tags["og:image"] = site + path
        tags["og:image:alt"] = alt
        tags["twitter:card"] = "summary_large_image"
    context["metatags"] += (
        f'<meta name="description" content="{escape(about)}">\n'
    )
    for name, content in tags.items():
        context["metatags"] += (
            f'<meta property="{name}" content="{escape(content)}">\n'
        )


def current_page(app, pagename, templatename, context, doctree):
    """Tell screen readers which entry of the contents is this page."""
    if app.builder.name != "html":  # a builder without contents beside
        return
    contents = context["generate_toctree_html"]

    def marked(*args, **options):
        links = contents(*args, **options)
        if links:
            for link in links.select('a[href="#"]'):
                link["aria-current"] = "page"
        return links

    context["generate_toctree_html"] = marked


def not_found(app):
    """A page that a host serves in place of one that it does not have."""
    title = "There is no such page"
    content = {"title": title, "pagetitle": title, "body": NOT_FOUND}
    yield "404", content, "page.html"


def absolute(page, root):
    """A page of the top folder, with links that hold in every folder."""
    link = re.compile(
        r'\b(href|src|action|data-content_root)="(?!#|/|\w+:)(?:\./)?'
    )
    return link.sub(rf'\1="{root}', page)


def sitemap(addresses):
    entries = "".join(
        f"<url><loc>{escape(address)}</loc></url>\n"
        for address in addresses
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        f"{entries}</urlset>\n"
    )


def pack(source, target):
    """Zip the book. The same files make the same bytes on every day."""
    paths = {path for each in ZIPPED for path in source.glob(each)}
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(paths):
            inside = path.relative_to(source)
            hidden = any(part[0] == "." for part in inside.parts)
            if hidden or path.is_dir() or path.suffix == ".pyc":
                continue
            entry = zipfile.ZipInfo(f"{ZIP}/{inside.as_posix()}")
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16  # else nobody may read it
            archive.writestr(entry, path.read_bytes())


def write_files(app, exception):
    if exception or app.builder.name != "html":
        return
    site, folder = app.config.html_baseurl, Path(app.outdir)
    page = folder / "404.html"
    page.write_text(
        absolute(page.read_text("utf-8"), urlparse(site).path or "/"),
        "utf-8",
    )
    # The search ranks pages by title: it must not begin with markup.
    index = folder / "searchindex.js"
    number = r'<span class=\\"section-number\\">.*?</span>'
    index.write_text(re.sub(number, "", index.read_text("utf-8")), "utf-8")
    if site:
        pages = sorted(app.env.found_docs)
        addresses = [site + app.builder.get_target_uri(p) for p in pages]
        (folder / "sitemap.xml").write_text(sitemap(addresses), "utf-8")
    pack(Path(app.srcdir), folder / f"{ZIP}.zip")


def setup(app):
    app.connect("config-inited", edition)
    app.connect("html-page-context", link_preview)
    app.connect("html-page-context", current_page, priority=900)
    app.connect("html-collect-pages", not_found)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
