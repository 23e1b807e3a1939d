import pytest

from penjing.engine.load import register_families


@pytest.fixture(scope="session", autouse=True)
def own_families_registered():
    """The Auto classes know penjing's own families, as after a load by the engine."""
    register_families()
