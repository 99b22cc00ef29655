"""Where this workflow stands: on its own or within another, in a checkout or fetched; and its library for the rules."""

import sys
from importlib.util import find_spec
from pathlib import Path

from snakemake.exceptions import WorkflowError

HERE = Path(str(workflow.current_basedir)).resolve()  # no folder where the rules come from a hosted repository
ROOT = HERE.parents[1]
# As a module, or by the include of another workflow: who imports decides what is shown, and how it ends.
OWN = (ROOT / "Snakefile", ROOT / "workflow" / "Snakefile")
IMPORTED = workflow.modifier.parent_modifier is not None or Path(workflow.main_snakefile).resolve() not in OWN


def refuse(error):
    """End in one line; an importer is told in its own way."""
    if IMPORTED:
        raise WorkflowError(f"tessera: {error}")
    sys.exit(f"error: {error}")


BESIDE = HERE.parent / "scripts" / "tessera" / "__init__.py"
spec = find_spec("tessera")
INSTALLED = Path(spec.origin).resolve() if spec and spec.origin else None
if BESIDE.exists():
    if INSTALLED not in (None, BESIDE):  # which scripts would import: they look in their own folder last
        refuse(f"{INSTALLED.parent} hides the library of this checkout: uninstall it, or pip install -e the checkout")
    sys.path.insert(0, str(BESIDE.parents[1]))
elif INSTALLED is None:
    refuse(f"no library beside {workflow.current_basedir}: install tessera-sae, same tag or commit, beside Snakemake")
elif INSTALLED.read_text().strip() != Path(workflow.source_path("../scripts/tessera/__init__.py")).read_text().strip():
    refuse(f"{INSTALLED.parent} is of another version than {workflow.current_basedir}: install tessera-sae of that one")
