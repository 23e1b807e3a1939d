"""The answers that are served are those that `penjing predict` gives."""

import pytest
from starlette.testclient import TestClient

import penjing
from penjing.serve.app import create_app


@pytest.fixture(scope="module")
def client(text_parent, image_parent, runtime):
    with TestClient(create_app([text_parent, image_parent], runtime=runtime)) as client:
        yield client


def test_texts_are_answered_as_penjing_predict_answers_them(client, text_parent, runtime):
    texts = ["the film was lovely", "a dull and very cold room 71", "bright", "quite awful " * 30]
    said = client.post("/v1/models/text/predict", json={"inputs": texts}).json()
    assert said["model"] == "text" and said["engine"] == "torch fp32" and said["ms"] > 0
    for answer, expected in zip(said["predictions"], penjing.predict(text_parent, texts, runtime=runtime), strict=True):
        assert answer == {"value": expected["value"], "score": pytest.approx(expected["score"], abs=1e-5)}
