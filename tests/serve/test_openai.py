"""OpenAI's routes: by the official client against a server of its own process, and by bodies that it would not send."""

import asyncio
import json
import random
import time

import openai
import pytest
import torch
from starlette.testclient import TestClient

import penjing
from penjing.core.find import find
from penjing.core.generation import Generation
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import create, load
from penjing.serve.app import create_app
from penjing.serve.errors import Refused

PROMPT = "The old dog"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
SIZES = {"gpt": ("gpt-tiny", "text-generation"), "plain": ("llama-tiny", "text-generation"), "upper": ("gru-mini", "translation")}
SIZES["vectors"] = ("bert-tiny", "feature-extraction")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Name -> directory, drawn and not trained: two that write, with and without a chat template, the first in int8 too; one that
    translates and one that embeds.
    """
    draw, folder = random.Random(0), tmp_path_factory.mktemp("served")
    lines = [f"The {draw.choice(['old', 'small'])} {draw.choice(['dog', 'cat'])} sings in garden {draw.randrange(100)}." for _ in range(99)]
    rows = [{"text": line, "translation": [line.upper()], "sentence1": line, "sentence2": line[4:]} for line in lines]
    for name, (size, task) in SIZES.items():
        torch.manual_seed(0)
        kind = find("tasks", task).TASK
        loaded = create.create(size, kind(), [{column: row[column] for column in kind.columns} for row in rows], Runtime())
        with torch.no_grad():  # so wide that it writes this and that
            for weight in loaded.model.parameters():
                weight.mul_(4 if weight.ndim == 2 else 1)
        if kind().generates:
            loaded.model.generation_config.update(do_sample=False, temperature=None, top_p=None, eos_token_id=None, max_new_tokens=8)
        if name == "plain":
            loaded.processor.chat_template = None
        load.save(loaded, folder / name)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    penjing.quantize(folder / "gpt", folder / "rows.jsonl", out=folder / "small", runtime=Runtime(quiet=True))
    return {name: folder / name for name in (*SIZES, "small")}


@pytest.fixture(scope="module")
def here(models, runtime):
    """A client of a server in this process."""
    app = create_app([*models.values()], runtime=runtime, log="none", most_rows=4, batch_rows=4, queue=4)
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="module")
def theirs(models, start):
    """OpenAI's client of a server in a process of its own."""
    with openai.OpenAI(base_url=f"{start(*models.values(), '--log', 'none').address}/v1", api_key="none", max_retries=0) as client:
        yield client


def offline(model, runtime, text, **words):
    """What `penjing predict` writes."""
    return penjing.predict(model, text, runtime=runtime, **words)[0]["value"]


@pytest.mark.parametrize("name", ["gpt", "small"])
def test_openai_s_client_completes_a_text_as_predict_does(theirs, models, runtime, name):
    found = theirs.completions.create(model=name, prompt=PROMPT, max_tokens=12, temperature=0)
    assert found.choices[0].text == offline(models[name], runtime, PROMPT, max_new_tokens=12)
    assert found.choices[0].finish_reason == "length" and found.object == "text_completion" and found.model == name
    assert found.usage.completion_tokens == 12 and found.usage.total_tokens == 12 + found.usage.prompt_tokens


@pytest.mark.parametrize("name", ["gpt", "small"])
def test_it_streams_the_same_text_in_pieces_and_counts_tokens_where_asked(theirs, models, runtime, name):
    asked = {"model": name, "prompt": [PROMPT, "The small cat"], "max_tokens": 12, "temperature": 0}
    parts = [*theirs.completions.create(**asked, stream=True, stream_options={"include_usage": True})]
    texts, ends = ["", ""], {}
    for part in parts[:-1]:
        texts[part.choices[0].index] += part.choices[0].text
        ends[part.choices[0].index] = part.choices[0].finish_reason
    assert texts == [choice.text for choice in theirs.completions.create(**asked).choices]
    assert texts[0] == offline(models[name], runtime, PROMPT, max_new_tokens=12) and ends == {0: "length", 1: "length"}
    assert parts[-1].choices == [] and parts[-1].usage.completion_tokens == 24 and len(parts) > 8


@pytest.mark.parametrize("name", ["gpt", "plain"])
def test_it_chats_by_the_template_of_the_tokenizer_or_line_by_line(theirs, models, runtime, name):
    tokenizer = load.load_processor(ModelDir.open(models[name], runtime), find("tasks", "text-generation").TASK())
    lines = f"system: Be brief.\nuser: {PROMPT}\nassistant:"
    prompt = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) if name == "gpt" else lines
    asked = {"model": name, "messages": CHAT, "max_completion_tokens": 12, "temperature": 0}
    found = theirs.chat.completions.create(**asked)
    assert found.choices[0].message.content == offline(models[name], runtime, prompt, max_new_tokens=12)
    assert found.choices[0].message.role == "assistant" and found.choices[0].finish_reason == "length"
    parts = [*theirs.chat.completions.create(**asked, stream=True)]
    assert "".join(part.choices[0].delta.content or "" for part in parts) == found.choices[0].message.content
    assert parts[0].choices[0].delta.role == "assistant" and parts[-1].choices[0].finish_reason == "length"
    assert len({part.id for part in parts}) == 1


def test_what_is_drawn_follows_from_the_seed(theirs):
    asked = {"model": "gpt", "prompt": PROMPT, "max_tokens": 12, "temperature": 1.5, "top_p": 0.95, "extra_body": {"top_k": 200}}
    first, again, other = (theirs.completions.create(**asked, seed=seed).choices[0].text for seed in (7, 7, -8))
    assert first == again != other


def test_an_answer_ends_before_a_stop_text(theirs, models, runtime):
    whole = offline(models["gpt"], runtime, PROMPT, max_new_tokens=20)
    stop = whole[len(whole) // 2 : len(whole) // 2 + 2]
    found = theirs.completions.create(model="gpt", prompt=PROMPT, max_tokens=20, temperature=0, stop=[stop, "never"])
    assert found.choices[0].text == whole.split(stop)[0] and found.choices[0].finish_reason == "stop"


def test_a_translation_is_a_completion_too(theirs, models, runtime):
    found = theirs.completions.create(model="upper", prompt=PROMPT, max_tokens=9)
    assert found.choices[0].text.strip() == offline(models["upper"], runtime, PROMPT, max_new_tokens=9)


def test_it_embeds_and_its_client_reads_both_codings(theirs, models, runtime):
    wanted = offline(models["vectors"], runtime, PROMPT)
    found = theirs.embeddings.create(model="vectors", input=[PROMPT, "The cat"])  # asks for base64
    plain = theirs.embeddings.create(model="vectors", input=PROMPT, encoding_format="float")
    assert found.data[0].embedding == pytest.approx(wanted, abs=1e-5) and plain.data[0].embedding == pytest.approx(wanted, abs=1e-5)
    assert [each.index for each in found.data] == [0, 1] and found.usage.total_tokens > plain.usage.total_tokens > 0


def test_it_lists_models(theirs, models):
    assert {model.id for model in theirs.models.list()} == {*models}
    assert theirs.models.retrieve("gpt").owned_by == "penjing"


def test_its_errors_are_those_of_the_client(theirs):
    with pytest.raises(openai.NotFoundError, match="no model 'gtp'"):
        theirs.completions.create(model="gtp", prompt="x")
    with pytest.raises(openai.BadRequestError, match="n is 2") as raised:
        theirs.completions.create(model="gpt", prompt="x", n=2)
    assert raised.value.type == "invalid_request_error" and raised.value.code == "bad_input"
    with pytest.raises(openai.BadRequestError, match="gives no vectors"):
        theirs.embeddings.create(model="gpt", input="x")


def test_who_leaves_a_stream_is_written_for_no_longer(theirs):
    with theirs.completions.create(model="gpt", prompt=PROMPT, max_tokens=400, stream=True) as parts:
        next(iter(parts))
    assert theirs.completions.create(model="gpt", prompt=PROMPT, max_tokens=1).usage.completion_tokens == 1


def test_the_row_of_a_client_that_left_is_free(here):
    served = here.app.state.models["gpt"]

    async def left():
        async with served.writing(await served.encoded([{"prompt": PROMPT}]), Generation(max_new_tokens=400)) as (streams, pieces):
            await anext(pieces)
        async with asyncio.timeout(5):
            while served.writer.writing:
                await asyncio.sleep(0.01)
        return streams

    (stream,) = here.portal.call(left)
    assert stream.finish == "cancelled" and stream.written < 60


@pytest.mark.parametrize(
    "path, body, said",
    [
        ("completions", {"prompt": "x"}, "model is null"),
        ("completions", {"model": "gpt"}, "there is no prompt"),
        ("completions", {"model": "gpt", "prompt": [1, 2]}, "prompt is [1, 2]"),
        ("completions", {"model": "gpt", "prompt": "x", "temprature": 1}, "'temprature' is not supported"),
        ("completions", {"model": "gpt", "prompt": "x", "temperature": 3}, "temperature is 3"),
        ("completions", {"model": "gpt", "prompt": "x", "top_p": 0}, "top_p is 0"),
        ("completions", {"model": "gpt", "prompt": "x", "max_tokens": 1.5}, "max_tokens is 1.5"),
        ("completions", {"model": "gpt", "prompt": "x", "stream": "yes"}, 'stream is "yes"'),
        ("completions", {"model": "gpt", "prompt": "x", "stream_options": {}}, "stream_options is {}"),
        ("completions", {"model": "gpt", "prompt": "x", "stream": True, "stream_options": {"a": 1}}, "stream_options.'a' is not supported"),
        ("completions", {"model": "gpt", "prompt": "x", "stop": [""]}, 'stop is [""]'),
        ("completions", {"model": "gpt", "prompt": "x", "presence_penalty": 1}, "presence_penalty is 1"),
        ("completions", {"model": "gpt", "prompt": "x", "logprobs": 3}, "logprobs is 3"),
        ("completions", {"model": "gpt", "prompt": "x", "echo": True}, "echo is true"),
        ("completions", {"model": "vectors", "prompt": "x"}, "does not write token by token"),
        ("chat/completions", {"model": "upper", "messages": CHAT}, "does not chat"),
        ("chat/completions", {"model": "gpt", "messages": CHAT, "tools": [{}]}, "tools is [{}]"),
        ("chat/completions", {"model": "gpt", "messages": CHAT, "response_format": {"type": "json_object"}}, "response_format is"),
        ("embeddings", {"model": "vectors", "input": "x", "encoding_format": "hex"}, 'encoding_format is "hex"'),
        ("embeddings", {"model": "vectors", "input": "x", "dimensions": 3}, "'dimensions' is not supported"),
        ("embeddings", {"model": "vectors", "input": ["x"] * 5}, "input is"),
    ],
)
def test_what_it_does_not_do_it_refuses_with_400_and_says_so(here, path, body, said):
    found = here.post(f"/v1/{path}", json=body)
    assert found.status_code == 400 and said in found.json()["error"]["message"] and found.json()["error"]["wanted"]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "\ud800", "content": "x"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": CHAT, "stop": ["\ud800", ""]},
        {"messages": CHAT, "\ud800": 1},
        {"messages": CHAT, "seed": 2**70},
        {"messages": CHAT, "temperature": float("nan")},
        {"messages": "x"},
        {"messages": [None]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    ],
)
def test_strange_chats_are_errors_of_the_client(here, body):
    found = here.post("/v1/chat/completions", content=json.dumps({"model": "gpt", **body}))
    assert 400 <= found.status_code < 500 and found.json()["error"]["message"]


def test_its_schema_names_the_models_that_can(here):
    paths = here.get("/openapi.json").json()["paths"]
    can = {path: paths[f"/v1/{path}"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]["model"]["enum"]
           for path in ("chat/completions", "completions", "embeddings")}  # fmt: skip
    writing = ["gpt", "plain", "upper", "small"]
    assert can == {"chat/completions": ["gpt", "plain", "small"], "completions": writing, "embeddings": ["vectors"]}


def test_a_template_that_refuses_a_chat_says_why(here):
    tokenizer = here.app.state.models["gpt"].hosted.processor
    before = tokenizer.chat_template
    tokenizer.chat_template = "{{ raise_exception('the first role must be user') }}"
    found = here.post("/v1/chat/completions", json={"model": "gpt", "messages": CHAT})
    native = here.post("/v1/models/gpt/predict", json={"inputs": [{"messages": CHAT}]})
    tokenizer.chat_template = before
    assert (found.status_code, native.status_code) == (400, 422)
    assert all("the first role must be user" in answer.json()["error"]["message"] for answer in (found, native))


def test_what_clients_always_send_is_no_error(here):
    usual = {"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": None, "user": "me", "stream": False, "logprobs": False}
    parts = [{"role": "user", "content": [{"type": "text", "text": "The old "}, {"type": "text", "text": "dog"}], "name": "me"}]
    found = here.post("/v1/chat/completions", json={"model": "gpt", "messages": parts, "temperature": 0, **usual})
    plain = here.post("/v1/chat/completions", json={"model": "gpt", "messages": [{"role": "user", "content": PROMPT}], "temperature": 0})
    assert found.status_code == 200 and found.json()["choices"] == plain.json()["choices"]


def test_a_full_queue_refuses_a_stream_before_it_begins(here):
    async def full():
        served, often = here.app.state.models["gpt"], Generation(max_new_tokens=60)
        rows = await served.encoded([{"prompt": PROMPT}] * 4)
        async with served.writing(rows, often):
            while served.writer.writing < 4:
                await asyncio.sleep(0.01)
            async with served.writing(rows, often):
                with pytest.raises(Refused, match="too many rows wait"):
                    await anext(served.writing(rows, often).gen)

    slow = here.app.state.models["gpt"].hosted.backend.model.register_forward_hook(lambda *_: time.sleep(0.02))
    here.portal.call(full)
    slow.remove()
    assert here.post("/v1/completions", json={"model": "gpt", "prompt": PROMPT}).status_code == 200


def test_an_answer_past_its_deadline_is_given_up(models, runtime):
    app = create_app([models["gpt"]], runtime=runtime, log="none", deadline=0.05)
    slow = app.state.models["gpt"].hosted.backend.model.register_forward_hook(lambda *_: time.sleep(0.02))
    with TestClient(app) as client:
        asked = {"model": "gpt", "prompt": PROMPT, "max_tokens": 60}
        found = client.post("/v1/completions", json=asked)
        assert found.status_code == 503 and found.json()["error"]["code"] == "deadline"
        events = client.post("/v1/completions", json={**asked, "stream": True}).text.strip().split("\n\n")
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "deadline" and "[DONE]" not in events[-1]
        slow.remove()


def test_predictions_of_a_model_that_writes_come_from_the_same_batches(here, models, runtime):
    found = here.post("/v1/models/upper/predict", json={"inputs": [PROMPT, "The cat"]}).json()["predictions"]
    assert [each["value"] for each in found] == [offline(models["upper"], runtime, text) for text in (PROMPT, "The cat")]
    assert here.app.state.models["upper"].batcher.waiting == 0
