"""Fixtures that several test files share: small models of every architecture, made once."""

import pytest
import tiny
from tessera.models import load_model


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: tiny.save_model(name, root / name) for name in tiny.ARCHITECTURES}


@pytest.fixture(scope="session")
def loaded(folders):
    specs = {name: tiny.model_spec(folder) for name, folder in folders.items()}
    return {name: load_model(name, spec, spec, seed=0) for name, spec in specs.items()}


@pytest.fixture(params=tiny.ARCHITECTURES)
def model(request, loaded):
    return loaded[request.param]


@pytest.fixture
def bert(loaded):
    return loaded["bert"]
