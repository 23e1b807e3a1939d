"""Translation and summarization: rows from several forms, entries as transformers has them, scores against sacrebleu and rouge-score."""

import json
import time

import numpy
import pytest
import sacrebleu
import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import MarianConfig, MarianMTModel

from penjing.core.contracts import Prediction
from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError
from penjing.core.examples import read
from penjing.core.new_text import NewText
from penjing.engine import tokenizers
from penjing.engine.batches import Encoded
from penjing.tasks.summarization import Summarization
from penjing.tasks.translation import Translation

PAIRS = [("a dog runs", "ein Hund läuft"), ("two men sit there", "zwei Männer sitzen da"), ("no", "nein"), ("a man", "ein Mann")]
ROWS = [{"text": text, "translation": [answer]} for text, answer in PAIRS]
START = 2


def written(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def adapted(kind, path, *columns):
    return Data.open(path, DataOptions(columns=list(columns)), kind).examples


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train(lambda: [text for pair in PAIRS for text in pair], NewText("bpe", 300), writes=True)


@pytest.fixture(scope="module")
def task():
    return Translation().of({"decoder_start_token_id": START})


@pytest.mark.parametrize(
    "rows",
    [
        [{"en": a, "de": b} for a, b in PAIRS],
        [{"number": 7, "en": a, "de": [b]} for a, b in PAIRS],
        [{"translation": {"en": a, "de": b}} for a, b in PAIRS],
        [{"text": a, "translation": b} for a, b in PAIRS],
    ],
    ids=["languages", "lists", "the hub's", "ours"],
)
def test_pairs_are_read_from_every_form(rows, tmp_path):
    examples = adapted(Translation, written(tmp_path / "rows.jsonl", rows))
    assert [(row["text"], row["translation"]) for row in examples] == [(a, [b]) for a, b in PAIRS]


def test_the_direction_is_that_of_the_columns_and_is_told(tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"en": a, "de": b} for a, b in PAIRS])
    assert any(note.startswith("translated from en to de") for note in adapted(Translation, path).notes)
    turned = adapted(Translation, path, "text=de")
    assert turned[0]["text"] == "ein Hund läuft" and turned[0]["translation"] == ["a dog runs"]
    assert Translation.adapt(read(written(tmp_path / "asked.jsonl", [{"de": "nein"}])))[0][0]["text"] == "nein"


def test_files_may_hold_one_answer_and_several(tmp_path):
    written(tmp_path / "train.jsonl", [{"en": "no", "zh": "不"}, {"en": "yes", "zh": "是"}])
    written(tmp_path / "validation.jsonl", [{"en": "well", "zh": ["好", "嗯"]}])
    assert [row["translation"] for row in adapted(Translation, tmp_path)] == [["不"], ["是"], ["好", "嗯"]]


def test_what_cannot_be_a_pair_is_named(tmp_path):
    with pytest.raises(DataError, match="line 2: translation is empty"):
        adapted(Translation, written(tmp_path / "a.jsonl", [{"en": "no", "de": "nein"}, {"en": "yes", "de": None}]))
    with pytest.raises(DataError, match="no column 'text'"):
        adapted(Translation, written(tmp_path / "b.jsonl", [{"en": "no", "de": "nein", "fr": "non"}]))
    with pytest.raises(DataError, match="no column 'summary'"):
        adapted(Summarization, written(tmp_path / "c.jsonl", [{"abstract": "no", "title": "nein"}]), "text=abstract")


def test_sentences_become_one_text_and_a_summary_may_be_one_or_several(tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"source": ["One.", "Two."], "summaries": ["1", "2"]}])
    row = adapted(Summarization, path, "text=source", "summary=summaries")[0]
    assert (row["text"], row["summary"]) == ("One. Two.", ["1", "2"])
    path = written(tmp_path / "one.jsonl", [{"abstract": "One. Two.", "title": "1"}])
    row = adapted(Summarization, path, "text=abstract", "summary=title")[0]
    assert (row["text"], row["summary"]) == ("One. Two.", ["1"])


def test_the_loss_is_that_of_transformers_and_padding_has_no_part_in_it(task, tokenizer):
    model = tiny(len(tokenizer))
    encoded = Encoded(ROWS, task, tokenizer)
    batch = encoded.batch([0, 1, 2, 3])
    loss = task.loss(model(**batch.inputs), batch)
    labels = tokenizer(text_target=[answer for _, answer in PAIRS], padding=True, return_tensors="pt")["input_ids"][:, 1:]
    theirs = model(
        batch.inputs["input_ids"], batch.inputs["attention_mask"], labels=labels.masked_fill(labels == tokenizer.pad_token_id, -100)
    )
    torch.testing.assert_close(loss.mean(), theirs.loss)
    for row in range(4):
        alone = encoded.batch([row])
        torch.testing.assert_close(task.loss(model(**alone.inputs), alone).total[0], loss.total[row], atol=1e-4, rtol=1e-4)
    logits, owners = task.logits(model(**batch.inputs), batch)
    assert len(logits) == int(loss.count.sum()) and owners.unique_consecutive(return_counts=True)[1].tolist() == loss.count.tolist()


def test_what_is_written_does_not_depend_on_the_answer_that_a_batch_holds(task, tokenizer):
    asked = []

    class Model:
        def generate(self, batch, processor):
            asked.append({name: value.tolist() for name, value in batch.inputs.items()})
            return [" said "] * len(batch.rows)

    for labelled in (True, False):
        batch = Encoded(ROWS, task, tokenizer, labelled=labelled).batch([1, 3])
        assert task.predict(Model(), batch, tokenizer) == [Prediction("said")] * 2
    assert asked[0] == asked[1] and set(asked[0]) == {"input_ids", "attention_mask"}


SAID = ["ein Hund läuft weg", "zwei Frauen sitzen da auf der Bank", "nein", "eine Mann"]


def test_bleu_and_chrf_are_those_of_sacrebleu():
    rows = [*ROWS[:3], {"text": "a man", "translation": ["ein Mann", "eine Person"]}]
    said = [Prediction(text) for text in SAID]
    streams = [[row["translation"][0] for row in rows], [None, None, None, "eine Person"]]
    found = Translation().score(said, rows)
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(SAID, streams).score / 100)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(SAID, streams).score / 100)
    picked = [1, 1, 3]
    again = Translation().scorer(said, rows)(numpy.array(picked))
    assert again == pytest.approx(Translation().score([said[i] for i in picked], [rows[i] for i in picked]))
    assert "nrefs:var|case:mixed|eff:no|tok:13a" in Translation().signature(rows)


def test_chinese_is_scored_by_character_and_the_signature_says_so():
    rows, said = [{"text": "", "translation": ["我叔叔给了我一份礼物。"]}], "叔叔给我一份礼物。"
    assert Translation().score([Prediction(said)], rows)["bleu"] == pytest.approx(
        sacrebleu.corpus_bleu([said], [rows[0]["translation"]], tokenize="zh").score / 100
    )
    assert "nrefs:1|case:mixed|eff:no|tok:zh" in Translation().signature(rows)
    assert "tok:char" in Translation().signature([{"text": "", "translation": ["これは本です"]}])


def test_a_thousand_resamples_of_bleu_take_no_time():
    rows, said = [dict(row) for row in ROWS * 250], [Prediction(text) for text in SAID * 250]
    score, rng = Translation().scorer(said, rows), numpy.random.default_rng(0)
    start = time.process_time()
    for _ in range(100):
        score(rng.integers(0, 1000, 1000))
    assert time.process_time() - start < 1


def test_rouge_is_that_of_rouge_score_in_english_and_by_character_in_chinese():
    rows = [{"text": "", "summary": ["The cat sat on the mat", "A cat sat."]}, {"text": "", "summary": ["Dogs run far"]}]
    said = ["A cat sat on a mat.", "Far run the dogs"]
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"])
    found = Summarization().score([Prediction(text) for text in said], rows)
    for ours, name in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        best = [theirs.score_multi(row["summary"], text)[name].fmeasure for row, text in zip(rows, said)]
        assert found[ours] == pytest.approx(sum(best) / 2)
    chinese = [{"text": "", "summary": ["新型船舶控制"]}]
    each = Summarization().per_row([Prediction("船舶的控制")], chinese)  # 4 of 6 characters, 4 of 5
    assert each == pytest.approx([2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6)])


def test_baselines_are_the_nearest_sentence_and_the_first():
    nearest = Translation().baseline(3).fit(ROWS[:3], [row["translation"][0] for row in ROWS[:3]])
    assert nearest.predict([{"text": "the dog runs home"}, {"text": "two men"}]) == ["ein Hund läuft", "zwei Männer sitzen da"]
    texts = ["Ships cost 3.5 million. We show why.", "目的:研究船舶。结果很好。", "no end"]
    first = Summarization().baseline(3).fit([], []).predict([{"text": text} for text in texts])
    assert first == ["Ships cost 3.5 million.", "目的:研究船舶。", "no end"]


def tiny(vocabulary):
    torch.manual_seed(0)
    sizes = {f"{part}_{name}": n for part in ("encoder", "decoder") for name, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))}
    tokens = {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": START, "forced_eos_token_id": None}
    return MarianMTModel(MarianConfig(vocab_size=vocabulary, d_model=16, max_position_embeddings=64, **sizes, **tokens)).eval()
