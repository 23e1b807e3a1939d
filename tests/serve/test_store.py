"""Models come and go while others are asked, and no request is lost."""

import shutil
import threading

import pytest
from starlette.testclient import TestClient

from penjing.core.errors import OptionError
from penjing.serve.app import create_app

ASK = {"inputs": ["a lovely film"]}


@pytest.fixture
def store(tmp_path, text_parent, image_parent):
    """A folder of two models, one link out of it, and what is no model."""
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copytree(text_parent, folder / "text")
    shutil.copytree(image_parent, folder / "digits")
    (folder / "outside").symlink_to(text_parent)
    (folder / "notes").mkdir()
    shutil.copytree(text_parent, folder / "broken")
    (folder / "broken" / "model.safetensors").write_bytes(b"no weights")
    return folder


@pytest.fixture
def client(store, runtime):
    with TestClient(create_app([store / "text"], runtime=runtime, store=store, log="none")) as client:
        yield client


def test_a_model_of_the_store_is_loaded_asked_and_unloaded(client):
    assert client.get("/v1/models/digits").status_code == 404
    loaded = client.put("/v1/models/digits").json()
    assert loaded["id"] == "digits" and loaded["state"] == "ready"
    assert client.get("/models/digits").json()[0]["loadedAtStartup"] is False
    assert client.delete("/v1/models/digits").json() == {"id": "digits", "object": "model", "deleted": True}
    assert client.get("/v1/models/digits").status_code == 404 and client.delete("/v1/models/digits").status_code == 404


def test_torchserve_registers_and_unregisters_by_name(client):
    assert "registered" in client.post("/models?url=digits").json()["status"]
    assert "unregistered" in client.delete("/models/digits").json()["status"]


@pytest.mark.parametrize("name", ["none", "outside", "notes", "..", ".", "%2e%2e", "a/b", "..%2Ftext", "%2Fetc"])
def test_names_that_are_no_model_of_the_store_are_refused(client, name):
    answer = client.put(f"/v1/models/{name}")
    assert answer.status_code in (404, 405), answer.text
    assert client.post("/models", params={"url": name}).status_code == 404


def test_a_model_that_cannot_be_loaded_is_refused_without_a_path(client, store):
    answer = client.put("/v1/models/broken")
    assert answer.status_code == 422 and str(store) not in answer.text and answer.json()["error"]["code"] == "not_loadable"
    assert client.post("/v1/models/text/predict", json=ASK).status_code == 200


def test_a_model_is_reloaded_while_it_is_asked_and_no_request_is_lost(client):
    said, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            said.append(client.post("/v1/models/text/predict", json=ASK).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        assert client.put("/v1/models/text").status_code == 200
    stop.set()
    for thread in threads:
        thread.join()
    assert {*said} == {200} and len(said) > 12


def test_the_new_weights_answer_after_a_reload(client, store, text_parent):
    before = client.post("/v1/models/text/predict", json=ASK).json()["predictions"][0]["score"]
    created = client.get("/v1/models/text").json()["created"]
    again = client.put("/v1/models/text").json()
    assert again["created"] >= created
    assert client.post("/v1/models/text/predict", json=ASK).json()["predictions"][0]["score"] == pytest.approx(before)


def test_a_store_that_is_not_there_is_refused(text_parent, tmp_path, runtime):
    with pytest.raises(OptionError, match="no such folder"):
        create_app([text_parent], runtime=runtime, store=tmp_path / "none")
