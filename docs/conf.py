"""Sphinx configuration: `make docs` builds the site into build/docs, without network."""

import shutil
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
project = PROJECT["name"]
author = "The langchain-vipllava developers"
copyright = f"2026, {author}"
release = version = PROJECT["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "our_docstrings",
    "parameter_table",
]
exclude_patterns = ["_ext"]

# Sphinx reads only what lies below docs/.
NOTEBOOKS = HERE / "notebooks"
shutil.rmtree(NOTEBOOKS, ignore_errors=True)
NOTEBOOKS.mkdir()
for notebook in (HERE.parent / "examples").glob("*.ipynb"):
    shutil.copy(notebook, NOTEBOOKS)

myst_enable_extensions = ["html_image"]  # <img src=... width=...>
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # or pages load JavaScript from other hosts

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_google_docstring = True
python_maximum_signature_line_length = 88

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "source_repository": "https://github.com/langchain-vipllava/langchain-vipllava/",
    "source_branch": "main",
    "source_directory": "docs/",
}
