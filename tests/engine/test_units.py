"""Which word each token belongs to, and which cell each pixel."""

import numpy
import pytest

from penjing.core.collate import ROW
from penjing.core.find import find
from penjing.core.new_text import NewText
from penjing.core.runtime import Runtime
from penjing.engine import create
from penjing.engine.units import of_grid, of_text

TEXTS = [
    "The unbelievably good film, seen twice!",
    "这家酒店很好，服务也不错。",
    "ok 👩‍💻 naïve café 👍🏽 end",
    "don't re-enter  twice\nplease",
]


def tokens_of(name, tokenizer, example, **words):
    task = find("tasks", name).TASK(["a", "b"])
    rows = [{column: text.split() if column == "tokens" else text for column in task.input_columns()} for text in TEXTS] + [example]
    processor = create.create("bert-tiny", task, rows, Runtime(), new_text=NewText(tokenizer, **words)).processor
    encoded = task.encode(example, processor)
    entries = encoded if isinstance(encoded, list) else [encoded]
    ids = task.collate([{**entry, ROW: 0} for entry in entries], processor).inputs["input_ids"].numpy()
    return processor, ids


@pytest.mark.parametrize("tokenizer", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("text", TEXTS)
def test_every_token_but_those_that_frame_is_of_the_word_it_was_cut_from(tokenizer, text):
    processor, ids = tokens_of("text-classification", tokenizer, {"text": text})
    units, owners = of_text({"text": text}, ids, processor)
    assert all(text[unit.start : unit.end] == unit.text for unit in units)
    framing = numpy.isin(ids, [processor.cls_token_id, processor.sep_token_id])
    assert ((owners == len(units)) == framing).all()
    assert (numpy.diff(owners[0, 1:-1]) >= 0).all()  # in the order of the text
    for token, owner in zip(ids[0, 1:-1], owners[0, 1:-1]):
        piece = processor.convert_ids_to_tokens(int(token)).removeprefix("##").strip("▁Ġ").lower()
        if tokenizer == "wordpiece" and token != processor.unk_token_id and units[owner].text.isascii():
            assert piece in units[owner].text.lower()


def test_words_that_stand_one_by_one_are_units_as_they_are():
    processor, ids = tokens_of("token-classification", "wordpiece", {"tokens": TEXTS[0].split()})
    units, owners = of_text({"tokens": TEXTS[0].split()}, ids, processor)
    assert [unit.text for unit in units] == TEXTS[0].split()
    assert set(owners.flatten().tolist()) == set(range(len(units) + 1))


def test_windows_of_a_context_share_its_units_and_the_question_has_its_own():
    example = {"question": "who came twice?", "context": " ".join(f"word{i}" for i in range(60))}
    processor, ids = tokens_of("question-answering", "wordpiece", example, context=32)
    units, owners = of_text(example, ids, processor)
    assert len(ids) > 1 and {unit.column for unit in units} == {"question", "context"}
    asked = [i for i, unit in enumerate(units) if unit.column == "question"]
    assert all(set(asked) <= set(row.tolist()) for row in owners)  # each window holds the whole question
    assert set(range(len(units))) <= set(owners.flatten().tolist())  # and together they hold every word


def test_an_image_has_cells_no_smaller_than_pixels_and_patches_where_the_model_has_them():
    units, cells = of_grid("image", (3, 28, 30))
    assert cells.shape == (3, 28, 30) and cells.max() == len(units) - 1
    assert (numpy.bincount(cells.flatten()) > 0).all() and (cells[0] == cells[2]).all()
    units, _ = of_grid("image", (1, 8, 8))
    assert len(units) == 64
    units, cells = of_grid("image", (3, 32, 32), side=16)
    assert len(units) == 4 and (cells[0, :16, 16:] == 1).all()


def test_a_log_mel_has_cells_of_time_and_pitch_and_samples_moments():
    units, cells = of_grid("sound", (98, 64))
    assert cells.shape == (98, 64) and {unit.end for unit in units} == set(range(11))
    units, cells = of_grid("sound", (16000,))
    assert cells.shape == (16000,) and len(units) == 24
