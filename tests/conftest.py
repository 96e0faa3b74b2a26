import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from classifier.api.handler import Handler
from classifier.contract.classifiers.folder import read_classifiers
from classifier.images.formats import allow_heic
from classifier.model.encoders import Encoders
from tests.support.requests import DEMO, ROOT

# How fast a busy machine draws examples says nothing about the program.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes that share a run must find its tests in one order, also those made from a set."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.nodeid)


@pytest.fixture(scope="session", autouse=True)
def closed_connections() -> Iterator[None]:
    """The hub's client keeps its connections for the whole process; one that is left open fails the
    run at its end.
    """
    yield
    if "huggingface_hub" in sys.modules:
        sys.modules["huggingface_hub"].close_session()


@pytest.fixture(autouse=True)
def without_heic() -> None:
    """A start in this process takes HEIC wherever its decoder is installed, for all tests after."""
    allow_heic(False)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes that share the run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


@pytest.fixture(scope="session")
def encoders() -> Encoders:
    # Runs side by side have a core each, and a second thread would only wait for one.
    threads = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
    return Encoders.load(DEMO, threads=threads, verify_hashes=True)


@pytest.fixture
def handler(encoders: Encoders) -> Handler:
    return Handler(encoders)


@pytest.fixture
def deployed(encoders: Encoders) -> Handler:
    """With the project's own classifiers."""
    return Handler(encoders, classifiers=read_classifiers(ROOT / "classifiers", encoders.manifest))
