"""Tags of words: counted as seqeval counts, whatever the tokenizer cuts, with places in the user's own text."""

import gzip
import itertools
import json
import random

import numpy
import pytest
import torch
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from penjing.core.contracts import Prediction
from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError
from penjing.core.examples import read
from penjing.core.find import find
from penjing.core.new_text import NewText
from penjing.core.runtime import Runtime
from penjing.engine import create
from penjing.tasks import _spans, _transitions, _words
from penjing.tasks._rows_of_words import from_text
from tests.contract.test_tasks import batch_of

KIND = find("tasks", "token-classification").TASK
BIO = ["O", *(f"{mark}-{label}" for mark in "BI" for label in ("place", "person"))]
BIOES = ["O", *(f"{mark}-{label}" for mark in "BIES" for label in ("place", "person"))]
WORDS = ["Al", "-", "Zaman", "👨‍👩‍👧", "unbelievableness", "浙", "商", "\u200b", "x" * 40, "don't"]


def sentences(labels, number=200, seed=0):
    draw = random.Random(seed)
    return [draw.choices(labels, k=draw.randrange(1, 12)) for _ in range(number)]


def loaded(task, examples, tokenizer="wordpiece"):
    return create.create("bert-tiny", task, examples, Runtime(), new_text=NewText(tokenizer))


@pytest.mark.parametrize("labels", [BIO, BIOES])
def test_entities_of_any_sequence_of_tags_are_those_of_seqeval(labels):
    for tags in sentences(labels, 2000):
        assert [(label, first, end - 1) for label, first, end in _spans.spans(tags)] == get_entities(tags)


@pytest.mark.parametrize("labels", [BIO, BIOES])
def test_repaired_tags_spell_the_same_entities_and_could_not_be_repaired_further(labels):
    for tags in sentences(labels, 500):
        repaired = _spans.repaired(tags, labels)
        assert _spans.spans(repaired) == _spans.spans(tags) and _spans.repaired(repaired, labels) == repaired
        for before, tag in itertools.pairwise(["O", *repaired]):
            assert tag[0] not in "IE" or (before[0] in "BI" and before[2:] == tag[2:])
    assert _spans.repaired(["I-a", "I-a", "B-b"], ["O", "I-a", "B-b"]) == ["I-a", "I-a", "B-b"], "B-a is no tag of this model"


@pytest.mark.parametrize("labels", [BIO, BIOES])
def test_micro_scores_of_entities_are_those_of_seqeval(labels):
    true = sentences(labels)
    draw = random.Random(1)
    said = [[draw.choice(labels) if draw.random() < 0.3 else tag for tag in tags] for tags in true]
    task = KIND(labels)
    found = task.score([Prediction(tags) for tags in said], [{"tags": tags} for tags in true])
    assert task.primary == "entity_f1"
    assert found["entity_f1"] == pytest.approx(f1_score(true, said))
    assert found["entity_precision"] == pytest.approx(precision_score(true, said))
    assert found["entity_recall"] == pytest.approx(recall_score(true, said))


def test_word_accuracy_and_confusion_count_words_not_rows():
    task = KIND(["ADJ", "NOUN", "S"])
    said, true = [["NOUN"], ["ADJ", "ADJ", "NOUN"]], [["ADJ"], ["ADJ", "ADJ", "ADJ"]]
    answers, rows = [Prediction(tags) for tags in said], [{"tags": tags} for tags in true]
    assert task.primary == "word_accuracy" and task.score(answers, rows) == {"word_accuracy": 0.5}
    assert task.per_row(answers, rows) is None, "rows differ in words: floors are proven by a bootstrap"
    assert task.confusion(answers, rows) == [[2, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert task.off(answers[1], rows[1]) == pytest.approx(1 / 3)


def test_the_best_chain_is_the_best_of_all_chains():
    draw = numpy.random.default_rng(0)
    for words in (1, 2, 5):
        scores, follows = draw.normal(size=(words, 3)), draw.normal(size=(4, 3))

        def total(tags, scores=scores, follows=follows):
            return sum(scores[i, tag] + follows[before, tag] for i, (before, tag) in enumerate(itertools.pairwise([3, *tags])))

        every = itertools.product(range(3), repeat=words)
        assert _transitions.best_chain(scores, follows) == [*max(every, key=total)]


def test_transitions_say_how_much_likelier_a_tag_is_behind_another():
    found = _transitions.counted([[0, 1, 1], [0, 1]], 2)
    share = (3 + 0.1 * 3) / (5 + 0.1 * 6)  # of tag 1
    assert found[0, 1] == pytest.approx(numpy.log(2.1 / 2.2 / share)) and found.shape == (3, 2)
    assert found[2, 0] > 0 > found[2, 1], "both rows begin with 0"


def test_a_weight_of_transitions_is_chosen_kept_in_the_config_and_left_out_for_other_labels():
    rows = [{"tokens": ["a", "b"], "tags": ["B-x", "I-x"]}] * 5 + [{"tokens": ["c"], "tags": ["O"]}] * 5
    task = KIND(["B-x", "I-x", "O"])
    assert task.ways() == [task], "nothing has been counted"
    ways = task.learn_decision(rows).ways()
    assert len(ways) == len(_transitions.WEIGHTS) and ways[0].decision == {"tag_transitions": []}
    again = KIND(task.labels).of(json.loads(json.dumps(ways[-1].decision)))
    numpy.testing.assert_allclose(again._follows, ways[-1]._follows, atol=1e-3)
    assert KIND(["A", "B"]).of(ways[-1].decision).decision == {"tag_transitions": []}
    said = torch.log(torch.tensor([[[0.4, 0.1, 0.5], [0.1, 0.9, 0.0 + 1e-6]]]))
    outputs, batch = type("", (), {"logits": said}), type("", (), {})
    batch.origin, batch.rows = [type("", (), {"words": [0, 1], "positions": [0, 1]})], torch.tensor([0])
    assert ways[0].decode(outputs, batch, None)[0].value == ["O", "B-x"] and again.decode(outputs, batch, None)[0].value == ["B-x", "I-x"]


def test_only_tags_that_spell_entities_make_entities():
    assert not any(KIND(labels).spells_entities for labels in ([], ["O"], ["NOUN", "X"], ["B-a", "NOUN"], ["B-", "O"], ["0", "1"]))
    assert KIND(["B-a", "I-a", "O"]).spells_entities and KIND(["S-a", "B-creative-work"]).spells_entities


@pytest.mark.parametrize("tokenizer", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("most", [256, 16])
def test_every_word_is_answered_once_at_its_first_piece_however_long_the_row(tokenizer, most):
    """Pieces are counted by the tokenizer itself, word by word and all of the row without windows."""
    words = WORDS * 3
    task = KIND(["no", "yes"])
    rows = [{"tokens": words, "tags": ["yes"] * len(words)}, {"tokens": ["one"], "tags": ["no"]}]
    processor = loaded(task, rows, tokenizer).processor
    processor.model_max_length = most
    entries = task.encode(rows[0], processor)
    assert (len(entries) > 1) == (most == 16) and all(len(entry["input_ids"]) <= most for entry in entries)
    assert all(task.fills_window(entry, processor) == (most == 16) for entry in entries)
    assert [word for entry in entries for word in entry["answered"].words] == list(range(len(words)))
    for entry in entries:
        for word, position in zip(*entry["answered"]):
            alone = processor.encode([_words.spaced(words)[word]], is_split_into_words=True, add_special_tokens=False)
            assert entry["input_ids"][position] == (alone or [processor.unk_token_id])[0], words[word]
    batch = batch_of(task, rows, processor)
    assert batch.targets["tags"].tolist() == [task.labels.index(tag) for row in rows for tag in row["tags"]]


def test_a_word_in_two_windows_is_answered_where_it_has_more_around_it():
    task = KIND(["no", "yes"])
    words = [f"w{i}" for i in range(30)]
    processor = loaded(task, [{"tokens": words, "tags": ["no"] * 30}] * 50).processor
    processor.model_max_length = 18
    windows = [encoding.word_ids for encoding in processor(
        words, is_split_into_words=True, truncation=True, stride=4, return_overflowing_tokens=True).encodings]  # fmt: skip
    inside = [[i for i, word in enumerate(window) if word is not None] for window in windows]
    for number, entry in enumerate(task.encode({"tokens": words}, processor)):
        for word, position in zip(*entry["answered"]):
            mine = min(position - inside[number][0], inside[number][-1] - position)
            others = (
                min(i - inside[k][0], inside[k][-1] - i) for k, window in enumerate(windows) if k != number for i in inside[k]
                if window[i] == word and window[i - 1] != word
            )  # fmt: skip
            assert number in (0, len(windows) - 1) or all(mine >= other for other in others)


def test_loss_is_that_of_transformers_on_first_pieces_and_rows_in_windows_are_one_row():
    task = KIND(["no", "yes"])
    rows = [{"tokens": WORDS[:5] * n, "tags": ["yes", "no", "no", "yes", "no"] * n} for n in (1, 8)]
    model, processor = (found := loaded(task, rows)).model, found.processor
    batch = batch_of(task, rows, processor)
    marked = torch.full(batch.inputs["input_ids"].shape, -100)
    for i, answered in enumerate(batch.origin):
        marked[i, answered.positions] = torch.tensor([task.labels.index(rows[i]["tags"][word]) for word in answered.words])
    with torch.no_grad():
        outputs = model(**batch.inputs)
        wanted = model(**batch.inputs, labels=marked).loss
    loss = task.loss(outputs, batch)
    torch.testing.assert_close(loss.mean(), wanted)
    assert loss.count.tolist() == [5, 40]
    processor.model_max_length = 16
    parted = batch_of(task, [rows[1], rows[1], rows[0]], processor)  # a copy behind a row is a row of its own
    assert len(parted.rows) > 5 and task.loss(model(**parted.inputs), parted).count.tolist() == [40, 40, 5]
    assert [len(p.value) for p in task.decode(model(**parted.inputs), parted, processor)] == [40, 40, 5]


def test_padding_on_the_left_moves_the_places_of_words():
    task = KIND(["no", "yes"])
    rows = [{"tokens": ["a", "longer", "row"], "tags": ["no"] * 3}, {"tokens": ["one"], "tags": ["yes"]}]
    processor = loaded(task, rows).processor
    right = batch_of(task, rows, processor)
    processor.padding_side = "left"
    left = batch_of(task, rows, processor)
    for batch in (right, left):
        seen = [batch.inputs["input_ids"][i, answered.positions].tolist() for i, answered in enumerate(batch.origin)]
        assert seen == [[right.inputs["input_ids"][i, p].item() for p in answered.positions] for i, answered in enumerate(right.origin)]


def test_what_explains_a_word_is_its_own_best_logit_and_that_of_a_row_their_sum():
    task = KIND(["no", "yes"])
    rows = [{"tokens": ["a", "b", "c"]}, {"tokens": ["d", "e", "f"]}]
    model, processor = (found := loaded(task, rows)).model, found.processor
    batch = batch_of(KIND(["no", "yes"]), [{**row, "tags": ["no"] * 3} for row in rows], processor)
    outputs = model(**batch.inputs)
    each = torch.stack([task.target(outputs, batch, part) for part in range(3)])
    torch.testing.assert_close(each.sum(0), task.target(outputs, batch))
    assert each[1, 0] == outputs.logits[0, batch.origin[0].positions[1]].max()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("浙商银行War3, 90%！", "浙 商 银 行 War3 , 90 % ！"),
        ("John's 👨‍👩‍👧 met 👍🏽.", "John ' s 👨‍👩‍👧 met 👍🏽 ."),
        ("e\u0301te\u0301 नमस्ते\u3000ありがとう", "e\u0301te\u0301 नमस्ते あ り が と う"),
    ],
)
def test_a_text_is_cut_into_characters_where_it_has_no_spaces_and_never_within_a_sign(text, words):
    found = _words.cut(text)
    assert [word for word, _ in found] == words.split(" ")
    assert all(text[start : start + len(word)] == word for word, start in found)


def test_places_of_entities_are_those_in_the_users_own_text():
    task = KIND(BIO)
    row = task.row_of("👨‍👩‍👧 在浙商银行 met  Ann Lee!")
    tags = ["O", "O", "B-place", "I-place", "I-place", "I-place", "O", "B-person", "I-person", "O"]
    first, second = task.details(tags, row)["entities"]
    assert first == {"label": "place", "start_word": 2, "end_word": 6, "text": "浙商银行", "start": 7, "end": 11}
    assert row["text"][second["start"] : second["end"]] == second["text"] == "Ann Lee"
    alone = task.details(tags, {"tokens": row["tokens"]})
    assert "start" not in alone["entities"][0] and alone["told"] == "浙商银行: place; Ann Lee: person"
    assert KIND(["NOUN"]).details(["NOUN"] * 2, {"tokens": ["a", "b"]}) == {"told": "a/NOUN b/NOUN", "words": ["a", "b"]}


def test_spans_of_a_text_become_bio_tags_and_back(tmp_path):
    rows = [
        {
            "text": "浙商银行的叶老桂",
            "spans": [{"start": 5, "end": 8, "label": "name", "text": "叶老桂"}, {"start": 0, "end": 4, "label": "bank"}],
        },
        {"text": "none here", "spans": []},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    found, wrong = from_text(read(tmp_path / "a.jsonl"))
    assert not wrong and found[0]["tags"] == ["B-bank", "I-bank", "I-bank", "I-bank", "O", "B-name", "I-name", "I-name"]
    assert found[1]["tokens"] == ["none", "here"] and found[1]["tags"] == ["O", "O"]
    again = KIND(sorted(set(found[0]["tags"]))).details(found[0]["tags"], found[0])["entities"]
    assert [{name: span[name] for name in ("start", "end", "label")} for span in again] == [
        {"start": 0, "end": 4, "label": "bank"}, {"start": 5, "end": 8, "label": "name"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([{"start": 5, "end": 99, "label": "a"}], "the span from 5 to 99, 'a', is none of a text of 10 characters"),
        ([{"start": 2, "end": 2, "label": "a"}], "the span from 2 to 2, 'a', is none"),
        ([{"start": 0, "end": 2, "label": "a"}], "from 0 to 2, 'An', begins or ends within a word"),
        ([{"start": 0, "end": 7, "label": "a"}, {"start": 4, "end": 7, "label": "b"}], "from 4 to 7, 'Lee', overlaps another"),
        ([{"start": 4, "end": 7, "label": "a", "text": "Leo"}], "the span from 4 to 7 is 'Lee' in the text, not 'Leo'"),
        ([{"start": 4, "label": "a"}], "a span is \"{'start': 4, 'label': 'a'}\", not {\"start\": 0, \"end\": 4"),
    ],
)
def test_a_span_that_is_none_of_its_text_is_told_with_its_row(spans, said, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "Ann Lee is", "spans": spans}))
    _, wrong = from_text(read(tmp_path / "a.jsonl"))
    assert wrong[0].startswith("a.jsonl, line 1: ") and said in wrong[0]


def test_the_baseline_learns_what_letters_and_neighbours_tell():
    """Tags that the end of a word, or the word before it, decides; words themselves are new."""
    draw = random.Random(0)

    def row():
        words = [f"{draw.randrange(10**6)}{draw.choice(('ly', 'ing'))}" if i % 2 else draw.choice(("to", "a")) for i in range(10)]
        tags = [
            "P" if word in ("to", "a") else ("ADV" if word.endswith("ly") else "V") + before[0] for before, word in zip(["", *words], words)
        ]
        return {"tokens": words, "tags": tags}

    rows = [row() for _ in range(300)]
    tagger = KIND().baseline(300).fit(rows[:200], [row["tags"] for row in rows[:200]])
    said = tagger.predict(rows[200:])
    assert numpy.mean([a == b for row, tags in zip(rows[200:], said) for a, b in zip(row["tags"], tags)]) > 0.97
    two = KIND().baseline(2).fit(rows[:5], [["x", *["y"] * 9]] * 5).predict(rows[:5])
    assert two == [["x", *["y"] * 9]] * 5


UNIVERSAL = """# text = Don't go
1-2	Don't	_	_	_	_	_	_	_	_
1	Do	do	AUX	VB	Mood=Imp	3	aux	_	_
2	n't	not	PART	RB	_	3	advmod	_	_
3	go	go	VERB	VB	_	0	root	_	_
3.1	there	there	ADV	RB	_	_	_	_	_

1	#	#	SYM	NN	_	0	root	_	_
"""


def test_universal_dependencies_are_read_without_multi_word_tokens_and_empty_nodes(tmp_path):
    path = tmp_path / "a.conllu.gz"
    path.write_bytes(gzip.compress(UNIVERSAL.encode()))
    rows = read(path)
    assert rows[0]["tokens"] == ["Do", "n't", "go"] and rows[0]["tags"] == ["AUX", "PART", "VERB"] and rows[0]["xpos"] == ["VB", "RB", "VB"]
    assert rows[1]["tokens"] == ["#"] and [rows.place(i) for i in range(2)] == ["a.conllu.gz, line 2", "a.conllu.gz, line 8"]
    assert rows.notes == ()


def test_plain_files_have_words_first_and_tags_last(tmp_path):
    (tmp_path / "a.conll").write_text("-DOCSTART- -X- O O\n\n# id = 7\n# a paper\nEU NNP B-NP B-ORG\n# NN I-NP O\n\n\n#go VB B-VP O\r\n")
    rows = read(tmp_path / "a.conll")
    assert [row["tokens"] for row in rows] == [["EU", "#"], ["#go"]] and [row["tags"] for row in rows] == [["B-ORG", "O"], ["O"]]
    assert rows.columns == ["tokens", "column 2", "column 3", "tags"]
    (tmp_path / "b.conll").write_text("\u3000\tO\n浙\tB-bank")
    assert read(tmp_path / "b.conll")[0] == {"tokens": ["\u3000", "浙"], "tags": ["O", "B-bank"]}
    (tmp_path / "c.conll").write_text(UNIVERSAL)
    assert read(tmp_path / "c.conll").columns[:3] == ["tokens", "lemmas", "tags"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.conllu", UNIVERSAL.replace("2\tn't\tnot\tPART", "2\tn't\tPART"), "a.conllu, line 4: 9 columns where words have 10"),
        ("a.conllu", UNIVERSAL.replace("\n\n1\t#", "\n1\t#"), "a.conllu, line 7: a word is numbered '1' where 4 should follow"),
        ("a.conll", "a DT O\nb NN\n", "a.conll, line 2: 2 columns where words have 3"),
        ("a.conllu", "# nothing\n\n\n", "a.conllu: no sentences"),
        ("a.conll", "caf\xe9 O\n".encode("latin1"), "a.conll, line 1, byte 3: b'\\xe9' is not UTF-8"),
    ],
)
def test_what_is_no_sentence_is_told_with_its_line_or_left_out(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert said in str(caught.value) and caught.value.wanted
    (tmp_path / "good.conllu").write_text(UNIVERSAL + "\n1\ta\tb\n\n")
    found = read(tmp_path / "good.conllu", skip_bad=True)
    assert len(found) == 2 and found.unread == ["good.conllu, line 10: 3 columns where words have 10 (line 10)"]
    (tmp_path / "none.conll").write_text("a O\nb\n")
    with pytest.raises(DataError, match=r"none.conll: no sentences that can be read: 1 columns where words have 2 \(line 2\)"):
        read(tmp_path / "none.conll", skip_bad=True)


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


ROWS = [{"tokens": ["Ann", f"w{i}", "in", "Rome"], "ner": ["B-person", "O", "O", "B-place"]} for i in range(60)]


def test_rows_whose_tags_are_not_as_many_as_their_words_are_refused_or_left_out(tmp_path):
    rows = [*ROWS, {"tokens": ["a", "b"], "ner": ["O"]}, {"tokens": [], "ner": []}, {"tokens": ["a", ""], "ner": ["O", "O"]}]
    named = {"columns": ["tags=ner"]}
    with pytest.raises(DataError, match=r"a.jsonl, line 61: 2 words and 1 tags"):
        Data.open(write(tmp_path / "a.jsonl", rows), DataOptions(**named), KIND)
    with pytest.raises(DataError, match=r"b.jsonl, line 2: tokens is empty"):
        Data.open(write(tmp_path / "b.jsonl", [ROWS[0], rows[61]]), DataOptions(**named), KIND)
    data = Data.open(tmp_path / "a.jsonl", DataOptions(**named, skip_bad_rows=True), KIND)
    assert [said.split(": ")[0] for said in data.bad] == [f"a.jsonl, line {line}" for line in (61, 62, 63)] and len(data.examples) == 60
    assert [name for name, _ in data.targets(KIND())] == [{"tags": ["B-person"]}, {"tags": ["O"]}, {"tags": ["B-place"]}]


def test_tags_that_no_training_row_has_and_tags_that_look_alike_are_told_with_their_row(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.jsonl", ROWS)
    strange = {"tokens": ["x", "y"], "ner": ["O", "B-pirson"]}
    write(tmp_path / "data" / "validation.jsonl", [{"tokens": ["z"], "ner": ["O"]}, strange])
    write(tmp_path / "data" / "test.jsonl", [{"tokens": ["z", "y"], "ner": ["O", "O"]}])
    data = Data.open(tmp_path / "data", DataOptions(columns=["tags=ner"]), KIND)
    task = KIND(KIND().learn_labels([target for target, _ in data.targets(KIND(), "train")]))
    with pytest.raises(DataError, match=r"data/validation.jsonl, line 2, column tags: label 'B-pirson' is in no training row") as caught:
        data.check_labels(task, learnt=True)
    assert "'B-person'" in caught.value.wanted
    write(tmp_path / "data" / "validation.jsonl", [{"tokens": ["x", "y", "z"], "ner": ["O", "b-person", "O"]}])
    data = Data.open(tmp_path / "data", DataOptions(columns=["tags=ner"]), KIND)
    data.settle_labels(KIND(), "merge", None)
    assert data.role("tune")[0]["tags"] == ["O", "B-person", "O"], "a tag that is there twice stays so"


def test_two_files_of_words_made_of_the_same_texts_column_by_column_are_told_apart(tmp_path):
    """Words come from the column that the user names, and hashes of rows, which are kept, with them."""
    path = write(tmp_path / "a.jsonl", [{"one": f"first {i}", "two": f"second {i // 2}", "spans": []} for i in range(40)])
    sketches = [Data.open(path, DataOptions(columns=[f"text={name}"]), KIND).roles.sketch for name in ("one", "two")]
    assert sketches[0] != sketches[1]


def test_the_one_column_of_tags_may_be_named_as_the_hub_names_it(tmp_path):
    rows = [{"tokens": ["Ann", "came"], "ner_tags": ["B-person", "O"]}]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    examples, bad = KIND.adapt(read(path))
    assert not bad and examples.require(KIND.columns)[0]["tags"] == ["B-person", "O"]
    path.write_text(json.dumps({**rows[0], "pos_tags": ["N", "V"]}), "utf-8")
    with pytest.raises(DataError, match="no column 'tags'"):
        KIND.adapt(read(path))[0].require(KIND.columns)
