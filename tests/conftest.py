"""Fixtures that several test files share: small models of every architecture, and a finished study, made once."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import engine
import evident as evident_study
import pytest
import seconds
import tiny
from filelock import FileLock
from runs import make_study, snakemake

# Files that take long, the longest first: `make test` gives each file to one worker, and these go first.
LONG = (
    "test_slurm.py",
    "test_killed.py",
    "test_train.py",  # while the other worker makes the study
    "test_workflow.py",
    "test_faults.py",
    "test_reruns.py",
    "test_evidence.py",
    "test_explorer.py",
    "test_report.py",
    "test_hostile.py",
    "test_visual.py",
    "test_behaviour.py",
)


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.add_cleanup(engine.start_server())
    config.pluginmanager.register(seconds)  # as a conftest it would not see the session's fixtures


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker to ask for it makes, for all."""
    root = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    with FileLock(root / f"{name}.lock"):
        if not (root / f"{name}.made").exists():
            make(root / name)
            (root / f"{name}.made").touch()
    return root / name


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What a test does to the root logger, as a script's job does, ends with it: files run in any order."""
    root = logging.getLogger()
    level, handlers = root.level, set(root.handlers)
    yield
    root.setLevel(level)
    logging.captureWarnings(False)
    for handler in set(root.handlers) - handlers:
        if type(handler) in (logging.FileHandler, logging.StreamHandler):  # pytest's own are of other types
            root.removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: tiny.save_model(name, root / name) for name in tiny.ARCHITECTURES}


@pytest.fixture(scope="session")
def loaded(folders):
    return {name: tiny.load(folder) for name, folder in folders.items()}


@pytest.fixture(params=tiny.ARCHITECTURES)
def model(request, loaded):
    return loaded[request.param]


@pytest.fixture
def bert(loaded):
    return loaded["bert"]


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    """A finished study: look, do not touch."""
    return once(tmp_path_factory, "study", lambda folder: snakemake(make_study(folder)))


@pytest.fixture(scope="session")
def evident(tmp_path_factory) -> Path:
    """A finished study with evidence (evident.py): look, do not touch."""
    return once(tmp_path_factory, "evident", evident_study.make)


@pytest.fixture
def copy(study, tmp_path) -> Path:
    """A copy of the finished study, to break."""
    return Path(shutil.copytree(study, tmp_path / "copy"))
