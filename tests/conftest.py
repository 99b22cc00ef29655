"""Fixtures that several test files share: small models of every architecture, and a finished study, made once."""

import shutil
from pathlib import Path

import engine
import pytest
import tiny
from runs import make_study, snakemake


def pytest_configure(config):
    config.add_cleanup(engine.start_server())


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
    folder = make_study(tmp_path_factory.mktemp("study") / "study")
    snakemake(folder)
    return folder


@pytest.fixture
def copy(study, tmp_path) -> Path:
    """A copy of the finished study, to break."""
    return Path(shutil.copytree(study, tmp_path / "copy"))
