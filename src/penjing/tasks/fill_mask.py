"""Masked tokens: an encoder tells hidden tokens from those around them; how it is pretrained on text without labels.

Data     column `text`                                   Metric   accuracy of masked tokens (primary), perplexity
Explain  log probability of the tokens that are told, or of one of them

Of the tokens of a text 15 % are to be told: 80 % of them are masked, 10 % become another token, 10 % stay. In training every epoch draws
anew, by seed, epoch and row; measured are draws of which the text is the key. Asked is a text with the tokenizer's own mask, "[MASK]": the
answer is the text with the likeliest tokens in their places. A text longer than the model's window is read in windows.

Source   Devlin, Chang, Lee, Toutanova 2019, section 3.1 and A.1
"""

import zlib

import numpy
from transformers import AutoModelForMaskedLM

from penjing.core.contracts import Prediction, Task
from penjing.core.errors import DataError
from penjing.tasks._language import INPUTS, NONE, SIZE, TOKENS, Language, ids_of, token_of

ASKED = "asked"  # of a row and of its entry: the text with masks
SHARE = 0.15  # of tokens that are told
MASKED, OTHER = 0.8, 0.1  # of these


class FillMask(Language):
    auto_model, draws = AutoModelForMaskedLM, True
    errors = ("perplexity",)
    question = ('["A " + processor.mask_token + " of text."]', ", truncation=True")
    answer = 'print(processor.batch_decode(logits[(inputs["input_ids"] == processor.mask_token_id)].argmax(-1)))  # the masked tokens'

    def row_of(self, text):
        return {ASKED: text}

    def asked(self, example):
        return {ASKED: example["text"]}

    def read_texts(self, example):
        return {ASKED: example[ASKED]}

    def encode(self, example, tokenizer):
        room = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
        if ASKED in example:
            ids = ids_of(example[ASKED], tokenizer)
            if _mask(tokenizer) not in ids[:room]:
                raise DataError(
                    f"{example[ASKED][:60]!r} has no {tokenizer.mask_token}" + (" where it is read" if _mask(tokenizer) in ids else ""),
                    wanted=f"a text with {tokenizer.mask_token} where a word is to be told",
                    fix="write it there",
                )
            begin, end = _frame(tokenizer)
            return {INPUTS: begin + ids[:room] + end, ASKED: example["asked"]}
        there = numpy.array(ids_of(example["text"], tokenizer))
        key = example.get("draw", [zlib.crc32(example["text"].encode())])
        pieces = numpy.split(there, range(room, len(there), room)) if len(there) else [numpy.array([tokenizer.unk_token_id])]
        return [self._hidden(piece, tokenizer, [*key, number]) for number, piece in enumerate(pieces)]

    def truth(self, example):
        return super().truth(example)._replace(bytes=0)

    def stream(self, examples, processor):
        found = processor([example["text"] for example in examples], add_special_tokens=False, verbose=False)[INPUTS]
        return [ids + ([] if "before" in example else [processor.sep_token_id]) for ids, example in zip(found, examples)]

    def block(self, tokens, processor, draw):
        return self._hidden(tokens[:-1].astype(numpy.int64), processor, draw)

    def _hidden(self, ids, tokenizer, key):
        """A piece of text (T,) as an entry; at least one of its tokens is to be told."""
        draw = numpy.random.default_rng(key)
        free = ~numpy.isin(ids, tokenizer.all_special_ids)
        fate = numpy.where(free if free.any() else True, draw.random(len(ids)), 2)
        told = fate < max(SHARE, fate.min() + 1e-12)
        fate = draw.random(len(ids))
        seen = numpy.where(told & (fate < MASKED), _mask(tokenizer), ids)
        other = draw.integers(len(tokenizer.all_special_ids), len(tokenizer), len(ids))
        seen = numpy.where(told & (fate >= MASKED) & (fate < MASKED + OTHER), other, seen)
        begin, end = _frame(tokenizer)
        tokens = [NONE] * len(begin) + numpy.where(told, ids, NONE).tolist() + [NONE] * len(end)
        return {INPUTS: begin + seen.tolist() + end, TOKENS: tokens, SIZE: 0, "masked": True}

    def collate(self, encoded, tokenizer):
        batch = super().collate(encoded, tokenizer)
        if batch.targets:
            return batch
        return batch._replace(origin=[entry[ASKED] for entry in encoded], told=batch.inputs[INPUTS] == _mask(tokenizer))

    def logits(self, outputs, batch):
        if batch.targets:
            return super().logits(outputs, batch)
        return outputs.logits[batch.told], batch.rows[batch.told.cpu().nonzero()[:, 0]]

    def choice(self, outputs, batch):
        return super().choice(outputs, batch) if batch.targets else Task.choice(self, outputs, batch)

    def target(self, outputs, batch, part=None, choice=None):
        """(B,) the log probability of what is told; of a text with masks the logits of what would fill them."""
        return super().target(outputs, batch, part, choice) if batch.targets else Task.target(self, outputs, batch, part, choice)

    def predict(self, model, batch, processor):
        if batch.targets:
            return super().predict(model, batch, processor)
        best = model(**batch.inputs).logits.float().softmax(-1).max(-1)
        masked = batch.told.to(best.values.device)
        answers = []
        for text, places, tokens, chances in zip(batch.origin, masked, best.indices, best.values):
            for token in tokens[places].tolist():
                text = text.replace(processor.mask_token, processor.decode([token]).strip().removeprefix("##"), 1)
            answers.append(Prediction(text, chances[places].prod().item()))
        return answers


def _frame(tokenizer):
    """The special tokens that stand before and behind a text."""
    both = tokenizer("")[INPUTS]
    return both[: len(both) // 2], both[len(both) // 2 :]


def _mask(tokenizer):
    return token_of(tokenizer, "mask", "mask", "use a model that was pretrained on masked tokens, or pretrain new:<size>")


TASK = FillMask
