"""Who may ask, and what every answer says to a browser."""

import base64
import hashlib
import json
import threading

import pytest
from starlette.testclient import TestClient

from penjing import cli
from penjing.core.errors import OptionError
from penjing.serve import Options, app, serve
from penjing.serve.app import create_app

ASK = {"inputs": ["a lovely film"]}
TOKEN = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def guarded(text_parent, runtime, tmp_path_factory):
    """A server that asks for a token and logs everything."""
    path = tmp_path_factory.mktemp("tokens") / "token"
    path.write_text(f"another-token-of-somebody\n{TOKEN}\n")
    with TestClient(create_app([text_parent], runtime=runtime, token_file=path)) as client:
        yield client


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer ü{TOKEN}"]
)
def test_without_the_token_nothing_is_answered(guarded, header):
    answer = guarded.post("/v1/models/text/predict", json=ASK, headers={"authorization": header.encode("latin-1")})
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer" and answer.json()["error"]["code"] == "no_token"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/text", "/metrics", "/nothing"])
def test_no_other_path_is_open_either(guarded, path):
    assert guarded.get(path).status_code == 401


def test_with_the_token_it_is_answered_and_probes_need_none(guarded):
    assert guarded.post("/v1/models/text/predict", json=ASK, headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/health").status_code == 200 and guarded.get("/ready").status_code == 200


def test_an_address_that_others_reach_needs_a_token_file(text_parent, capsys):
    with pytest.raises(OptionError, match=r"--host 0\.0\.0\.0 can be reached by others"):
        serve([text_parent], host="0.0.0.0")
    assert cli.main(["serve", str(text_parent), "--host", "::"]) == 2
    said = capsys.readouterr().err
    assert "wanted  --token-file" in said and "next    openssl" in said


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_addresses_of_this_machine_alone_need_none(host):
    assert Options(host=host).local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.0.1", "localhost.example.org", "127.0.0.1.example.org"])
def test_any_other_address_is_of_others_too(host):
    assert not Options(host=host).local


@pytest.mark.parametrize(("content", "said"), [("", "holds no token"), ("short\n", "can be guessed"), (None, "cannot be read")])
def test_a_token_file_that_keeps_nobody_out_is_refused(text_parent, tmp_path, content, said):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OptionError, match=said) as refused:
        serve([text_parent], token_file=path)
    assert refused.value.wanted and "openssl" in refused.value.fix


def test_a_page_of_another_origin_cannot_ask(client):
    for origin in ("http://example.org", "null", "http://testserver.example.org"):
        answer = client.post("/v1/models/text/predict", json=ASK, headers={"origin": origin})
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "other_origin"
    own = client.post("/v1/models/text/predict", json=ASK, headers={"origin": "http://testserver"})
    assert own.status_code == 200 and not any(name.startswith("access-control") for name in own.headers)


def test_every_answer_has_headers_that_keep_browsers_safe(client):
    for answer in (client.get("/health"), client.get("/nothing"), client.post("/v1/models/text/predict", content=b"{")):
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"] and "server" not in answer.headers


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_the_log_is_json_without_what_was_asked(guarded, capsys):
    capsys.readouterr()
    guarded.post("/v1/models/text/predict?secret=1", json=ASK, headers={"authorization": f"Bearer {TOKEN}"})
    (line,) = lines(said := capsys.readouterr().err)
    assert line["path"] == "/v1/models/text/predict" and line["status"] == 200 and line["model"] == "text" and line["ms"] > 0
    assert "lovely" not in said and "secret" not in said and TOKEN not in said


def test_the_log_holds_what_was_asked_where_it_shall(text_parent, runtime, capsys):
    with TestClient(create_app([text_parent], runtime=runtime, log_inputs=True)) as client:
        client.post("/v1/models/text/predict", json=ASK)
    assert "lovely" in lines(capsys.readouterr().err)[0]["body"]


def test_a_mistake_of_penjing_is_told_to_the_log_and_not_to_the_client(text_parent, runtime, capsys, monkeypatch):
    served = create_app([text_parent], runtime=runtime, log="errors")
    with TestClient(served) as client:
        monkeypatch.setattr(served.state.models["text"].hosted, "encode", lambda *_: 1 / 0)
        answer = client.post("/v1/models/text/predict", json=ASK)
        client.get("/health")
    assert answer.status_code == 500 and answer.json()["error"]["code"] == "mistake" and "division" not in answer.text
    (line,) = lines(capsys.readouterr().err)
    assert "ZeroDivisionError" in line["trace"] and line["level"] == "error"


def test_a_request_that_takes_too_long_is_given_up(text_parent, runtime, monkeypatch):
    served = create_app([text_parent], runtime=runtime, log="none", deadline=0.05)
    batcher = served.state.models["text"].batcher
    slow, answer = threading.Event(), batcher._answer
    monkeypatch.setattr(batcher, "_answer", lambda *asked: (slow.wait(20), answer(*asked))[1])
    with TestClient(served) as client:
        said = client.post("/v1/models/text/predict", json=ASK)
        slow.set()
    assert said.status_code == 503 and said.json()["error"]["code"] == "deadline" and said.headers["retry-after"]


def test_what_prometheus_asks_for_counts_requests_batches_and_tokens(client):
    def read():
        rows = (line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    client.post("/v1/models/text/predict", json=ASK)
    before = read()
    client.post("/v1/models/text/predict", json={"inputs": ["a lovely film", "dull"]})
    client.post("/v1/models/text/predict", content=b"{")
    after = read()

    def more(name):
        return after[name] - before.get(name, 0)

    assert more('penjing_requests_total{model="text",route="native.predict",status="200"}') == 1
    assert more('penjing_requests_total{model="text",route="native.predict",status="400"}') == 1
    assert more('penjing_batch_rows_sum{model="text"}') == 2 and more('penjing_batch_rows_count{model="text"}') == 1
    assert more('penjing_request_seconds_count{model="text",route="native.predict"}') == 2
    assert more('penjing_tokens_total{model="text"}') > 4 and after['penjing_queue_rows{model="text"}'] == 0
    assert after["penjing_memory_bytes"] > 50e6


def test_the_page_may_run_its_own_scripts_and_no_others(text_parent, runtime, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    page.write_text('<!doctype html><script type="module">let a = 1</script>')
    monkeypatch.setattr(app, "PAGE", page)
    with TestClient(create_app([text_parent], runtime=runtime, log="none")) as client:
        policy = client.get("/").headers["content-security-policy"]
    digest = base64.b64encode(hashlib.sha256(b"let a = 1").digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy and "default-src 'none'" in policy
