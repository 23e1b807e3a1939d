"""Whatever is asked, by the schema of the server and against it, the answer is JSON below 500, and the server answers the next one."""

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from starlette.testclient import TestClient

from penjing.serve.app import create_app
from tests.serve.test_native import made

TASKS = {
    "text-classification": "one-label", "token-classification": None, "question-answering": None, "image-classification": "one-label",
    "audio-classification": "one-label", "text-generation": None, "feature-extraction": None,
}  # fmt: skip
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
LEAST_CASES = 5000
HOST = "http://localhost"

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def client(tmp_path_factory, runtime):
    """Of a model of each of these tasks, with limits that are soon reached."""
    folder = tmp_path_factory.mktemp("fuzzed")
    for name, head in TASKS.items():
        made(name, head, folder / name)
    app = create_app(
        [folder / name for name in TASKS], runtime=runtime, log="none", most_rows=4, most_body="50kB", most_characters=2000,
        most_pixels=50_000, most_seconds=2,
    )  # fmt: skip
    with TestClient(app, base_url=HOST) as client:
        yield client


def test_requests_by_the_schema_and_against_it(client):
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    done = 0

    def answered(case):
        nonlocal done
        done += 1
        asked = requests.Request(**case.as_transport_kwargs(base_url=HOST)).prepare()
        answer = client.request(asked.method, asked.url, content=asked.body or b"", headers=dict(asked.headers))
        case.validate_response(answer, checks=CHECKS)

    asking = [operation for operation in operations if operation.body]
    cases = -(-LEAST_CASES // len(asking) // 2)
    for operation in operations:
        for mode in GenerationMode if operation.body else [GenerationMode.POSITIVE]:
            try_all(given(operation.as_strategy(generation_mode=mode))(answered), cases)
    assert done >= LEAST_CASES
    assert_all_answer(client)


def try_all(property, cases):
    """So many cases of a property, the same in every run."""
    quiet = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    settings(max_examples=cases, derandomize=True, **quiet)(property)()


def assert_all_answer(client):
    """No worker is stuck."""
    for model in client.get("/v1/models").json()["data"]:
        assert client.post(f"/v1/models/{model['id']}/predict", json={"inputs": []}).status_code == 422
    rows = {"text-classification": "a film", "question-answering": {"question": "who", "context": "a dog"}, "text-generation": "the"}
    for name, row in rows.items():
        answer = client.post(f"/v1/models/{name}/predict", json={"inputs": [row]})
        assert answer.status_code == 200, answer.text
