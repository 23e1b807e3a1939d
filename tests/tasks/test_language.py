"""Language models: what a text costs against transformers' own loss, windows, prompts and chats, masks; n-grams against their law."""

import math

import numpy
import pytest
import torch

from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError, ModelError
from penjing.core.find import find
from penjing.core.new_text import NewText
from penjing.core.runtime import Runtime
from penjing.engine import create
from penjing.engine.anatomy import anatomy
from penjing.engine.asked import row
from penjing.engine.batches import Encoded
from penjing.engine.shortcuts import only_told
from penjing.tasks._language import BALANCE
from penjing.tasks._ngrams import NGrams

ROWS = [{"text": f"The {i}th tree of the garden is old, and 盆景 number {i} is small."} for i in range(30)]
LONG = {"text": " ".join(row["text"] for row in ROWS)}
CHAT = [
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "A tree."},
    {"role": "user", "content": "How old?"},
    {"role": "assistant", "content": "Very old."},
]


def made(task, size, **words):
    kind = find("tasks", task).TASK()
    return create.create(size, kind, ROWS, Runtime(), new_text=NewText(vocabulary=300, **words))


@pytest.fixture(scope="module")
def writer():
    return made("text-generation", "llama-tiny", context=64)


@pytest.fixture(scope="module")
def filler():
    return made("fill-mask", "bert-tiny", context=64)


def told(task, row, tokenizer):
    """The tokens that a row's entries tell, in their order."""
    return [token for entry in task.encode(row, tokenizer) for token in entry["tokens"] if token != -100]


def test_a_text_costs_what_transformers_own_loss_says(writer):
    batch = Encoded(ROWS[:1], writer.task, writer.processor).batch([0])
    (found,) = writer.task.predict(writer.model, batch, writer.processor)
    eos = writer.processor.eos_token_id
    ids = torch.tensor([[eos, *writer.processor(ROWS[0]["text"])["input_ids"], eos]])
    loss = writer.model(input_ids=ids, labels=ids).loss.item()
    assert found.value.tokens == ids.shape[1] - 1 and found.value.nats == pytest.approx(loss * (ids.shape[1] - 1), rel=1e-4)
    scores = writer.task.score([found], ROWS[:1])
    assert scores["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert scores["bits_per_byte"] == pytest.approx(loss * (ids.shape[1] - 1) / math.log(2) / len(ROWS[0]["text"].encode()), rel=1e-4)


def test_a_mixture_learns_to_use_its_experts_evenly_and_is_measured_by_its_text_alone():
    mixture = made("text-generation", "mixtral-tiny", context=64)
    batch = Encoded(ROWS[:4], mixture.task, mixture.processor).batch(range(4))
    outputs = mixture.model(**batch.inputs)
    loss, nats = mixture.task.loss(outputs, batch), mixture.task._nats(outputs, batch)
    theirs = torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), batch.targets["tokens"].flatten())
    assert loss.mean().item() == pytest.approx((theirs + BALANCE * outputs.aux_loss).item(), rel=1e-5)
    said = mixture.task.decode(outputs, batch, mixture.processor)
    assert sum(p.value.nats for p in said) == pytest.approx(nats.total.sum().item(), rel=1e-5)
    assert nats.total.sum() < loss.total.sum()


def test_a_long_text_is_told_once_and_from_half_a_window_at_least(writer):
    entries = writer.task.encode(LONG, writer.processor)
    ids = writer.processor(LONG["text"])["input_ids"]
    assert len(entries) > 3 and told(writer.task, LONG, writer.processor) == [*ids, writer.processor.eos_token_id]
    for entry in entries[1:]:
        first = next(i for i, token in enumerate(entry["tokens"]) if token != -100)
        assert len(entry["input_ids"]) <= 64 and first + 1 >= 32
    assert [entry["size"] for entry in entries] == [len(LONG["text"].encode())] + [0] * (len(entries) - 1)


def test_what_stands_before_is_read_and_not_told(writer):
    row = {"text": "is old", "before": "The tree of the garden "}
    (entry,) = writer.task.encode(row, writer.processor)
    assert told(writer.task, row, writer.processor) == writer.processor("is old")["input_ids"]
    assert writer.processor.decode(entry["input_ids"]).startswith("The tree of the garden is")


def test_a_prompt_is_read_and_its_completion_told(writer):
    row = {"prompt": "The tree", "text": " is old"}
    tokens = told(writer.task, row, writer.processor)
    assert writer.processor.decode(tokens) == " is old" + writer.processor.eos_token


def test_of_a_chat_what_the_assistant_says_is_told_and_nothing_else(writer):
    row = {"messages": CHAT, "text": "-"}
    said = writer.processor.decode(told(writer.task, row, writer.processor))
    assert said == " A tree.[SEP]\n Very old.[SEP]\n"
    asked = writer.task.encode({"messages": CHAT[:3]}, writer.processor)
    assert writer.processor.decode(asked["input_ids"]).endswith("user: How old?\nassistant:")


def test_the_words_of_every_message_of_a_chat_are_explained(writer):
    row_asked = writer.task.answered(writer.task.asked({"messages": CHAT[:3], "text": "-"}), "Very old.")
    found = row(writer.model, writer.task, row_asked, writer.processor)
    assert [*dict.fromkeys(unit.column for unit in found.units)] == ["1 user", "2 assistant", "3 user", "4 assistant"]
    written = {found.units[i].text for i in found.owners.flatten().tolist() if i < len(found.units)}
    assert {"How", "old", "tree", "Very"} <= written


def test_equal_completions_of_different_prompts_are_different_rows(tmp_path, cache):
    lines = "\n".join(f'{{"prompt": "is {i} odd?", "completion": "{"yes" if i % 2 else "no"}"}}' for i in range(100))
    (tmp_path / "asked.jsonl").write_text(lines)
    data = Data.open(tmp_path / "asked.jsonl", DataOptions(), find("tasks", "text-generation").TASK())
    assert sum(data.roles.counts.values()) == 100 and all(data.roles.counts.values())


def test_a_chat_without_the_assistant_is_named(tmp_path, cache):
    (tmp_path / "chat.jsonl").write_text('{"messages": [{"role": "user", "content": "Hello?"}]}\n' * 2)
    with pytest.raises(DataError, match="line 1: no message is the assistant's"):
        Data.open(tmp_path / "chat.jsonl", DataOptions(), find("tasks", "text-generation").TASK())


def test_a_tokenizer_that_lacks_what_the_task_needs_is_named(writer, filler):
    task = writer.task
    with pytest.raises(ModelError, match="no token that ends a text"):
        task.encode(ROWS[0], filler.processor)
    plain = made("text-generation", "gpt-tiny").processor
    plain.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        task.encode({"messages": CHAT}, plain)
    plain.mask_token = None
    with pytest.raises(ModelError, match="no mask"):
        filler.task.encode(ROWS[0], plain)


def test_masked_tokens_cost_what_transformers_own_loss_says(filler):
    batch = Encoded(ROWS[:4], filler.task, filler.processor).batch(range(4))
    found = filler.task.predict(filler.model, batch, filler.processor)
    loss = filler.model(**batch.inputs, labels=batch.targets["tokens"]).loss.item()
    assert sum(p.value.nats for p in found) / sum(p.value.tokens for p in found) == pytest.approx(loss, rel=1e-4)
    again = Encoded(ROWS[:4], filler.task, filler.processor).batch(range(4))
    assert torch.equal(again.inputs["input_ids"], batch.inputs["input_ids"])


@pytest.mark.parametrize("size", ["bert-tiny", "modernbert-mini"])
def test_a_head_that_is_given_the_masked_positions_alone_learns_the_same(size):
    loaded = made("fill-mask", size, context=64)
    batch = Encoded(ROWS, loaded.task, loaded.processor).batch(range(8))
    found = []
    for told in (None, batch.told):
        loaded.model.zero_grad()
        with only_told(loaded.model, anatomy(loaded.model).head, told):
            outputs = loaded.model(**batch.inputs)
        loaded.task.loss(outputs, batch).mean().backward()
        found.append((outputs.logits, loaded.task.logits(outputs, batch), [p.grad.clone() for p in loaded.model.parameters()]))
    (_, (whole, rows), gradients), (narrow, (few, same_rows), others) = found
    assert narrow.shape == few.shape == whole.shape and torch.equal(rows, same_rows)
    torch.testing.assert_close(few, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(others, gradients, rtol=1e-3, atol=1e-6)


def test_masks_are_filled_in_the_words_of_the_user_with_the_likeliest_tokens(filler):
    text = "The  [MASK] tree of 盆[MASK]!"
    batch = Encoded([filler.task.row_of(text)], filler.task, filler.processor).batch([0])
    (found,) = filler.task.predict(filler.model, batch, filler.processor)
    ids = batch.inputs["input_ids"]
    best = filler.model(**batch.inputs).logits[ids == filler.processor.mask_token_id].softmax(-1).max(-1)
    first, second = (filler.processor.decode([token]).removeprefix("##") for token in best.indices.tolist())
    assert found.value == f"The  {first} tree of 盆{second}!" and found.score == pytest.approx(best.values.prod().item(), rel=1e-4)
    with pytest.raises(DataError, match=r"has no \[MASK\]"):
        filler.task.encode(filler.task.row_of("no mask here"), filler.processor)


def test_chances_of_n_grams_sum_to_one_and_follow_kneser_and_ney(writer):
    draw = numpy.random.default_rng(0)
    text = draw.integers(0, 5, 400).tolist()
    model = NGrams().fit([[{"input_ids": text[:-1], "tokens": text[1:]}]], None)

    def chance(far, near, token):
        return math.exp(-model.predict([[{"input_ids": [far, near], "tokens": [-100, token]}]])[0].nats)

    for far, near in ((0, 1), (4, 4), (3, 0)):
        assert sum(chance(far, near, token) for token in range(5)) == pytest.approx(1)
    padded = [0, *text]  # the first token has none before it but one, and 0 stands for what is not there
    trigrams = {(padded[i - 2], padded[i - 1], padded[i]) for i in range(2, len(padded))}
    three = [tuple(padded[i - 2 : i + 1]) for i in range(2, len(padded))]
    bigrams = {t[1:] for t in trigrams}
    low = (sum(b[1] == 2 for b in bigrams) - 0.75) / len(bigrams) + 0.75 / len(bigrams)
    after = [t for t in trigrams if t[1] == 1]
    middle = (sum(t[2] == 2 for t in after) - 0.75 + 0.75 * len({t[2] for t in after}) * low) / len(after)
    seen = [t for t in three if t[:2] == (0, 1)]
    high = (seen.count((0, 1, 2)) - 0.75 + 0.75 * len(set(seen)) * middle) / len(seen)
    assert chance(0, 1, 2) == pytest.approx(high)


def test_words_are_cut_at_spaces_and_the_end_of_a_line_is_a_word():
    rows = [{"text": " no it was n't <unk> \n the N cats \n"}] * 3
    kind = find("tasks", "text-generation").TASK()
    tokenizer = create.create("gpt-tiny", kind, rows, Runtime(), new_text=NewText("word")).processor
    assert tokenizer.tokenize(rows[0]["text"]) == ["no", "it", "was", "n't", "<unk>", "\n", "the", "N", "cats", "\n"]
    assert tokenizer.tokenize("no dogs") == ["no", "[UNK]"]
