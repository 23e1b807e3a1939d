"""A text packed once: the tokens of its rows one after the other, cut into blocks that tell each of them once."""

import numpy
import pytest
import torch

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError
from penjing.core.find import find
from penjing.core.new_text import NewText
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import corpus, create
from penjing.engine.train import State, train
from penjing.methods.finetune import whole

SENTENCES = [
    f"the {size} tree stands in garden {i} and grows {how}." for i in range(40) for size in ("old", "小") for how in ("fast", "慢")
]
QUIET = Runtime(quiet=True, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "table.csv").write_text("text\n" + "\n".join(SENTENCES) + "\n", "utf-8")
    (folder / "story.txt").write_text("\n".join(SENTENCES) + "\n", "utf-8")
    return folder


@pytest.fixture(autouse=True)
def _cache(cache):
    """The packed files lie where the tests' cache is."""


def packed(folder, name, task="text-generation", size="gpt-tiny", **words):
    """(its training rows, what is packed of them, what was loaded)"""
    kind: Task = find("tasks", task).TASK()
    rows = Data.open(folder / name, DataOptions(), kind).role("train")
    loaded = create.create(size, kind, rows, QUIET, new_text=NewText(vocabulary=300, context=32, **words))
    return rows, corpus.packed(rows, kind, loaded.processor, seed=3), loaded


def test_the_stream_is_the_tokens_of_each_row_and_an_end_behind_each(folder):
    rows, blocks, loaded = packed(folder, "table.csv")
    found = loaded.processor.decode(blocks.tokens)
    assert found == "".join(row["text"] + loaded.processor.eos_token for row in rows)


def test_running_text_has_no_ends_in_it(folder):
    rows, blocks, loaded = packed(folder, "story.txt")
    assert loaded.processor.decode(blocks.tokens) == "".join(row["text"] for row in rows)


def test_every_token_but_the_first_is_told_once_from_those_before_it(folder):
    _, blocks, _ = packed(folder, "table.csv")
    batch, step = blocks.batch(range(len(blocks))), 32
    assert batch.inputs["input_ids"].flatten().tolist() == blocks.tokens[: len(blocks) * step].tolist()
    assert batch.targets["tokens"].flatten().tolist() == blocks.tokens[1 : len(blocks) * step + 1].tolist()
    assert len(blocks.tokens) - len(blocks) * step <= step


def test_it_is_packed_once_mapped_and_anew_for_another_tokenizer(folder, monkeypatch):
    rows, blocks, loaded = packed(folder, "table.csv")
    assert isinstance(blocks.tokens, numpy.memmap) and blocks.tokens.dtype == numpy.uint16
    _, other, _ = packed(folder, "table.csv", tokenizer="unigram")
    assert other.tokens.filename != blocks.tokens.filename
    monkeypatch.setattr(corpus, "_pack", None)
    assert corpus.packed(rows, loaded.task, loaded.processor, seed=3).tokens.tolist() == blocks.tokens.tolist()


def test_masked_blocks_stand_between_their_marks_and_are_drawn_anew_in_each_epoch(folder):
    _, blocks, loaded = packed(folder, "story.txt", "fill-mask", "bert-tiny")
    first, again, later = (blocks.batch(range(len(blocks)), epoch) for epoch in (0, 0, 1))
    ids, told, special = first.inputs["input_ids"], first.targets["tokens"], loaded.processor
    assert (ids[:, 0] == special.cls_token_id).all() and (ids[:, -1] == special.sep_token_id).all() and ids.shape[1] == 32
    assert torch.where(told == -100, ids, told)[:, 1:-1].flatten().tolist() == blocks.tokens[: len(blocks) * 30].tolist()
    assert torch.equal(ids, again.inputs["input_ids"]) and not torch.equal(ids, later.inputs["input_ids"])
    share = (told != -100).float().mean() * 32 / 30
    masked = (ids[told != -100] == special.mask_token_id).float().mean()
    assert 0.12 < share < 0.18 and 0.7 < masked < 0.9


def test_a_text_shorter_than_a_block_is_refused(folder):
    (folder / "short.csv").write_text("text\n" + "\n".join(f"word {i}" for i in range(12)) + "\n")
    with pytest.raises(DataError, match="tokens long") as error:
        packed(folder, "short.csv", tokenizer="word")
    assert "--context" in error.value.fix


def test_a_training_on_blocks_goes_on_to_the_bit(folder):
    options = Training(epochs=1, learning_rate=1e-3, batch_rows=8, precision="fp32")

    def begun():
        _, blocks, loaded = packed(folder, "table.csv")
        return State(whole(loaded.model), blocks, options, QUIET), loaded.task

    state, task = begun()
    losses = [step.loss for step in train(state, task.loss)]
    half, task = begun()
    for step in train(half, task.loss):
        if step.number == len(losses) // 2:
            saved = {**half.to_dict(), "model": {name: value.clone() for name, value in half.model.state_dict().items()}}
            break
    after, task = begun()
    after.from_dict(saved)
    assert [step.loss for step in train(after, task.loss)] == losses[len(losses) // 2 :]
