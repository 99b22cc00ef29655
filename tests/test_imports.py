"""What starting a job costs: how many modules its script imports, and which never. A start is paid for by every job."""

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"
TORCH = {"torch", "transformers", "accelerate"}
TRAINING = {"sae_lens", "transformer_lens", "datasets"}  # train_sae imports them once its log is open
FITTING = {"sklearn", "pandas"}
DRAWING = {"matplotlib"}
CHECKING = {"jsonschema", "yaml"}
EVIDENCE = {
    "weigh_latents",
    "choose_sets",
    "read_contexts",
    "explain_decisions",
    "draw_maps",
    "explain_trees",
    "suffice",
    "need",
    "fire_abroad",
}


ACTING = {"ablate", "steer", "read_written", "erase"}  # on a model
STEERING = {"find_directions", "find_eraser", "measure_steering", "measure_erasure", "intervention_tables"}


@dataclass
class Start:
    """Scripts that import about the same, and so are tried together: what all import is more than what each does."""

    scripts: set[str]
    most: int  # modules
    banned: set[str]


STARTS = {
    "model": Start(
        {"extract", "embed", "token_states", "residuals", "answers", "tune", "unpack", "ablate", "write_tokens"}
        | ACTING,
        3300,
        TRAINING | FITTING | DRAWING | {"jsonschema"},
    ),
    "sae": Start(
        {"prepare_sae", "train_sae", "measure_sae"},
        1450,
        TORCH - {"torch"} | TRAINING | FITTING | DRAWING | CHECKING | {"scipy", "PIL"},
    ),
    "weights": Start({"weights"}, 550, TORCH | TRAINING | FITTING | DRAWING | CHECKING | {"scipy", "PIL", "datasets"}),
    "pool": Start({"pool"}, 730, TORCH | TRAINING | FITTING | DRAWING | CHECKING | {"PIL"}),
    "probe": Start(
        EVIDENCE | STEERING | {"probe", "regimes", "transfer", "match", "carry", "match_tables", "compare", "recovery"},
        2250,
        TORCH | TRAINING | DRAWING | CHECKING,
    ),
    "export": Start({"export", "neuronpedia"}, 4250, TRAINING | DRAWING | {"jsonschema"}),
    "curve": Start({"curve"}, 2350, TORCH | TRAINING | CHECKING),
    "table": Start(
        {
            "examples",
            "tables",
            "merge",
            "regime_tables",
            "transfer_tables",
            "evidence_tables",
            "claims",
            "provenance",
        },
        925,
        TORCH | TRAINING | FITTING | DRAWING | CHECKING,
    ),
    "judge": Start({"judge_written"}, 950, TORCH | TRAINING | FITTING | DRAWING | CHECKING | {"scipy", "PIL"}),
    "draw": Start({"draw"}, 920, TORCH | TRAINING | FITTING | CHECKING),
    "pages": Start({"pages", "home", "study"}, 985, TORCH | TRAINING | FITTING | DRAWING),
    "explorer": Start({"explorer"}, 1050, TORCH | TRAINING | FITTING | DRAWING),
}


def imports(script: str) -> str:
    """The import statements of a script, those that its job runs later apart."""
    body = ast.parse((SCRIPTS / f"{script}.py").read_text()).body
    return "\n".join(ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom))


def modules_after(code: str) -> list[str]:
    """Names of the modules that a fresh Python has imported after `code`."""
    last = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{last}"], cwd=SCRIPTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_script_has_a_budget():
    named = [script for start in STARTS.values() for script in start.scripts]
    assert sorted(named) == sorted(file.stem for file in SCRIPTS.glob("*.py"))


@pytest.mark.parametrize("name", sorted(STARTS.keys() - {"model"}))
def test_a_script_starts_with_few_modules(name):
    start = STARTS[name]
    found = modules_after("\n".join(imports(script) for script in sorted(start.scripts)))
    assert start.banned & set(found) == set()
    assert len(found) <= start.most


def test_jobs_of_a_model_start_with_few_modules_and_an_extraction_imports_none_of_other_stages(folders, tmp_path):
    """One Python for all this: it takes 4 s of CPU to import torch and transformers."""
    start, identity = STARTS["model"], tiny.identity(tiny.model_spec(folders["bert"]))
    code = f"""
import sys
assert len(sys.modules) <= {start.most}, len(sys.modules)
model = load_model({identity}, depth=2)
examples = pl.DataFrame({{"example": [0, 1], "text": ["the cat", "rain"]}}, schema_overrides={{"example": pl.UInt32}})
extract(model, examples, {{}}, [1], Path({str(tmp_path / "shard")!r}), max_tokens=16, activation_dtype="float16")
code_facts("activations")
"""
    found = modules_after("\n".join([*map(imports, sorted(start.scripts)), code]))
    assert start.banned & set(found) == set()
