"""The page itself: markup, style, modules and pieces in one file; or, of a large study, pieces in files beside it."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import vl_convert

from tessera.base.files import atomic
from tessera.explorer.columns import encode
from tessera.explorer.pieces import Piece

WITHIN = 8_000_000  # characters of pieces up to which all stand in the page
LEVEL = 6  # of gzip: 9 takes four times as long for a hundredth of the bytes
DIGITS = 16  # of the digest that names a piece in a file: a folder of another run is never read as this one
MODULE = "tessera/"  # in front of the names of the page's modules


def write_page(page: str | Path, folder: str | Path, first: dict, frames: dict, pieces: Iterator[Piece]) -> None:
    """Write the page of a study, and to `folder` the pieces that it has no room for (none, of a small study).

    Args:
        first, frames: of the piece `study`, which is always in the page; the names and files of all pieces are added.
    """
    with atomic(folder) as beside:
        beside.mkdir()
        names, files, inside, size = ["study"], [""], {}, 0
        for number, (name, facts, parts) in enumerate(pieces, start=1):
            content = _packed(encode(facts, parts))
            digest = hashlib.sha256(f"{name} {content}".encode()).hexdigest()[:DIGITS]
            (beside / f"{digest}.js").write_text(f'tesseraPiece("{digest}","{content}")\n', encoding="ascii")
            names.append(name)
            files.append(digest)
            size += len(content)
            if size <= WITHIN:
                inside[number] = content
        if size <= WITHIN:
            for number in inside:
                (beside / f"{files[number]}.js").unlink()
        else:
            inside = {}
        inside[0] = _packed(encode(first | {"pieces": names, "files": files if size > WITHIN else []}, frames))
        with atomic(page) as part:
            part.write_text(_page(inside, Path(folder).name), encoding="utf-8")


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, LEVEL, mtime=0)).decode()


def _page(pieces: dict[int, str], folder: str) -> str:
    """The markup. No text of the study stands in it: pieces are base64, which ends no element."""
    source = resources.files("tessera.explorer") / "page"
    modules = {
        f"{MODULE}{file.name}": f"data:text/javascript;base64,{base64.b64encode(file.read_bytes()).decode()}"
        for file in sorted(source.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".js")
    }
    filled = {
        "folder": folder,
        "style": (source / "style.css").read_text(encoding="utf-8"),
        "modules": json.dumps({"imports": modules}),
        "vega": _inline(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")),
        "pieces": "\n".join(
            f'<script type="text/plain" id="piece{number}">{content}</script>' for number, content in pieces.items()
        ),
    }
    template = (source / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], template)


def _inline(script: str) -> str:
    """A script that ends no element that it stands in."""
    return script.replace("</script", r"<\/script")
