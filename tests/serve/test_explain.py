"""Explanations that are served are those of `penjing explain`."""

import base64

import pytest

import penjing
from penjing.core.image import Image
from tests.serve.test_bad_input import png

TEXT = "the film was lovely and very bright"


def test_a_text_is_explained_as_penjing_explain_does(client, text_parent, runtime):
    answer = client.post("/v1/models/text/explain", json={"inputs": [TEXT]})
    assert answer.status_code == 200, answer.text
    (said,), (expected,) = answer.json()["explanations"], penjing.explain(text_parent, TEXT, runtime=runtime)
    assert said["input"] == "inputs[0]" and said["method"] == "integrated-gradients" and said["warnings"] == expected["warnings"]
    assert [unit["text"] for unit in said["units"]] == TEXT.split()
    assert [unit["score"] for unit in said["units"]] == pytest.approx([unit["score"] for unit in expected["units"]], abs=1e-4)


def test_a_label_and_a_method_can_be_named(client, text_parent, runtime):
    ask = {"inputs": [TEXT], "method": "occlusion", "label": "bad"}
    (said,) = client.post("/v1/models/text/explain", json=ask).json()["explanations"]
    (expected,) = penjing.explain(text_parent, TEXT, method="occlusion", label="bad", runtime=runtime)
    assert said["explained"] == "bad" and [u["score"] for u in said["units"]] == pytest.approx(
        [u["score"] for u in expected["units"]], abs=1e-4
    )


def test_an_image_is_explained_by_its_cells(client):
    coded = base64.b64encode(png(8, 8)).decode()
    (said,) = client.post("/v1/models/image/explain", json={"inputs": [coded], "method": "grad-cam"}).json()["explanations"]
    assert {"row", "column", "score"} <= said["units"][0].keys() and Image(base64.b64decode(coded)).pixels().shape == (8, 8)


def test_the_methods_that_may_fit_are_told(client):
    text, image = (client.get(f"/v1/models/{name}").json()["explains"] for name in ("text", "image"))
    assert "integrated-gradients" in text and "attention" in text and "grad-cam" not in text and "grad-cam" in image


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"inputs": [TEXT], "method": "magic"}, "no method 'magic'"),
        ({"inputs": [TEXT], "method": 3}, "method is 3"),
        ({"inputs": [TEXT], "label": "nice"}, "no label 'nice'"),
        ({"inputs": [TEXT], "label": ["good"]}, "label is"),
        ({"inputs": []}, "empty"),
        ({"inputs": [TEXT], "probabilities": True}, "no field 'probabilities'"),
    ],
)
def test_what_cannot_be_explained_is_refused(client, body, said):
    answer = client.post("/v1/models/text/explain", json=body)
    assert answer.status_code == 422 and said in answer.json()["error"]["message"] and answer.json()["error"]["wanted"]


def test_a_method_that_does_not_fit_names_those_that_do(client):
    coded = base64.b64encode(png(8, 8)).decode()
    answer = client.post("/v1/models/image/explain", json={"inputs": [coded], "method": "attention-rollout"})
    assert answer.status_code == 422 and "occlusion" in answer.json()["error"]["wanted"]
    assert "attention-rollout" not in client.get("/v1/models/image").json()["explains"]
