"""What tasks have in common that answer a text with a text: an encoder reads the one, a decoder writes the other.

Learning, the decoder is shown the right answer up to each token and tells the next. Of several right answers the first is learnt from, and
all count when answers are scored.

Letters   N = B rows of a batch, T tokens read, L tokens written, M of them that are no padding, C tokens that there are
"""

import copy
import re

import numpy
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from penjing.core.collate import ROW, pad
from penjing.core.contracts import Prediction, Task
from penjing.core.examples import Examples
from penjing.core.kinds import is_list
from penjing.maths.losses import cross_entropy

LABELS, IGNORED = "labels", -100
READ = ("input_ids", "attention_mask")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile(r"[\u3040-\u30ff]")


class TextToText(Task):
    auto_model, auto_processor, media = AutoModelForSeq2SeqLM, AutoTokenizer, "text"
    generates = open_answers = True

    def __init__(self, labels=(), head=None):
        super().__init__(labels)
        self._start = 0

    def of(self, config):
        other = copy.copy(self)
        given = (config.get(name) for name in ("decoder_start_token_id", "pad_token_id"))
        other._start = next((token for token in given if token is not None), 0)
        return other

    @classmethod
    def adapt(cls, examples):
        (target,) = cls.target_columns
        for name in {"text", target} & {*examples.columns}:
            if name not in examples.kinds and (name == target or any(map(is_list, examples.types(name)))):
                examples = gathered(examples, name, name)
        return examples, {}

    def texts(self, example):
        return [example["text"], *example.get(self.target_columns[0], [])]

    def encode(self, example, tokenizer):
        found = tokenizer(example["text"], truncation=True)
        entry = {name: found[name] for name in READ}
        if self.target_columns[0] in example:
            written = tokenizer(text_target=self.truth(example), truncation=True)["input_ids"]
            entry[LABELS] = written[1:] if written[0] == self._start else written  # it is what the decoder is shown first
        return entry

    def collate(self, encoded, tokenizer):
        batch = pad([{name: entry[name] for name in (*READ, ROW)} for entry in encoded], tokenizer)  # (B, T)
        start = torch.full((len(encoded), 1), self._start)
        if not all(LABELS in entry for entry in encoded):
            return batch._replace(inputs={**batch.inputs, "decoder_input_ids": start})
        written = [{"input_ids": entry[LABELS], "attention_mask": [1] * len(entry[LABELS]), ROW: entry[ROW]} for entry in encoded]
        labels, there = pad(written, tokenizer).inputs.values()  # (B, L)
        shown = torch.cat([start, labels[:, :-1]], 1)
        targets = {LABELS: labels.where(there.bool(), IGNORED)}
        return batch._replace(inputs={**batch.inputs, "decoder_input_ids": shown}, targets=targets)

    def loss(self, outputs, batch):
        return cross_entropy(outputs.logits, batch.targets[LABELS])

    def logits(self, outputs, batch):
        told = batch.targets[LABELS] != IGNORED
        return outputs.logits[told], batch.rows.repeat_interleave(told.sum(1).to(batch.rows.device))

    def decode(self, outputs, batch, processor):
        return [Prediction(text) for text in processor.batch_decode(outputs.logits.argmax(-1), skip_special_tokens=True)]

    def predict(self, model, batch, processor):
        asked = batch._replace(inputs={name: batch.inputs[name] for name in READ}, targets={})
        return [Prediction(text.strip()) for text in model.generate(asked, processor)]

    def score(self, predictions, examples):
        return self.scorer(predictions, examples)(numpy.arange(len(predictions)))

    def truth(self, example):
        return self.right(example)[0]

    def as_target(self, value):
        return [value]

    def right(self, example):
        """Every right answer."""
        return example[self.target_columns[0]]

    def length(self, encoded):
        return len(encoded["input_ids"]) + len(encoded.get(LABELS, ()))

    def fills_window(self, encoded, processor):
        return processor.model_max_length in (len(encoded["input_ids"]), len(encoded.get(LABELS, ())))

    def show(self, example):
        return {"text": example["text"]}


def gathered(examples: Examples, name: str, source: str) -> Examples:
    """The rows with a column made of one that holds a text, or several: `text` of its parts, another as a list of right answers."""
    held = examples.column(source) if len(examples.types(source)) == 1 else [row[source] for row in examples.only([source])]
    several = [value if isinstance(value, list) else [] if value is None else [str(value)] for value in held]
    if name == "text":
        return examples.with_column(name, [" ".join(filter(None, parts)) for parts in several], str, source)
    return examples.with_column(name, several, list, source)


def is_chinese(text: str) -> bool:
    """Whether it is written in Chinese, and not in Japanese, which has some of its characters."""
    return len(_HAN.findall(text)) > len(text) / 4 and not _KANA.search(text)
