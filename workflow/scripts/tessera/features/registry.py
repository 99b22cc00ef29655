"""The registry of kinds of features, in the order in which tables and figures show them."""

from collections.abc import Iterator

from tessera.base.errors import TesseraError
from tessera.features.beside import Beside
from tessera.features.embeddings import Embeddings
from tessera.features.hidden import Hidden
from tessera.features.kind import Kind
from tessera.features.length import Length
from tessera.features.pixels import Pixels
from tessera.features.sae import Latents
from tessera.features.tfidf import Tfidf
from tessera.features.tokens import Tokens
from tessera.study.study import Study

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (Latents(), Hidden(), Tokens(), Beside(), Embeddings(), Tfidf(), Length(), Pixels())
}


def kind(name: str) -> Kind:
    """The kind of features of a name.

    Raises:
        TesseraError: there is none.
    """
    if name not in KINDS:
        raise TesseraError(f"there is no kind of features {name!r}; registered: {', '.join(KINDS)}")
    return KINDS[name]


def places(study: Study, name: str) -> Iterator[tuple[dict[str, str], str]]:
    """Every place and data set that a kind is probed at."""
    for place in kind(name).places(study):
        for data in kind(name).data(study, place):
            yield place, data
