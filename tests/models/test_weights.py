"""What identifies a model's weights: hashes of files, commits of the hub."""

import hashlib

import pytest
import tiny
from refusals import fails
from tessera.models.loading import load_model
from tessera.models.weights import identify

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = ("model-1.safetensors", "model-2.safetensors", "config.json")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path):
    """Files that stand for a model's; each holds its name."""
    for name in FILES:
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the hub, offline, that has the config of org/name."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "models--org--name" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs/main").write_text(COMMIT)


def test_a_folders_weights_are_hashed_file_by_file(folder):
    hashed = [["model", "small", name, f"sha256:{sha256(name)}"] for name in FILES[:2]]
    for spec, made in (({"path": str(folder)}, None), ({"tuned": {"from": "base"}}, str(folder))):
        assert identify(tiny.identity(spec), made) == {"revision": None, "facts": hashed}


def test_of_a_control_the_seed_and_the_config_count(folder):
    drawn = {"control_of": "small"}
    expected = [
        ["model", "r", "weights", "drawn from seed 7"],
        ["model", "r", "config.json", f"sha256:{sha256('config.json')}"],
    ]
    for entry, made in (({"path": str(folder)}, None), ({"tuned": {"from": "base"}}, str(folder))):
        found = identify(tiny.identity(drawn, entry, name="r", seed=7), made)
        assert found == {"revision": None, "facts": expected}


def test_sha256_is_checked_and_named(folder):
    (folder / "model.safetensors").write_text("weights")
    spec = {"path": str(folder), "sha256": sha256("weights")}
    assert ["model", "small", "model.safetensors", f"sha256:{spec['sha256']}"] in identify(tiny.identity(spec))["facts"]
    wrong = tiny.identity({**spec, "sha256": "0" * 64})
    fails(lambda: identify(wrong), "config key models.small.sha256: ", str(folder), sha256("weights"))
    (folder / "model.safetensors").unlink()
    fails(lambda: identify(wrong), "config key models.small.sha256: there is no file", "model.safetensors")


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_hub_models_commit_is_had_from_the_cache(cache, revision):
    entry = {"hub": "org/name"} | ({"revision": revision} if revision else {})
    fact = ["model", "small", "hub org/name", f"commit {COMMIT}"]
    assert identify(tiny.identity(entry)) == {"revision": COMMIT, "facts": [fact]}
    drawn = identify(tiny.identity({"control_of": "m"}, entry, seed=3))
    assert drawn == {"revision": COMMIT, "facts": [["model", "small", "weights", "drawn from seed 3"], fact]}


@pytest.mark.parametrize("entry", [{"hub": "org/other"}, {"hub": "org/name", "revision": "1" * 40}])
def test_a_model_that_neither_hub_nor_cache_has_is_an_error(cache, entry):
    fails(lambda: identify(tiny.identity(entry)), f"config key models.small: '{entry['hub']}' cannot be had from the")


def test_the_commit_is_what_later_jobs_load(folders, cache, tmp_path):
    """The branch moves on in between."""
    hub = tmp_path / "models--org--name"
    for number, name in ((COMMIT, "bert"), ("1" * 40, "llama")):
        (hub / "snapshots" / number).mkdir(exist_ok=True)
        for file in folders[name].iterdir():
            (hub / "snapshots" / number / file.name).write_bytes(file.read_bytes())
    spec = {key: value for key, value in tiny.model_spec("none").items() if key != "path"} | {"hub": "org/name"}
    commit = identify(tiny.identity(spec))["revision"]
    (hub / "refs/main").write_text("1" * 40)
    assert type(load_model(tiny.identity(spec), revision=commit).module).__name__ == "BertModel"
    assert type(load_model(tiny.identity(spec)).module).__name__ == "LlamaModel"
