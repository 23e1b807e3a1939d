"""What cannot be answered is refused with what was wanted, as JSON, never with 500."""

import base64
import io
import json

import PIL.Image
import pytest

TEXT, IMAGE = "/v1/models/text/predict", "/v1/models/image/predict"


def png(width, height):
    file = io.BytesIO()
    PIL.Image.new("L", (width, height)).save(file, "png")
    return file.getvalue()


def coded(content):
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (TEXT, b"", 400, "no JSON"),
        (TEXT, b"{", 400, "no JSON"),
        (TEXT, b"\xff\xfe", 400, "UTF-8"),
        (TEXT, b"[" * 50_000, 400, "lists in lists"),
        (TEXT, b'{"inputs": ' + b"9" * 5000 + b"}", 400, "too many digits"),
        (TEXT, b"[]", 422, "no object"),
        (TEXT, {}, 422, "inputs is null"),
        (TEXT, {"inputs": []}, 422, "empty"),
        (TEXT, {"inputs": "a"}, 422, "inputs is a text"),
        (TEXT, {"input": ["a"]}, 422, "no field 'input'"),
        (TEXT, {"inputs": ["a"] * 9}, 413, "9 rows"),
        (TEXT, {"inputs": ["a", 3]}, 422, "inputs[1] is a number"),
        (TEXT, {"inputs": [None]}, 422, "null"),
        (TEXT, {"inputs": [["a"]]}, 422, "a list"),
        (TEXT, {"inputs": [True]}, 422, "true or false"),
        (TEXT, {"inputs": [""]}, 422, "blank"),
        (TEXT, {"inputs": [" \n\u3000"]}, 422, "blank"),
        (TEXT, {"inputs": ["\ud800"]}, 422, "half of a pair"),
        (TEXT, {"inputs": ["a" * 20_001]}, 413, "20,001 characters"),
        (TEXT, {"inputs": [{}]}, 422, "has no text"),
        (TEXT, {"inputs": [{"text": 1}]}, 422, "inputs[0].text is a number"),
        (TEXT, {"inputs": [{"text": "a", "label": "good"}]}, 422, "'label'"),
        (TEXT, {"inputs": ["a"], "probabilities": "yes"}, 422, "probabilities"),
        (TEXT, {"inputs": ["a" * 19_999] * 6}, 413, "body is too long"),
        (IMAGE, {"inputs": ["http://127.0.0.1:1/a.png"]}, 422, "inputs[0]"),
        (IMAGE, {"inputs": ["/etc/passwd"]}, 422, "inputs[0]"),
        (IMAGE, {"inputs": ["file:///etc/passwd"]}, 422, "inputs[0]"),
        (IMAGE, {"inputs": [""]}, 422, "empty"),
        (IMAGE, {"inputs": [coded(b"no image")]}, 422, "damaged image"),
        (IMAGE, {"inputs": [coded(png(8, 8)[:-30])]}, 422, "damaged image"),
        (IMAGE, {"inputs": [coded(png(101, 100))]}, 413, "101 x 100"),
        (IMAGE, {"inputs": [coded(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")]}, 422, "damaged image"),
        (IMAGE, {"inputs": [{"image": 3}]}, 422, "inputs[0].image"),
        (IMAGE, {"inputs": [{"picture": coded(png(8, 8))}]}, 422, "'picture'"),
        ("/v1/models/txet/predict", {"inputs": ["a"]}, 404, "no model 'txet'"),
        ("/v1/nothing", {}, 404, "nothing at this path"),
    ],
)
def test_it_is_refused_with_what_was_wanted(client, path, body, status, said):
    answer = client.post(path, content=body if isinstance(body, bytes) else json.dumps(body))
    error = answer.json()["error"]
    assert answer.status_code == status and said in error["message"], answer.text
    assert error["wanted"] and error["type"] and error["code"] and answer.headers["content-type"] == "application/json"


def test_a_wrong_method_is_405(client):
    answer = client.get(TEXT)
    assert answer.status_code == 405 and answer.json()["error"]["code"] == "no_such_method" and answer.headers["allow"]


def test_a_body_without_a_length_is_cut_off_where_it_is_too_long(client):
    answer = client.post(TEXT, content=iter([b" " * 60_000] * 3))
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"


def test_images_come_in_base64_as_data_uri_and_as_upload(client):
    content = png(8, 8)
    ask = {"inputs": [coded(content), "data:image/png;base64," + coded(content), {"image": coded(content)}]}
    said = client.post(IMAGE, json=ask).json()["predictions"]
    files = [("file", ("a.png", content)), ("file", ("../../b.png", content))]
    sent = client.post(IMAGE, files=files, data={"probabilities": "true"}).json()["predictions"]
    assert len(said) == 3 and len(sent) == 2 and {each["value"] for each in [*said, *sent]} == {said[0]["value"]}
    assert sum(sent[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ({"content": b"x", "headers": {"content-type": "image/png"}}, 415, "image/png"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "upload"),
        ({"content": b"--a\r\nx", "headers": {"content-type": "multipart/form-data; boundary=a"}}, 422, "inputs is empty"),
        ({"files": [("image", b"x")]}, 422, "no part 'image'"),
        ({"files": [("file", b"")]}, 422, "damaged image"),
        ({"files": [("file", b"x")] * 9}, 400, "upload"),
    ],
)
def test_a_bad_upload_is_refused(client, how, status, said):
    answer = client.post(IMAGE, **how)
    assert answer.status_code == status and said in answer.json()["error"]["message"], answer.text


def test_strange_unicode_is_answered(client):
    texts = ["\u202e\u200b lovely", "e\u0301" * 500, "\U0001f469\u200d\U0001f52c dull", "\x00\x01 bright", "\u0bf5" * 100, "ﷺ" * 50]
    answer = client.post(TEXT, json={"inputs": texts})
    assert answer.status_code == 200 and len(answer.json()["predictions"]) == 6
