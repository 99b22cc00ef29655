"""The site: `make docs` builds it with Sphinx from the Markdown of the repository and the docstrings of the library.

Its source folder is the repository, so that one relative link works on a code host and in the site.
"""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer

LIBRARY = Path(__file__).parents[1] / "workflow/scripts"
sys.path.insert(0, str(LIBRARY))

project = html_title = "Tessera"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.apidoc", "sphinx.ext.napoleon"]

root_doc = "docs/index"
include_patterns = ["CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "config/README.md", "docs/**"]
# What git ignores, or holds no page: not walked through.
exclude_patterns = [
    ".*",
    "benchmarks/results",
    "contestants",
    "logs",
    "results",
    "site",
    "steering",
    "synthetic",
    "tests",
    "twins",
    "visual",
    "workflow",
]
exclude_patterns += ["docs/api/modules.rst", "docs/api/tessera.rst"]  # docs/library.md has what they say

myst_heading_anchors = 3  # as on a code host
default_role = "code"  # docstrings mark code with one backtick
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
add_module_names = False
python_maximum_signature_line_length = 100
nitpicky = True
nitpick_ignore_regex = [(r"py:(?!func)\w+", ".*")]  # types of other libraries lead nowhere; links to functions must
apidoc_modules = [{"path": str(LIBRARY / "tessera"), "destination": "docs/api", "module_first": True}]

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_extra_path = ["root"]  # its index.html leads to the root document
html_copy_source = False
html_show_copyright = False


def setup(app):
    app.add_lexer("mermaid", TextLexer)  # code hosts draw it; drawn here it would need JavaScript from elsewhere
