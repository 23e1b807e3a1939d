"""The answers that are served are those that `penjing predict` gives."""

import base64
import json
import threading

import pytest
from starlette.testclient import TestClient

import penjing
from penjing.core.find import find
from penjing.core.media import Media
from penjing.core.runtime import Runtime
from penjing.engine import create, load
from penjing.serve.app import create_app
from penjing.tasks.topic_modeling import TOPICS
from tests.contract.test_tasks import KINDS_OF_ANSWER, name_of, rows, smallest


def made(name, head, out):
    """An untrained model of a task, saved, and rows of its columns without the answers."""
    kind = find("tasks", name).TASK
    examples = rows(kind(head=head))
    task = kind(kind(head=head).learn_labels(examples), head)
    loaded = create.create(smallest(kind), task, examples, Runtime())
    if task.generates:  # drawn tokens depend on the rows beside
        loaded.model.generation_config.update(do_sample=False, temperature=None, top_p=None, max_new_tokens=8)
    load.save(loaded, out)
    if name == "fill-mask":
        examples = [{"text": f"{example['text']}[MASK]"} for example in examples]
    return task, [{column: example[column] for column in kind.input_columns()} for example in examples]


def on_disk(examples, folder):
    """The rows as INPUT of predict: files of images and sounds, else one file of rows."""
    found = []
    for i, example in enumerate(examples):
        (value, *_) = example.values()
        if isinstance(value, Media):
            path = folder / f"{i}{value.suffixes[0]}"
            path.write_bytes(value.bytes())
            found.append(str(path))
    if found:
        return found
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(example) + "\n" for example in examples))
    return [str(path)]


def as_json(example):
    return {name: base64.b64encode(v.bytes()).decode() if isinstance(v, Media) else v for name, v in example.items()}


def near(served, expected):
    """Equal, numbers to about 1e-5: rows are served in other batches."""
    if isinstance(expected, float):
        return served == pytest.approx(expected, abs=2e-5, rel=1e-4)
    if isinstance(expected, list):
        return len(served) == len(expected) and all(map(near, served, expected))
    if isinstance(expected, dict):
        return served.keys() == expected.keys() and all(near(served[name], expected[name]) for name in expected)
    return served == expected


@pytest.mark.parametrize(("name", "head"), KINDS_OF_ANSWER, ids=map(name_of, KINDS_OF_ANSWER))
def test_every_task_is_served_as_penjing_predict_answers(name, head, tmp_path, runtime):
    task, examples = made(name, head, tmp_path / "model")
    expected = penjing.predict(tmp_path / "model", on_disk(examples, tmp_path), runtime=runtime)
    with TestClient(create_app([tmp_path / "model"], runtime=runtime, log="none")) as client:
        ask = {"inputs": [*map(as_json, examples)], "probabilities": True}
        answer = client.post("/v1/models/model/predict", json=ask)
        assert answer.status_code == 200, answer.text
        facts = client.get("/v1/models/model").json()
    assert facts["task"] == name and facts["columns"].keys() == task.input_columns().keys() and facts["labels"] == task.labels
    for said, wanted in zip(answer.json()["predictions"], expected, strict=True):
        chances, wanted = said.pop("probabilities", None), {**wanted}
        del wanted["input"]
        assert (chances is not None) == bool(task.labels) and near(said, json.loads(json.dumps(wanted))), (said, wanted)


def test_chances_of_one_label_add_up_and_name_the_answer(client):
    said = client.post("/v1/models/text/predict", json={"inputs": ["a lovely film", "so dull"], "probabilities": True}).json()
    for each in said["predictions"]:
        assert sum(each["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        assert max(each["probabilities"], key=each["probabilities"].get) == each["value"]
        assert each["probabilities"][each["value"]] == pytest.approx(each["score"])


def test_topics_are_served_with_the_chance_of_each(text_parent, tmp_path, runtime):
    kind = find("tasks", "topic-modeling").TASK
    parent = load.load(penjing.ModelDir.open(text_parent), load.task_for(penjing.ModelDir.open(text_parent)), runtime)
    size = parent.model.config.hidden_size
    topics = {"words": [["bright"], ["dull"]], "centres": [[1.0] * size, [-1.0, 1.0] * (size // 2)], "chinese": "bigrams"}
    encoder = kind.auto_model.from_pretrained(text_parent)
    encoder.config.update({TOPICS: topics})
    load.save(load.Loaded(kind().with_topics(topics), encoder, parent.processor), tmp_path / "model")
    texts = ["a bright room", "dull"]
    with TestClient(create_app([tmp_path / "model"], runtime=runtime, log="none")) as client:
        said = client.post("/v1/models/model/predict", json={"inputs": texts, "probabilities": True}).json()["predictions"]
    for each, expected in zip(said, penjing.predict(tmp_path / "model", texts, runtime=runtime), strict=True):
        assert each["value"] == expected["value"] and each["score"] == pytest.approx(expected["score"], abs=1e-5)
        assert [*each["probabilities"]] == ["bright", "dull"]


def test_requests_that_come_together_each_get_their_own_answers(client, text_parent, runtime):
    texts = [f"a {word} room {i}" for i in range(10) for word in ("lovely", "dull", "bright and warm and splendid")]
    expected = [answer["value"] for answer in penjing.predict(text_parent, texts, runtime=runtime)]
    said = [None] * len(texts)

    def ask(i):
        said[i] = client.post("/v1/models/text/predict", json={"inputs": [texts[i]]}).json()["predictions"][0]["value"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == expected


def test_a_text_too_long_for_the_thread_of_requests_has_the_same_answer(client, text_parent, runtime):
    text = "a lovely room and " * 800
    said = client.post("/v1/models/text/predict", json={"inputs": [text]}).json()["predictions"][0]
    assert said["score"] == pytest.approx(penjing.predict(text_parent, text, runtime=runtime)[0]["score"], abs=1e-5)


def test_models_are_listed_and_told_without_a_path_of_the_disk(client, text_parent, image_parent):
    listed = client.get("/v1/models").json()
    assert [(each["id"], each["task"]) for each in listed["data"]] == [("text", "text-classification"), ("image", "image-classification")]
    assert listed["data"][0]["bytes"] == penjing.ModelDir.open(text_parent).bytes()
    one = client.get("/v1/models/text").json()
    assert one["labels"] == ["bad", "good"] and one["limits"]["rows"] == 8 and one["lineage"][0]["stage"] == "finetune"
    card = client.get("/v1/models/text/card").json()
    assert "Accuracy" in card["summary"] and card["report"]["stage"] == "finetune"
    for told in (listed, one, card):
        assert str(text_parent.parent) not in json.dumps(told) and "/tmp" not in json.dumps(told)
