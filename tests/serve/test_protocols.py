"""Clients of other servers: the Open Inference Protocol, TorchServe; the schema of all routes."""

import base64
import json

import pytest

from tests.serve.test_bad_input import png

TEXTS = ["a lovely film", "dull and cold"]


def tensor(*data, name="text", datatype="BYTES", shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": [*data]}


def native(client, *rows, name="text"):
    return client.post(f"/v1/models/{name}/predict", json={"inputs": rows, "probabilities": True}).json()["predictions"]


def test_the_open_inference_protocol_answers_as_the_native_route_does(client):
    said = client.post("/v2/models/text/infer", json={"id": "7", "inputs": [tensor(*TEXTS)]}).json()
    expected = native(client, *TEXTS)
    assert said["model_name"] == "text" and said["id"] == "7"
    value, score = said["outputs"]
    assert value == {"name": "value", "datatype": "BYTES", "shape": [2], "data": [each["value"] for each in expected]}
    assert score["datatype"] == "FP64" and score["data"] == pytest.approx([each["score"] for each in expected], abs=1e-5)


def test_it_tells_of_the_server_and_of_a_model(client):
    assert client.get("/v2").json()["name"] == "penjing" and client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True} and client.get("/v2/models/text/ready").json()["ready"]
    assert client.get("/v2/models/text").json()["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert client.get("/v2/models/none/ready").status_code == 404


def test_it_gives_the_outputs_that_are_named_and_takes_a_column_of_one(client):
    ask = {"inputs": [tensor(*TEXTS, shape=[2, 1])], "outputs": [{"name": "score"}], "parameters": {}}
    (only,) = client.post("/v2/models/text/infer", json=ask).json()["outputs"]
    assert only["name"] == "score"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": "a"},
        {"inputs": ["a"]},
        {"inputs": []},
        {"inputs": [tensor(name="text")]},
        {"inputs": [tensor("a", name="words")]},
        {"inputs": [tensor("a"), tensor("b")]},
        {"inputs": [tensor("a", datatype="FP32")]},
        {"inputs": [tensor("a", shape=[2])]},
        {"inputs": [tensor("a", shape="a")]},
        {"inputs": [tensor(3)]},
        {"inputs": [{**tensor(), "data": {"a": 1}}]},
        {"inputs": [tensor("a")], "outputs": [{"name": "logits"}]},
        {"inputs": [tensor("a")], "outputs": 3},
        {"inputs": [tensor("a")], "more": 3},
    ],
)
def test_tensors_that_are_none_of_its_are_refused(client, body):
    answer = client.post("/v2/models/text/infer", json=body)
    assert answer.status_code == 422 and answer.json()["error"]["wanted"], answer.text


def test_torchserve_takes_a_file_as_a_body_a_form_or_json(client):
    (expected,) = native(client, TEXTS[0])
    for how in (
        {"content": TEXTS[0]},
        {"content": TEXTS[0], "headers": {"content-type": "text/plain"}},
        {"files": {"data": TEXTS[0].encode()}},
        {"data": {"data": TEXTS[0]}},
        {"json": {"data": TEXTS[0]}},
        {"json": {"body": {"text": TEXTS[0]}}},
        {"json": {"text": TEXTS[0]}},
    ):
        answer = client.post("/predictions/text", **how)
        assert answer.status_code == 200 and answer.json() == pytest.approx(expected["probabilities"], abs=1e-5), how
        assert [*answer.json().values()] == sorted(answer.json().values(), reverse=True)


def test_torchserve_takes_an_image_by_put(client):
    (expected,) = native(client, base64.b64encode(png(8, 8)).decode(), name="image")
    assert client.put("/predictions/image", content=png(8, 8)).json() == pytest.approx(expected["probabilities"], abs=1e-5)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"content": b"\xff"}, 422),
        ({"content": b""}, 422),
        ({"json": {"data": 3}}, 422),
        ({"json": [1]}, 422),
        ({"files": {"text": b"a"}}, 422),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
    ],
)
def test_torchserve_refuses_what_is_no_row(client, how, status):
    answer = client.post("/predictions/text", **how)
    assert answer.status_code == status and answer.json()["error"]["wanted"], answer.text


def test_torchserve_tells_of_models(client):
    assert client.get("/ping").json() == {"status": "Healthy"}
    assert [each["modelName"] for each in client.get("/models").json()["models"]] == ["text", "image"]
    (one,) = client.get("/models/text").json()
    assert one["modelVersion"] == "1.0" and one["workers"][0]["status"] == "READY" and one["loadedAtStartup"]
    assert client.delete("/models/text").status_code == 403 and client.post("/models?url=text").json()["error"]["code"] == "no_store"


def test_the_schema_tells_what_each_model_reads(client):
    schema = client.get("/openapi.json").json()
    rows = schema["paths"]["/v1/models/text/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"][
        "inputs"
    ]
    assert rows["maxItems"] == 8 and rows["items"]["anyOf"][0] == {"type": "string", "minLength": 1}
    image = schema["paths"]["/v1/models/image/predict"]["post"]["requestBody"]["content"]
    assert "multipart/form-data" in image and json.dumps(schema).count('"byte"') >= 2
    assert {"/v1/models/text/explain", "/v2/models/text/infer", "/predictions/text", "/health", "/metrics"} <= schema["paths"].keys()


def test_the_page_of_the_schema_runs_scripts_of_this_server_alone(client):
    page = client.get("/docs")
    assert "swagger" in page.text and "http" not in page.text and "script-src 'self'" in page.headers["content-security-policy"]
    assert len(client.get("/docs/swagger-ui-bundle.js").content) > 100_000 and "/openapi.json" in client.get("/docs/start.js").text
    assert client.get("/docs/swagger-ui.css").headers["content-type"].startswith("text/css")
