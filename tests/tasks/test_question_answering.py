"""Answers are parts of the user's own text, found in windows of any length and counted as SQuAD and CMRC 2018 count."""

import json
import random
import unicodedata
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
import torch

from penjing.core.collate import ROW
from penjing.core.contracts import Prediction
from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError, OptionError
from penjing.core.examples import read
from penjing.core.find import find
from penjing.core.new_text import NewText
from penjing.core.runtime import Runtime
from penjing.engine import create
from penjing.tasks._answers import NONE, exact, f1, span
from tests.contract.test_tasks import batch_of

TASK = find("tasks", "question-answering").TASK()
WORDS = ["Al", "-", "Zaman", "👨‍👩‍👧", "e\u0301t", "浙", "商", "🇩🇪", "x" * 12, "don't", "《", "”"]


def said(text):
    return {**NONE, "text": text}


@pytest.mark.parametrize(
    ("answer", "right", "exactly", "shared"),
    [
        ("the Denver Broncos!", ["Denver  broncos"], 1, 1),  # articles, case, punctuation and spaces, as the script of SQuAD has it
        ("Broncos", ["Denver Broncos"], 0, 2 / 3),
        ("a b b c", ["b b b", "z"], 0, 4 / 6),  # of three words, without the article, two are shared with three
        ("", [""], 1, 1),
        ("word", [""], 0, 0),
        ("光荣和ω-force", ["光荣和ω-force"], 1, 1),
        ("踢爆。", ["踢爆"], 1, 1),  # full-width marks do not count
        ("玩家以水枪、小枪", ["水枪"], 0, 2 * 2 / (7 + 2)),  # of seven characters two in a row are those of the reference
        ("枪水", ["水枪"], 0, 2 * 1 / 4),  # their order counts
        ("1987年", ["1987年", "87年"], 1, 1),
        ("4", ["4分钟"], 0, 2 * 1 / (1 + 3)),  # digits are one word
    ],
)
def test_answers_are_counted_as_the_scripts_of_the_field_count(answer, right, exactly, shared):
    references = [said(text) for text in right if text]
    assert exact(said(answer), references) == exactly and f1(said(answer), references) == pytest.approx(shared)


def test_the_metrics_are_means_over_the_rows_and_so_are_resamples():
    rows = [{"answers": {"text": ["a cat"], "answer_start": [0]}}, {"answers": {"text": [], "answer_start": []}}]
    found = TASK.score([Prediction(said("black cat")), Prediction(said("dog"))], rows)
    assert found == {"f1": pytest.approx((2 / 3 + 0) / 2), "exact_match": 0.0}


@pytest.mark.parametrize("tokenizer", ["wordpiece", "bpe", "unigram"])
def test_every_answer_comes_back_from_its_tokens_whatever_cuts_the_text(tokenizer):
    draw = random.Random(0)
    rows = [question(draw, num_words) for num_words in [*range(1, 30), 200, 400]]
    processor = create.create("bert-tiny", TASK, rows, Runtime(), new_text=NewText(tokenizer)).processor
    for row in rows:
        batch = batch_of(TASK, [row], processor)
        (reply,) = TASK.of({"no_answer_threshold": 1.0}).decode(sure_of(batch), batch, processor)
        right = row["answers"]["text"][0]
        assert row["context"][reply.value["start"] : reply.value["end"]] == reply.value["text"]
        assert right in reply.value["text"], "a piece may hold more than the answer, never less"
        assert reply.value["text"] == span(row["context"], reply.value["start"], reply.value["end"])["text"]


def test_windows_read_the_whole_context_and_the_answer_of_the_surest_counts():
    draw = random.Random(1)
    rows = [question(draw, 300) for _ in range(3)]
    processor = create.create("bert-tiny", TASK, rows, Runtime()).processor
    batch = batch_of(TASK, rows, processor)
    assert batch.rows.tolist() == sorted(batch.rows.tolist()) and len(batch.rows) == 6
    for row in range(3):
        read_places = {place for window, r in zip(batch.origin, batch.rows.tolist()) if r == row for place in window.places if place}
        covered = {i for start, end in read_places for i in range(start, end)}
        assert {i for i, letter in enumerate(rows[row]["context"]) if not letter.isspace()} <= covered
    many = TASK.of({"no_answer_threshold": 1.0}).decode(sure_of(batch), batch, processor)
    assert all(row["answers"]["text"][0] in reply.value["text"] for row, reply in zip(rows, many))


def test_an_answer_never_splits_a_sign_and_never_ends_in_white_space():
    draw = random.Random(2)
    for _ in range(200):
        text = "".join(draw.choices([*WORDS, " ", "\n"], k=12))
        start, end = sorted(draw.sample(range(len(text) + 1), 2))
        found = span(text, start, end)["text"]
        assert found == found.strip() and (not found or unicodedata.combining(found[0]) == 0)
        assert found.count("\u200d") % 2 == 0 and not found.startswith("\u200d"), "a family of three has two joiners"


def test_none_is_answered_where_its_chance_is_above_the_threshold():
    rows = [question(random.Random(3), 8)]
    processor = create.create("bert-tiny", TASK, rows, Runtime()).processor
    batch = batch_of(TASK, rows, processor)
    outputs = sure_of(batch, sure=2.0)
    outputs.start_logits[0, 0] = outputs.end_logits[0, 0] = 1.0  # exp(2) against exp(4): the chance of none is 1 / (1 + e^2) = 0.119
    for threshold, none in ((0.1, True), (0.118, True), (0.12, False), (1.0, False)):
        (reply,) = TASK.of({"no_answer_threshold": threshold}).decode(outputs, batch, processor)
        assert (reply.value == NONE) is none
    assert {way.threshold for way in TASK.ways()} >= {0.0, 0.5, 1.0}


def test_the_loss_is_the_cross_entropy_of_start_and_end_among_the_tokens_of_the_context_and_none():
    rows = [question(random.Random(4), 8)]
    loaded = create.create("bert-tiny", TASK, rows, Runtime())
    batch = batch_of(TASK, rows, loaded.processor)
    outputs = loaded.model(**batch.inputs)
    kept = [i for i, place in enumerate(batch.origin[0].places) if place or i == 0]
    by_hand = sum(
        torch.nn.functional.cross_entropy(logits[:, kept], torch.tensor([kept.index(int(batch.targets[name][0]))]))
        for name, logits in (("start", outputs.start_logits), ("end", outputs.end_logits))
    )
    found = TASK.loss(outputs, batch)
    torch.testing.assert_close(found.total[0], by_hand)
    assert found.count.tolist() == [2]


def test_the_answer_is_the_likeliest_of_all_pairs_of_start_and_end():
    draw = torch.Generator().manual_seed(0)
    rows = [question(random.Random(6), 12)]
    processor = create.create("bert-tiny", TASK, rows, Runtime()).processor
    batch = batch_of(TASK, rows, processor)
    there = [i for i, place in enumerate(batch.origin[0].places) if place]
    for _ in range(50):
        start, end = (3 * torch.randn(batch.inputs["input_ids"].shape, generator=draw) for _ in range(2))
        (reply,) = TASK.of({"no_answer_threshold": 1.0}).decode(SimpleNamespace(start_logits=start, end_logits=end), batch, processor)
        first, last = max(((i, j) for i in there for j in there if i <= j), key=lambda pair: start[0, pair[0]] + end[0, pair[1]])
        places = batch.origin[0].places
        assert reply.value == span(rows[0]["context"], places[first][0], places[last][1])


def test_what_explains_an_answer_are_the_logits_of_its_first_and_last_token_in_the_window_that_tells_it():
    draw = random.Random(7)
    row = question(draw, 300)
    processor = create.create("bert-tiny", TASK, [row], Runtime()).processor
    batch = batch_of(TASK, [row], processor)
    task, outputs = TASK.of({"no_answer_threshold": 1.0}), sure_of(batch)
    chosen = task.choice(outputs, batch)
    assert len(batch.origin) == 2 and (chosen >= 0).sum() == 2
    assert task.target(outputs, batch).tolist() == [40.0] and task.target(outputs, batch, part=1, choice=chosen).tolist() == [20.0]
    none = TASK.of({"no_answer_threshold": 0.0})
    told = none.choice(outputs, batch).view(-1, 2)
    assert told[told >= 0].tolist() == [0, 0]  # the first token of a window stands for none


def test_an_answer_becomes_a_target_where_it_stands_for_the_truth():
    for answers in ({"text": ["a cat"], "answer_start": [4]}, {"text": [], "answer_start": []}):
        assert TASK.as_target(TASK.truth({"answers": answers})) == answers


def test_a_question_longer_than_the_window_leaves_half_of_it_to_the_context():
    rows = [{"question": "why " * 300, "context": "because it is so " * 5, "answers": {"text": ["because it"], "answer_start": [0]}}]
    processor = create.create("bert-tiny", TASK, rows, Runtime()).processor
    batch = batch_of(TASK, rows, processor)
    assert batch.inputs["input_ids"].shape[1] <= processor.model_max_length and any(batch.origin[0].places)
    assert TASK.decode(sure_of(batch), batch, processor)[0].value["text"] == "because it"


def test_answers_may_be_given_in_the_forms_of_the_field(tmp_path):
    context = "Ann met Bob, and Bob met Cy."
    right = {"text": ["Bob", "Cy"], "answer_start": [8, 25]}
    plain = tmp_path / "plain.csv"
    plain.write_text(f'question,context,answer\nwho,"{context}",Ann\nwhat,"{context}",\n', "utf-8")
    assert [row["answers"]["text"] for row in TASK.adapt(read(plain))[0]] == [["Ann"], []]
    lists = tmp_path / "lists.jsonl"
    lists.write_text("\n".join(json.dumps({"question": "q", "context": context, "answers": a}) for a in ([], ["Cy"])), "utf-8")
    assert [row["answers"]["answer_start"] for row in TASK.adapt(read(lists))[0]] == [[], [25]]
    hub = tmp_path / "hub.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"question": ["q"], "context": [context], "answers": [right]}), hub)
    examples, wrong = TASK.adapt(read(hub))
    assert examples[0]["answers"] == right and not wrong and TASK.truth(examples[0]) == {"text": "Bob", "start": 8, "end": 11}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"answer": "Dora"}, "line 2: the answer 'Dora' does not occur in its context"),
        ({"answer": "Bob"}, "line 2: the answer 'Bob' occurs 2 times in its context, and no answer_start tells which"),
        ({"answers": {"text": ["Bob"], "answer_start": [7]}}, "the answer 'Bob' does not begin at 7 of its context, where ' Bo' stands"),
        ({"answers": {"text": ["Bob"], "answer_start": [-1]}}, "the answer 'Bob' does not begin at -1 of its context"),
        ({"answers": {"text": ["Ann", "Bob"], "answer_start": [0]}}, "2 answers and 1 places where they begin"),
        ({"answers": [3]}, "an answer is '3', not text"),
    ],
)
def test_a_span_that_is_not_in_its_context_is_named_with_its_row(given, problem, tmp_path):
    context = "Ann met Bob, and Bob met Cy."
    alike = [] if isinstance(given.get("answers"), list) else {"text": ["Ann"], "answer_start": [0]}
    first = {"answer": "Ann"} if "answer" in given else {"answers": alike}
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"question": "who", "context": context, **each}) for each in (first, given)), "utf-8")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2") as caught:
        Data.open(path, DataOptions(), TASK)
    assert problem in caught.value.problem and "answer_start" in caught.value.wanted and "--skip-bad-rows" in caught.value.fix


def test_a_row_is_typed_as_json_and_anything_else_is_told_how():
    assert TASK.row_of('{"question": "who?", "context": "Ann."}') == {"question": "who?", "context": "Ann."}
    for text in ("who?", '{"question": "who?"}', '["who?"]', '{"question": "who?", "context": " "}'):
        with pytest.raises(OptionError, match="this model reads question and context") as caught:
            TASK.row_of(text)
        assert caught.value.wanted == '{"question": "...", "context": "..."}'


def test_augmentations_leave_alone_what_answers_are_places_in():
    from penjing.core.training import Training
    from penjing.engine.augment import augmented

    (view,) = augmented(TASK, Training(augment=["typos"], augment_strength=1.0), 0)
    assert [*view.columns] == ["question"]


def test_the_baseline_finds_the_sentence_that_shares_rare_words_and_learns_when_to_say_none():
    context = "It rains in the north. The capital is Oslo. People like to ski there."
    rows = [
        {"question": "What is the capital?", "context": context, "answers": {"text": ["The capital is Oslo."], "answer_start": [23]}},
        {"question": "Who wins elections?", "context": context, "answers": {"text": [], "answer_start": []}},
    ] * 5
    fitted = TASK.baseline(len(rows)).fit(rows, [TASK.truth(row) for row in rows])
    assert [answer["text"] for answer in fitted.predict(rows[:2])] == ["The capital is Oslo.", ""]


def question(draw, num_words):
    """A row whose answer is one or two of its words."""
    words = draw.choices(WORDS, k=num_words)
    first = draw.randrange(num_words)
    answer = " ".join(words[first : first + draw.choice([1, 2])])
    start = len(" ".join([*words[:first], ""])) if first else 0
    return {"question": "什么 is it?", "context": " ".join(words), "answers": {"text": [answer], "answer_start": [start]}}


def sure_of(batch, sure=20.0):
    """Outputs that are sure of the targets in windows that hold the answer, and say less in the others."""
    size = batch.inputs["input_ids"].shape
    found = {name: torch.zeros(size) for name in ("start", "end")}
    for name, logits in found.items():
        for i, (window, token) in enumerate(zip(batch.origin, batch.targets[name].tolist())):
            logits[i, token] = sure if token != window.none else sure / 2
    return SimpleNamespace(start_logits=found["start"], end_logits=found["end"])


def test_rows_of_a_batch_are_told_apart_also_where_it_holds_one_twice():
    row = question(random.Random(5), 200)
    processor = create.create("bert-tiny", TASK, [row], Runtime()).processor
    entries = [{**entry, ROW: 0} for entry in TASK.encode(row, processor)]
    batch = TASK.collate(entries * 2, processor)
    assert len(TASK.decode(sure_of(batch), batch, processor)) == 2
