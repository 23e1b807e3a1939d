"""One label for each text, by what the labels mean: no row is learnt from.

Data     column `text`; `label` where answers shall be measured. The labels are words of the user: --labels "sports,politics"
Metric   accuracy (primary), macro_f1
Explain  logit of the likeliest label, per token

An encoder answers the label whose sentence lies nearest to the text, by the cosine of both means of last states (Yin, Hay, Roth 2019,
with sentence embeddings). A model of entailment, one that has an output of this name, is asked of each label whether its sentence follows
from the text, and answers the likeliest. A language model answers the label whose sentence is made likelier most by the text before it
(Holtzman et al. 2021, "Surface form competition", section 3: the chance behind the text over the chance alone).

A label's sentence is made by a template, or is what stands behind "=": "Sci/Tech=This is news of science and technology.". On the
validation rows of ag_news_7k, descriptions alone, MiniLM is right about 61.8 % by the bare words of the four labels, 65.5 % by the
template, and 71.1 % where two labels have better words in it (world politics; science and technology; 2026-11-22).

Letters  N entries of a batch, B its rows (N = B, or B x C where each label is asked about), T tokens, C labels, V tokens that there are
"""

import re
from typing import Any, ClassVar

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from penjing.core.collate import ROW, pad
from penjing.maths.losses import cross_entropy
from penjing.tasks import OneAnswer
from penjing.tasks._language import NONE, begin_of, ids_of
from penjing.tasks._nearest import nearness, vectors

TEMPLATE, CHINESE = "This text is about {}.", "这段文字是关于{}的。"
SAID = "said"  # of an entry of a language model: how many of its last tokens are the label's sentence
ENTAILMENT = "entail"  # how the output begins that says so
_WRITERS = {name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() if isinstance(name, str)}  # GPT2LMHeadModel and the like
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")


class ZeroShotClassification(OneAnswer):
    """Of an encoder."""

    auto_model: ClassVar[Any] = AutoModel
    auto_processor, media, reads = AutoTokenizer, "text", ("last_hidden_state",)
    columns, heads, taught = {"text": str, "label": str}, ("one-label",), "text-classification"
    unknown_label = "name it in --labels"
    stages = ("evaluate", "predict", "distill")
    entails = False

    def __init__(self, labels=(), head=None):
        """labels   each a label, or label=sentence"""
        parted = [[part.strip() for part in label.split("=", 1)] for label in labels]
        super().__init__([label for label, *_ in parted], head)
        self._given, self._meant = labels, torch.empty(0)
        self._sentences = [said[0] if said else _sentence(label) for label, *said in parted]

    @property
    def outputs(self):
        return []  # the model keeps its own

    def of(self, config):
        """This task as a model of this config answers it; of what another said of the labels it knows nothing."""
        if any(name.endswith("ForCausalLM") or name in _WRITERS for name in config.get("architectures") or []):
            return _ByWriting(self._given)
        named = (config.get("id2label") or {}).items()
        yes = next((int(i) for i, name in named if str(name).lower().startswith(ENTAILMENT)), None)
        return ZeroShotClassification(self._given) if yes is None else _ByEntailment(self._given, yes)

    def encode(self, example, tokenizer):
        return {**tokenizer(example["text"], truncation=True), **self.numbered(example)}

    def collate(self, encoded, tokenizer):
        return pad(encoded, tokenizer, targets=("label",))

    def predict(self, model, batch, processor):
        if not len(self._meant):
            sentences = pad([{**processor(text, truncation=True), ROW: i} for i, text in enumerate(self._sentences)], processor)
            self._meant = vectors(model(**sentences.inputs), sentences)  # (C, D)
        return self.decode(model(**batch.inputs), batch, processor)

    def logits(self, outputs, batch):
        """(B, C), once `predict` has asked the model what the labels mean."""
        return nearness(outputs, batch, self._meant), batch.rows

    def decode(self, outputs, batch, processor):
        return self.head.decode(self.logits(outputs, batch)[0])

    def loss(self, outputs, batch):
        found = self.logits(outputs, batch)[0]
        return self.head.loss(found, batch.targets["label"][:: len(batch.rows) // len(found)])

    def length(self, encoded):
        return len(encoded["input_ids"])

    def baseline(self, rows):
        """The most frequent label, for which nothing is learnt either."""
        from sklearn.dummy import DummyClassifier  # 0.6 s

        return self.simplest(DummyClassifier())

    def show(self, example):
        return {"text": example["text"]}


class _ByEntailment(ZeroShotClassification):
    """Of a model whose output `yes` says that the second text follows from the first."""

    auto_model, reads, entails = AutoModelForSequenceClassification, ("logits",), True

    def __init__(self, labels, yes):
        super().__init__(labels)
        self._yes = yes

    def encode(self, example, tokenizer):
        pairs = (tokenizer(example["text"], sentence, truncation="only_first") for sentence in self._sentences)
        return [{**pair, **self.numbered(example)} for pair in pairs]

    def predict(self, model, batch, processor):
        return self.decode(model(**batch.inputs), batch, processor)

    def logits(self, outputs, batch):
        """(B, C)"""
        return outputs.logits[:, self._yes].unflatten(0, (-1, len(self.labels))), batch.rows[:: len(self.labels)]


class _ByWriting(ZeroShotClassification):
    """Of a language model, which is asked for each label how likely its sentence is."""

    auto_model, reads = AutoModelForCausalLM, ("logits",)

    def encode(self, example, tokenizer):
        return [{**entry, **self.numbered(example)} for entry in self._read(example["text"], tokenizer)]

    def _read(self, text, tokenizer):
        """For each label an entry: the text, cut where it leaves no room, and the sentence behind it."""
        begin, text = begin_of(tokenizer), ids_of(text, tokenizer)
        for sentence in self._sentences:
            said = ids_of(sentence if _HAN.search(sentence) else f" {sentence}", tokenizer)
            ids = [*begin, *text[: max(0, tokenizer.model_max_length - len(said) - 1)], *said][: tokenizer.model_max_length]
            yield {"input_ids": ids, "attention_mask": [1] * len(ids), SAID: len(said)}

    def collate(self, encoded, tokenizer):
        plain = [{name: value for name, value in entry.items() if name != SAID} for entry in encoded]
        batch = pad(plain, tokenizer, targets=("label",), side="right")
        return batch._replace(origin=[entry[SAID] for entry in encoded])

    def predict(self, model, batch, processor):
        if not len(self._meant):
            alone = self.collate([{**entry, ROW: i} for i, entry in enumerate(self._read("", processor))], processor)
            self._meant = _chances(model(**alone.inputs), alone)  # (C,)
        return self.decode(model(**batch.inputs), batch, processor)

    def logits(self, outputs, batch):
        """(B, C), once `predict` has asked the model how likely the sentences are alone."""
        found = _chances(outputs, batch).unflatten(0, (-1, len(self.labels)))
        return found - self._meant.to(found), batch.rows[:: len(self.labels)]


def _chances(outputs: Any, batch: Any) -> torch.Tensor:
    """(N,) log probabilities of the sentences, of which `origin` says how many of the last tokens they are; logits are (N, T, V)."""
    real = batch.inputs["attention_mask"]
    behind = real.flip(1).cumsum(1).flip(1)  # of each token how many there are from it on
    there = (real > 0) & (behind <= torch.tensor(batch.origin, device=real.device)[:, None])
    told = batch.inputs["input_ids"].where(there, NONE)[:, 1:].to(outputs.logits.device)
    return -cross_entropy(outputs.logits[:, :-1], told).total


def _sentence(label: str) -> str:
    return (CHINESE if _HAN.search(label) else TEMPLATE).format(label)


TASK = ZeroShotClassification
