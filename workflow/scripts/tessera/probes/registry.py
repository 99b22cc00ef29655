"""The registry of kinds of probes, in the order in which tables show them."""

from tessera.base.errors import TesseraError
from tessera.probes.attention import Attention
from tessera.probes.boosting import Boosting
from tessera.probes.difference import Difference
from tessera.probes.kind import ProbeKind
from tessera.probes.l1 import L1
from tessera.probes.lda import Lda
from tessera.probes.logistic import Logistic
from tessera.probes.tree import Tree

LOGISTIC = Logistic.name
PROBES: dict[str, ProbeKind] = {
    one.name: one for one in (Logistic(), L1(), Difference(), Lda(), Tree(), Boosting(), Attention())
}


def probe_kind(name: str) -> ProbeKind:
    """The kind of probe of a name.

    Raises:
        TesseraError: there is none.
    """
    if name not in PROBES:
        raise TesseraError(f"there is no kind of probe {name!r}; registered: {', '.join(PROBES)}")
    return PROBES[name]
