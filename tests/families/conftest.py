import pytest

from penjing.families import cnn, resnet


@pytest.fixture(scope="session", autouse=True)
def own_families_registered():
    """The Auto classes know penjing's own families, as after a load by the engine."""
    for family in (cnn, resnet):
        family.register()
