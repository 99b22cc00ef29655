"""The site that `make docs` builds: without a warning, every link leads somewhere, and no page asks another host."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
LOADED = {"src", "srcset", "data", "poster", "style"}  # a browser loads what they name
PAGES = ("index", "docs/api/tessera.probes", "benchmarks/README", "config/README", "CONTRIBUTING", "CHANGELOG")


class Page(HTMLParser):
    """The anchors of a page, where its links lead, and what a browser loads for it."""

    def __init__(self, file: Path):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name == "href" and tag == "a":
                self.links.append(value)
            elif name in LOADED or name == "href":
                self.loaded.append(value or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    recipe = re.search(r"-m (sphinx .+) site$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    built = subprocess.run(
        [sys.executable, "-m", *recipe.split(), str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html")}


def test_every_page_is_there(site, pages):
    wanted = {*PAGES, *(f"docs/{file.stem}" for file in ROOT.glob("docs/*.md"))}
    assert {site / f"{page}.html" for page in wanted} <= pages.keys()


def test_every_link_leads_somewhere(pages):
    lost = []
    for file, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or not (parts.path or parts.fragment) or re.search(r"[\s;,]", link):
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                lost.append(f"{file.name}: {link}")
    assert lost == []


def test_no_page_asks_another_host(site, pages):
    assert [link for page in pages.values() for link in page.loaded if re.search(r"(^|[\s(=])(https?:)?//", link)] == []
    for file in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", file.read_text()), file
