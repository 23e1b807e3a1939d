"""Labels by their words: against the definition, and against the pipeline of transformers."""

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, GPT2Config, GPT2LMHeadModel, pipeline

from penjing.core.collate import ROW
from penjing.core.find import find
from penjing.core.new_text import NewText
from penjing.engine import tokenizers

TASK = find("tasks", "zero-shot-classification").TASK
LABELS = ["film", "room=The room was cold.", "天气"]
TEXTS = ["the lovely film was splendid", "a dull room", "very quite warm and bright " * 5]


def asked(task, model, tokenizer, texts=TEXTS):
    """The answers of a task to texts, in one batch."""
    encoded = [task.encode({"text": text}, tokenizer) for text in texts]
    entries = [{**entry, ROW: i} for i, found in enumerate(encoded) for entry in (found if isinstance(found, list) else [found])]
    with torch.inference_mode():
        return task.predict(lambda **inputs: model(**inputs), task.collate(entries, tokenizer), tokenizer)


@pytest.fixture(scope="module")
def tokenizer(text_parent):
    return AutoTokenizer.from_pretrained(text_parent)


def test_an_encoder_answers_the_label_whose_sentence_lies_nearest(text_parent, tokenizer):
    model = AutoModel.from_pretrained(text_parent).eval()

    def embedded(text):
        with torch.inference_mode():
            return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)

    sentences = ["This text is about film.", "The room was cold.", "这段文字是关于天气的。"]
    near = torch.tensor([[torch.cosine_similarity(embedded(t), embedded(s), 0) for s in sentences] for t in TEXTS])
    answers = asked(TASK(LABELS).of(model.config.to_dict()), model, tokenizer)
    assert [a.value for a in answers] == [["film", "room", "天气"][i] for i in near.argmax(1)]
    assert [a.score for a in answers] == pytest.approx((20 * near).softmax(1).amax(1).tolist(), rel=1e-3)


def test_a_model_of_entailment_answers_as_the_pipeline_of_transformers(text_parent, tokenizer):
    names = {0: "contradiction", 1: "ENTAILMENT", 2: "neutral"}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        text_parent, id2label=names, label2id={name: i for i, name in names.items()}, ignore_mismatched_sizes=True
    ).eval()
    peer = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
    model.classifier.weight.data *= 30  # so that no two labels are as likely
    labels = ["splendid", "dull", "bright, awful weather"]
    theirs = [peer(text, labels, hypothesis_template="This text is about {}.") for text in TEXTS]
    ours = asked(TASK(labels).of(model.config.to_dict()), model, tokenizer)
    assert [answer.value for answer in ours] == [found["labels"][0] for found in theirs]
    assert [answer.score for answer in ours] == pytest.approx([found["scores"][0] for found in theirs], rel=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_language_model_answers_the_label_that_the_text_makes_likelier_most(side):
    words = NewText("bpe", 400, context=64)
    tokenizer = tokenizers.train(lambda: TEXTS, words, writes=True, goes_on=True)
    tokenizer.padding_side = side
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_embd=16, n_head=2, n_positions=64, vocab_size=len(tokenizer), bos_token_id=3, eos_token_id=3)
    model = GPT2LMHeadModel(config).eval()
    model.transformer.wte.weight.data *= 20  # so that no two labels are as likely

    def chance(text, sentence):
        """By the loss of transformers, which is a mean over the tokens that it counts."""
        before, said = tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer(sentence, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[3, *before[: 64 - len(said) - 1], *said]])
        labels = ids.clone()
        labels[:, : -len(said)] = -100
        return -model(ids, labels=labels).loss.item() * len(said)

    sentences = [" This text is about film.", " The room was cold.", "这段文字是关于天气的。"]
    gained = torch.tensor([[chance(text, said) - chance("", said) for said in sentences] for text in TEXTS])
    answers = asked(TASK(LABELS).of({"architectures": ["GPT2LMHeadModel"]}), model, tokenizer)
    assert [a.value for a in answers] == [["film", "room", "天气"][i] for i in gained.argmax(1)]
    assert [a.score for a in answers] == pytest.approx(gained.softmax(1).amax(1).tolist(), rel=1e-3)


def test_labels_are_what_stands_before_the_sign_and_each_model_is_asked_anew():
    task = TASK(["a", "b = more = than one"])
    assert task.labels == ["a", "b"] and task._sentences == ["This text is about a.", "more = than one"]
    task._meant = torch.zeros(2, 3)
    assert len(task.of({})._meant) == 0
