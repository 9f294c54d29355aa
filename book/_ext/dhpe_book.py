"""Additions to Jupyter Book: local scripts, notebooks to download, a cache that knows the library.

The third-party scripts (plotly, MathJax) are copied from the installed Python packages, so that git holds none of them
and a page asks nothing of another host.
"""

import base64
import hashlib
import html
import importlib.util
import os
import re
import shutil
from pathlib import Path

import nbformat
from dhpe_notebooks import ROOT, Page, exercise_index, notebook, read_pages

import dhpe_lib
from dhpe_lib.figures import machine_line, markdown_table, read_result

DESCRIPTION = (
    "A free book and library that estimate a dense 3D mesh of a hand from one colour picture, with code that runs."
)
LOCAL = "dhpe"  # our folder below _static in the built site
SIDEBAR = [
    "navbar-logo.html",
    "dhpe-version.html",
    "icon-links.html",
    "search-button-field.html",
    "sbt-sidebar-nav.html",
]
EMBEDDED = re.compile(r'<img ([^>]*?)src="data:image/(\w+);base64,([^"]{4000,})"')  # pictures worth a file
SCRIPTS = {"viewer.js": "dhpeViewer", "triangle.js": "dhpeTriangle"}  # figures that are drawn by code of ours


def package_folder(name: str) -> Path:
    """Folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"{name} is not installed: pip install -e '.[book]'"
    return Path(spec.submodule_search_locations[0])


def library_hash() -> str:
    """Changes with the library and the result files: jupyter-cache itself sees only the cells of a page."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "dhpe_lib").rglob("*"), *(ROOT / "book" / "results").glob("*.json*")]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def configure(app, config):
    """Settings that are computed, and the environment that the notebooks' kernels inherit."""
    os.environ["DHPE_BOOK"] = "1"  # our interactive figures then give data for the page instead of a widget
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # with more, a page takes many times as long where cores are shared
    config.dhpe_repository = config.dhpe_repository or github_address()
    config.version = config.release = dhpe_lib.__version__
    config.myst_substitutions |= {
        "exercise_index": exercise_index(read_pages()),
        "links": links(config.dhpe_repository),
        "run_times": run_times(read_pages()),
        "version": config.version,
    }
    config.templates_path = [*config.templates_path, str(ROOT / "book" / "_templates")]
    config.html_sidebars = {"**": SIDEBAR}
    config.html_search_scorer = str(ROOT / "book" / "_ext" / "scorer.js")
    build = Path(app.outdir).parent
    config.dhpe_library = library_hash()
    config.nb_execution_cache_path = str(build / ".jupyter_cache" / config.dhpe_library)
    config.mathjax_path = f"{LOCAL}/mathjax/tex-mml-chtml.js"
    config.html_static_path = [*config.html_static_path, str(ROOT / "book" / "_static"), str(build / ".local")]
    config.html_theme_options.setdefault("navbar_persistent", [])
    # Types of other packages, the strings of jaxtyping's shapes and type variables are no pages of this book; all else
    # of ours must resolve.
    config.nitpick_ignore_regex = [
        ("py:.*", r"(?!dhpe_lib\b).*"),
        ("py:class", r"dhpe_lib\.[\w.]+\.(Function|Item|Kind|Labels|Value|Measure|Part|Record|Result)"),
    ]


def stage_local_files(app):
    """Everything that pages load on demand, into a folder that Sphinx copies to `_static`."""
    if app.builder.format != "html":
        return
    folder = Path(app.outdir).parent / ".local" / LOCAL
    shutil.rmtree(folder, ignore_errors=True)
    fonts = Path("output/chtml/fonts/woff-v2")
    (folder / "mathjax" / fonts).mkdir(parents=True)
    mathjax = package_folder("sphinx-mathjax-offline") / "static" / "mathjax"
    shutil.copy(mathjax / "tex-mml-chtml.js", folder / "mathjax")
    for font in (mathjax / fonts).glob("*.woff"):
        shutil.copy(font, folder / "mathjax" / fonts)
    shutil.copy(package_folder("plotly") / "package_data" / "plotly.min.js", folder)
    for script, name in SCRIPTS.items():
        module = (ROOT / "dhpe_lib" / "figures" / script).read_text(encoding="utf-8")
        (folder / script).write_text(classic_script(module, name), encoding="utf-8")


def classic_script(module: str, name: str) -> str:
    """A module as a plain script that sets a global `name`: browsers import no module from a page opened as a file."""
    body, exports, rest = module.rpartition("\nexport { ")
    assert exports, "the module no longer exports by name"
    assert rest.endswith("mount };\nexport default { render };\n"), f"the module ends with {rest!r}"
    return f"(() => {{\n{body}\nglobalThis.{name} = {{ mount }};\n}})();\n"


def github_address() -> str:
    """Address of the repository whose workflow builds the book, or an empty string elsewhere."""
    name = os.environ.get("GITHUB_REPOSITORY")
    return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}" if name else ""


def links(repository: str) -> str:
    """Links of the first page, in Markdown."""
    ours = f"[Repository]({repository}) · " if repository else ""
    return f"{ours}[The paper](https://arxiv.org/abs/1904.04196) · [Licences](#licences)"


def run_times(pages: dict[str, Page]) -> str:
    """The measured seconds of each chapter as a table in Markdown."""
    result = read_result("chapter_times")
    taken = result["results"]
    rows = [
        (page.number, f"{{doc}}`{name}`", f"{taken[name]['seconds']:.0f}")
        for name, page in pages.items()
        if page.number
    ]
    return f"{markdown_table(('', 'chapter', 'seconds'), rows, text_columns=2)}\n\n{machine_line(result)}"


def describe_page(app, pagename, _templatename, context, doctree):
    """Title, description and picture for search machines, and for whoever gets a link to a page."""
    if doctree is None:
        return
    title = f"{context['title']} — {app.config.html_title}"
    tags = {"og:title": title, "og:description": DESCRIPTION, "og:type": "book", "twitter:card": "summary_large_image"}
    if app.config.dhpe_repository:  # the address of a picture must be a whole one
        owner, name = app.config.dhpe_repository.split("/")[-2:]
        tags["og:image"] = f"https://{owner.lower()}.github.io/{name}/_static/social.jpg"
    context["metatags"] += f'<meta name="description" content="{DESCRIPTION}">\n' + "".join(
        f'<meta property="{name}" content="{html.escape(re.sub("<.*?>", "", value))}">\n'
        for name, value in tags.items()
    )


def store_pictures(app, _pagename, _templatename, context, _doctree):
    """Files for the embedded pictures of a page: a browser loads them when they come into view."""

    def stored(found):
        attributes, kind, data = found[1], found[2], base64.b64decode(found[3])
        name = f"_images/{hashlib.sha256(data).hexdigest()[:32]}.{kind}"
        Path(app.outdir, "_images").mkdir(exist_ok=True)
        Path(app.outdir, name).write_bytes(data)
        return f'<img {attributes}loading="lazy" src="{context["pathto"](name, resource=True)}"'

    if "body" in context:
        context["body"] = EMBEDDED.sub(stored, context["body"])


def write_notebooks(app):
    """The notebooks of all pages that run something, into `notebooks/student` and `notebooks/solutions` of the site."""
    if app.builder.format != "html":
        return
    pages = read_pages()
    for folder, solutions in (("student", False), ("solutions", True)):
        place = Path(app.outdir, "notebooks", folder)
        place.mkdir(parents=True, exist_ok=True)
        for page in pages.values():
            if page.has_code:
                nbformat.write(notebook(page, pages, app.config.dhpe_repository, solutions), place / page.file)


def offer_notebook(app, pagename, _templatename, context, _doctree):
    """The student's notebook behind the theme's download button; the repository and machines that run the page."""
    page, repository = read_pages().get(Path(pagename).name), app.config.dhpe_repository
    has_code = page is not None and page.has_code
    if has_code:
        context["ipynb_source"] = f"../notebooks/student/{page.file}"
    if not repository:
        return
    name = repository.rpartition("github.com/")[2]
    places = {"Repository": ("fab fa-github", repository)}
    if has_code:
        binder = f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/book/{page.name}.md"
        colab = f"https://colab.research.google.com/github/{name}/blob/notebooks/student/{page.file}"
        places["Run on Binder"] = ("_static/images/logo_binder.svg", binder)
        places["Run on Colab"] = ("_static/images/logo_colab.png", colab)
    context["header_buttons"] += [
        {"type": "link", "text": "", "tooltip": text, "icon": icon, "url": url} for text, (icon, url) in places.items()
    ]


def disconnect_thebe(app):
    """Unused live code buttons whose script fails on every page (sphinx-thebe 0.3.1 declares a constant twice)."""
    for event in ("env-before-read-docs", "doctree-resolved"):
        for listener in list(app.events.listeners.get(event, [])):
            if listener.handler.__module__ == "sphinx_thebe":
                app.disconnect(listener.id)


def draw_plotly_ourselves():
    """Add our renderer of plotly figures to myst-nb, for this build alone."""
    from myst_nb.core import render

    from dhpe_lib.figures.book_figures import PlotlyMime

    others = [its for its in render.load_mime_renders() if its.__name__ != PlotlyMime.__name__]
    render.load_mime_renders = lambda: [*others, PlotlyMime]


def setup(app):
    """Called by Sphinx."""
    draw_plotly_ourselves()
    disconnect_thebe(app)
    app.add_config_value("dhpe_library", "", "env")  # a new library reads every page again
    app.add_config_value("dhpe_repository", "", "env")
    app.add_css_file("book.css")
    app.add_js_file("book.js", loading_method="defer")
    app.connect("config-inited", configure, priority=900)
    app.connect("builder-inited", stage_local_files)
    app.connect("builder-inited", write_notebooks)
    app.connect("html-page-context", offer_notebook, priority=500)
    app.connect("html-page-context", describe_page)
    app.connect("html-page-context", store_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
