"""What only an enemy, or a broken client, would send: an answer below 500 that is JSON, and the next request is answered."""

import base64
import io
import json
import struct
import zlib

import numpy
import pytest
import soundfile
from starlette.testclient import TestClient

from penjing.serve.app import create_app
from tests.serve.test_native import made

LONE = b"\\ud800"  # half of a pair, as JSON writes it
NUMBERS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"1" + b"0" * 400,
    b"-0.0",
    b"1e-320",
    b"true",
    b'"1"',
    b"[]",
    b"{}",
    b"null",
]
NATIVE, V2, CHAT, TEXT = "/v1/models/text/predict", "/v2/models/text/infer", "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def client(tmp_path_factory, text_parent, image_parent, runtime):
    """Of models that read texts, images and sounds, and of one that writes."""
    folder = tmp_path_factory.mktemp("hostile")
    made("text-generation", None, folder / "writer")
    made("audio-classification", "one-label", folder / "sound")
    models = [text_parent, image_parent, folder / "writer", folder / "sound"]
    with TestClient(
        create_app(models, runtime=runtime, log="none", most_pixels=10_000, most_seconds=2), base_url="http://localhost"
    ) as client:
        yield client
        assert client.post(NATIVE, json={"inputs": ["a lovely film"]}).json()["predictions"][0]["value"] == "good"


def refused_or_answered(answer):
    """JSON below 500; an error says what was wanted."""
    said = answer.json()
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert said["error"]["message"] and said["error"]["code"] and len(answer.content) < 2000
    return answer.status_code


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.decode()[:12])
@pytest.mark.parametrize("field", ["temperature", "top_p", "top_k", "max_tokens", "seed", "n", "frequency_penalty", "stop", "logit_bias"])
def test_numbers_that_are_none_in_every_field(client, field, number):
    body = b'{"model": "writer", "prompt": "a", "max_tokens": 2, "%b": %b}' % (field.encode(), number)
    refused_or_answered(client.post(TEXT, content=body))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (NATIVE, b'{"inputs": ["a"], "%b": 1}'),
        (NATIVE, b'{"inputs": [{"%b": "a"}]}'),
        (NATIVE, b'{"inputs": [{"text": "%b"}]}'),
        (NATIVE, b'{"inputs": ["a"], "probabilities": "%b"}'),
        ("/v1/models/text/explain", b'{"inputs": ["a"], "method": "%b"}'),
        ("/v1/models/text/explain", b'{"inputs": ["a"], "label": "%b"}'),
        (V2, b'{"id": "%b", "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}'),
        (V2, b'{"inputs": [{"name": "%b", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}'),
        (V2, b'{"inputs": [{"name": "text", "shape": [1], "datatype": "%b", "data": ["a"]}]}'),
        (V2, b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["%b"]}]}'),
        (V2, b'{"inputs": [{"name": "text", "shape": ["%b"], "datatype": "BYTES", "data": ["a"]}]}'),
        (V2, b'{"inputs": [{"name": ["%b"], "shape": [1], "datatype": {}, "data": ["a"]}]}'),
        (CHAT, b'{"model": "%b", "messages": [{"role": "user", "content": "a"}]}'),
        (CHAT, b'{"model": "writer", "messages": [{"role": "%b", "content": "a"}], "max_tokens": 2}'),
        (CHAT, b'{"model": "writer", "messages": [{"role": "user", "content": "%b"}], "max_tokens": 2}'),
        (CHAT, b'{"model": "writer", "messages": [{"role": "user", "content": "a", "name": "%b"}], "max_tokens": 2}'),
        (CHAT, b'{"model": "writer", "messages": [{"role": "user", "content": [{"type": "text", "text": "%b"}]}], "max_tokens": 2}'),
        (TEXT, b'{"model": "writer", "prompt": "%b", "max_tokens": 2}'),
        (TEXT, b'{"model": "writer", "prompt": "a", "stop": "%b", "max_tokens": 2}'),
        (TEXT, b'{"model": "writer", "prompt": "a", "user": "%b", "max_tokens": 2}'),
        (TEXT, b'{"model": "writer", "prompt": "a", "suffix": "%b", "max_tokens": 2}'),
        ("/v1/embeddings", b'{"model": "text", "input": "%b"}'),
        ("/predictions/text", b'{"data": "%b"}'),
        ("/predictions/text", b"%b"),
    ],
)
def test_half_of_a_pair_in_every_field(client, path, body):
    refused_or_answered(client.post(path, content=body.replace(b"%b", LONE)))


@pytest.mark.parametrize(
    "text",
    [
        "\x00",
        "\x00" * 500,
        "\ufeff",
        "\u202e\u202d" * 200,
        "\U0010ffff" * 300,
        "e" + "\u0301" * 2000,
        "\u2066" * 300,
        "ﷺ" * 900,
        "\u0085\u2028",
        "\ufffe",
    ],
    ids=ascii,
)
def test_strange_letters_are_refused_or_answered_everywhere(client, text):
    for path, body in {
        NATIVE: {"inputs": [text]},
        "/v1/models/text/explain": {"inputs": [text], "method": "occlusion"},
        TEXT: {"model": "writer", "prompt": text, "max_tokens": 2, "stop": [text[:3]]},
        "/predictions/text": {"data": text},
    }.items():
        refused_or_answered(client.post(path, json=body))


@pytest.mark.parametrize("name", ["%00", "..", "%2e%2e%2f", "a%2Fb", "text%20", "%ff", "😀", "a" * 3000, "%5C", "{name}", "text;x"])
def test_names_that_no_model_has(client, name):
    for path in (f"/v1/models/{name}/predict", f"/v2/models/{name}/infer", f"/predictions/{name}"):
        assert refused_or_answered(client.post(path, json={"inputs": ["a"]})) in (404, 405)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "GET", "HEAD"])
def test_methods_that_no_path_has(client, method):
    answer = client.request(method, NATIVE)
    assert answer.status_code == 405 and (method == "HEAD" or answer.json()["error"]["code"] == "no_such_method")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "multipart/form-data; boundary="},
        {"content-type": "multipart/form-data; boundary=" + "a" * 5000},
        {"content-type": "multipart/form-data; boundary=a; charset=nonsense"},
        {"content-type": "multipart/form-data; boundary=\xff"},
        {"content-type": "\xff/\xfe;;;=;"},
        {"content-type": "application/json; charset=utf-7"},
        {"content-encoding": "gzip"},
        {"accept": "\xff"},
        {"origin": "http://[", "host": "localhost"},
        {"origin": "null"},
        {"cookie": "=;;=" * 500},
        {"authorization": "Bearer \xff"},
        {"range": "bytes=0-0,-1"},
        {"x-forwarded-for": "\xff" * 100, "x-forwarded-proto": "gopher"},
    ],
    ids=lambda headers: ascii(next(iter(headers.items())))[:50],
)
def test_headers_that_mean_nothing(client, headers):
    coded = {name: value.encode("latin-1") for name, value in headers.items()}
    refused_or_answered(client.post(NATIVE, content=b'--a\r\ncontent-disposition: form-data; name="file"\r\n\r\na\r\n--a--', headers=coded))


@pytest.mark.parametrize(
    "part",
    [
        b'content-disposition: form-data; name="file"; filename="a"\r\ncontent-type: \xff\r\n\r\na',
        b"content-disposition: form-data; name*=utf-8''%ff\r\n\r\na",
        b'content-disposition: form-data; name="\xff"\r\n\r\na',
        b"content-disposition: form-data; name=file; filename*=utf-16''%00\r\n\r\n" + bytes(range(256)),
        b"content-transfer-encoding: base64\r\ncontent-disposition: form-data; name=file\r\n\r\n!!",
        b"x: y\r\n\r\na",
        b"\r\n\r\na",
        b"x" * 20_000 + b": y\r\n\r\na",
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # starlette leaves a part without an end to the collector
def test_uploads_whose_parts_are_broken(client, part):
    for path in (NATIVE, "/v1/models/image/predict", "/predictions/image"):
        for end in (b"\r\n--a--\r\n", b"\r\n--a", b""):
            refused_or_answered(
                client.post(path, content=b"--a\r\n" + part + end, headers={"content-type": "multipart/form-data; boundary=a"})
            )


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, *more, rows=0):
    """A PNG that says it is so large, with so many rows in it."""
    heading = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + heading + b"".join(more) + chunk(b"IDAT", zlib.compress(bytes((width + 1) * rows), 9)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (png(60_000, 60_000), 413),
        (png(2**31 - 1, 1), 413),
        (png(0, 5), 422),
        (png(8, 8), 422),
        (png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9)), rows=8), 422),
        (png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8), 9)), rows=8), None),
        (png(100, 100, rows=100_000), None),
        (b"GIF89a\xff\xff\xff\xff\xf7\x00\x00" + bytes(768) + b",\0\0\0\0\xff\xff\xff\xff\x07\x08", 413),
        (b"P5\n9 9\n" + b"1" * 500, 422),
        (b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff", None),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01", None),
    ],
)
def test_images_that_are_bombs(client, content, status):
    answer = client.post("/v1/models/image/predict", json={"inputs": [base64.b64encode(content).decode()]})
    assert refused_or_answered(answer) == (status or answer.status_code)


def sound(seconds, rate=8000, **words):
    file = io.BytesIO()
    soundfile.write(file, numpy.zeros(int(seconds * rate), "float32"), rate, **words)
    return bytearray(file.getvalue())


def without_length(flac):
    """A FLAC that does not say how long it is: the last 36 bits of bytes 18 to 25 are 0."""
    flac[21], flac[22:26] = flac[21] & 0xF0, bytes(4)
    return flac


def said_short(wav):
    """A WAV whose heading says a hundredth of what there is."""
    place = wav.index(b"data") + 4
    wav[place : place + 4] = struct.pack("<I", 160)
    return wav


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (sound(1, format="FLAC"), 200),
        (sound(3, format="FLAC"), 413),
        (without_length(sound(600, format="FLAC")), (413, 422)),
        (said_short(sound(1, format="WAV")), 200),
        (sound(3, format="MP3"), 413),
        (sound(1, format="MP3")[:50], 422),
        (sound(1, format="OGG")[:-40], (200, 422)),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff", 422),
    ],
    ids=["flac", "long", "no-length", "lying", "mp3", "cut-mp3", "cut-ogg", "nothing"],
)
def test_sounds_that_are_longer_than_they_say(client, content, status):
    answer = client.post("/v1/models/sound/predict", json={"inputs": [base64.b64encode(content).decode()]})
    assert refused_or_answered(answer) in (status if isinstance(status, tuple) else (status,)), answer.text


@pytest.mark.parametrize("depth", [10, 1000, 100_000])
def test_lists_in_lists_and_objects_in_objects(client, depth):
    for open_, close in ((b"[", b"]"), (b'{"inputs":', b"}")):
        refused_or_answered(client.post(NATIVE, content=b'{"inputs": ' + open_ * depth + b"1" + close * depth + b"}"))


def test_a_name_that_occurs_twice_and_a_thousand_names(client):
    assert refused_or_answered(client.post(NATIVE, content=b'{"inputs": [], "inputs": ["a"]}')) == 200
    assert refused_or_answered(client.post(NATIVE, content=json.dumps({str(i): i for i in range(1000)}))) == 422
