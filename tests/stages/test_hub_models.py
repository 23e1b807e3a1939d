"""A model of the hub goes through the stages by its name, here without network, from the cache that another process filled."""

import shutil

import pytest
from huggingface_hub import ModelCard, constants

import penjing
from penjing import cli
from penjing.core import hub
from penjing.core.model_dir import ModelDir
from tests.hub import COMMIT, fetched, serving


@pytest.fixture
def cached(tmp_path, text_parent, image_parent, monkeypatch):
    """The hub's cache holds hf:org/reviews and hf:org/digits; the hub is gone."""
    for name, parent in {"reviews": text_parent, "digits": image_parent}.items():
        shutil.copytree(parent, tmp_path / "root" / "org" / name, ignore=shutil.ignore_patterns("report.*"))
        (tmp_path / "root" / "org" / name / "README.md").write_text("---\nlicense: mit\n---\n")
    with serving(tmp_path / "root") as (endpoint, _):
        fetched(tmp_path / "home", endpoint, "hf:org/reviews", "hf:org/digits")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    yield
    hub.fetch.cache_clear()


def test_a_model_of_the_hub_is_named_with_commit_and_licence_in_lineage_and_card(cached, tmp_path, text_parent, reviews, runtime):
    model, report = penjing.prune("hf:org/reviews", reviews, out=tmp_path / "small", method="layers", epochs=0, runtime=runtime)
    parent = {"path": "hf:org/reviews", "commit": COMMIT, "sha256": ModelDir.open(text_parent).sha256()}
    assert model.lineage[-1]["parent"] == parent
    assert report.parent["licence"] == "mit" and report.parent.items() >= parent.items()
    card = ModelCard.load(model.path / "README.md")
    assert card.data.base_model == "org/reviews" and card.data.license == "mit"
    assert f"hf:org/reviews, commit {COMMIT[:12]}" in card.text


def test_a_network_of_penjings_own_loads_without_the_code_beside_it(cached, tmp_path, image_parent, capsys):
    """Its code is not fetched, and not needed: the same code is here."""
    assert not list((tmp_path / "home").rglob("resnet.py"))
    assert cli.main(["predict", "hf:org/digits", "sklearn:digits", "--quiet"]) == 0
    there = capsys.readouterr().out
    assert cli.main(["predict", str(image_parent), "sklearn:digits", "--quiet"]) == 0
    assert there == capsys.readouterr().out


def test_code_of_strangers_that_was_not_fetched_is_not_taken_for_ours(cached, tmp_path, capsys):
    (config,) = (tmp_path / "home").rglob("models--org--digits/snapshots/*/config.json")
    text = config.read_text().replace("resnet.", "strange.")
    config.unlink()
    config.write_text(text)
    assert cli.main(["predict", "hf:org/digits", "sklearn:digits", "--quiet"]) == 2
    assert "hf:org/digits/strange.py is code that is not penjing's own" in capsys.readouterr().err
