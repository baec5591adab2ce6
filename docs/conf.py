"""How Sphinx builds the documentation: ``make docs``, then open docs/_build/html/index.html."""

import re
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

import pdeconv

HERE = Path(__file__).parent

project = "pdeconv"
author = "the pdeconv developers"
version = release = pdeconv.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery.md"]  # a gallery for those who read the repository; gallery/ is made
templates_path = ["_templates"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["config.cache"]  # functions of sphinx_gallery_conf cannot be cached

html_theme = "pydata_sphinx_theme"
html_title = f"pdeconv {version}"
html_show_sourcelink = False
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}


def written_pictures(block, block_vars, gallery_conf, **_):
    """The pictures that an example has written, for its page."""
    paths = []
    for picture in sorted(PICTURES.glob("*.png")):
        path = Path(next(block_vars["image_path_iterator"]))
        picture.replace(path)
        paths.append(path)
    return figure_rst([str(path) for path in paths], gallery_conf["src_dir"])


PICTURES = HERE / "_build" / "pictures"
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "image_scrapers": (written_pictures,),
    "reset_argv": lambda conf, variables: ["--output", str(PICTURES)],
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1,
    "abort_on_example_error": True,
}


def as_markup(app, what, name, thing, options, lines):
    """Docstrings as reStructuredText: "Rate: …" is a field, and |∇u| and (B, C, *S) are no markup; code stays."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...", ".. ")):
            line = FIELD.sub(r":\1:", line)
            parts = re.split(r"(``.*?``)", line)
            lines[number] = "".join(part if part.startswith("``") else FORMULA.sub(r"\\\1", part) for part in parts)


FIELD = re.compile(r"^((?:Keeps|Rate|Limit|Solve|Flow|Growth|Boundaries)(?:, (?:Solve|Flow|Keeps))*):")
FORMULA = re.compile(r"(?<!\\)([|*])")


def setup(app):
    app.connect("autodoc-process-docstring", as_markup)
