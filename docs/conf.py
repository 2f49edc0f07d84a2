"""How Sphinx makes the site from the pages that ``docs/build_site.py`` lays out."""

from __future__ import annotations

import re
from typing import Any

project = "irtd-datasets"
author = "The irtd-datasets contributors"
project_copyright = "the irtd-datasets contributors; data keep the terms of their sources"
html_title = "irtd-datasets"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4  # links to headings, named as GitHub names them
myst_enable_extensions = ["attrs_inline"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
suppress_warnings = ["ref.python"]  # a type that two modules have under one name is linked to the first
default_role = "py:obj"  # docstrings write names in single backticks: a link where the name is known
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [
    ("Attributes", "params_style")
]  # a list: as entries of their own they stand there twice
napoleon_preprocess_types = False

smartquotes = False  # two dashes begin an option
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


def setup(app: Any) -> None:  # noqa: ANN401 - Sphinx is an extra
    """Let docstrings write a name that ends in ``_`` as it is, which would be a link to it, and set real dashes."""

    def mark(*event: Any) -> None:  # noqa: ANN401
        lines = event[-1]
        lines[:] = [re.sub(r"(?<![\w`.])(\w[\w.]*_)(?![\w`])", r"``\1``", line) for line in lines]

    def set_dashes(_: Any, doctree: Any) -> None:  # noqa: ANN401
        from docutils.nodes import Text

        for text in [text for text in doctree.findall(Text) if text == " -- "]:
            text.parent.replace(text, Text(" \N{EN DASH} "))

    app.connect("autodoc-process-docstring", mark)
    app.connect("doctree-read", set_dashes)
