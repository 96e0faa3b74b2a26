import pytest
from hypothesis import HealthCheck, settings

from classifier.encoders import Encoders
from classifier.handler import Handler
from tests.support.requests import DEMO

# How fast a busy machine draws examples says nothing about the program.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def encoders() -> Encoders:
    return Encoders.load(DEMO, threads=2, verify_hashes=True)


@pytest.fixture
def handler(encoders: Encoders) -> Handler:
    return Handler(encoders)
