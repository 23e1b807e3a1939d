"""A tag for each word: parts of speech, or entities spelt by BIO or BIOES tags.

Data     columns `tokens`, `tags` (lists of one length; `ner_tags` and the like too, where there is but one); or `text`, and `spans` of it
         (start, end, label), which become words and BIO tags
Metric   word_accuracy; where all tags are BIO or BIOES entity_f1, entity_precision and entity_recall, micro, as conlleval counts
Explain  logit of the likeliest tag, summed over words or of one of them, per token

A word is answered at its first piece, the others have no part in the loss. Words that give no piece become the unknown token. A row longer
than the model's window is read in windows that overlap by a quarter; each word is answered where it has most of the row around it. The
answer is the best chain of tags (tasks/_transitions.py), whose weight is chosen on tune rows; with weight 0, each word's likeliest.

Letters  N windows of a batch, B its rows (B <= N), T tokens, M words of all rows, C tags
Source   Devlin, Chang, Lee, Toutanova 2019, sections 5.3 and A.5: first pieces
"""

import copy
import itertools
import math
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification, AutoTokenizer

from penjing.core.collate import pad
from penjing.core.contracts import Batch, Prediction, RowLoss, Task
from penjing.core.examples import spread
from penjing.maths.losses import cross_entropy
from penjing.tasks._rows_of_words import from_text, misfits
from penjing.tasks._spans import repaired, spans, spell_spans
from penjing.tasks._transitions import WEIGHTS, best_chain, counted
from penjing.tasks._words import cut, placed, spaced

TRANSITIONS = "tag_transitions"  # in config.json
MOST_ROWS = 20_000  # in which they are counted
OVERLAP = 4  # of so many parts of a window its neighbour has one too
_ANSWERED, _TAGS, _WINDOWS = "answered", "tags", "windows"  # of an encoded entry, beside what the model sees


class Answered(NamedTuple):
    """The words that one window answers, in their order, and the position of the first piece of each."""

    words: list[int]
    positions: list[int]


class TokenClassification(Task):
    auto_model, auto_processor, media = AutoModelForTokenClassification, AutoTokenizer, "text"
    columns, target_columns = {"tokens": list, "tags": list}, ("tags",)
    usable = "a tag for each word, a span of whole words"
    at_limit = "they were read in overlapping windows, and no word was left out"
    question = ('[["Any", " words", " ."]]', ", is_split_into_words=True, truncation=True")  # as `encode` has them
    answer = (
        "words = inputs.word_ids(0)  # of each piece; a word was given with the space before it, and has the tag of its first piece\n"
        "firsts = [i for i, word in enumerate(words) if word is not None and word not in words[:i]]\n"
        "print([{label} for i in logits[0, firsts].argmax(-1).tolist()])"
    )

    def __init__(self, labels=(), head=None):
        super().__init__(labels)
        self._place = {label: i for i, label in enumerate(labels)}
        self.spells_entities = spell_spans(self.labels)
        self.primary = "entity_f1" if self.spells_entities else "word_accuracy"
        self._counted: Any = None  # (C + 1, C) of transitions
        self._follows: Any = None  # the same times their weight; None where that is 0

    @property
    def decision(self):
        return {TRANSITIONS: [] if self._follows is None else numpy.round(self._follows, 3).tolist()}

    def of(self, config):
        return self._chained(numpy.array(config.get(TRANSITIONS) or []))

    def ways(self):
        return [self] if self._counted is None else [self._chained(weight * self._counted) for weight in WEIGHTS]

    def learn_decision(self, examples):
        other, chosen = copy.copy(self), spread(len(examples), min(len(examples), MOST_ROWS))
        other._counted = counted(([self._place[tag] for tag in examples[int(i)]["tags"]] for i in chosen), len(self.labels))
        return other

    def _chained(self, follows):
        """This task with weighted transitions; with none where they are all 0, or those of other labels."""
        other = copy.copy(self)
        other._follows = follows if follows.shape == (len(self.labels) + 1, len(self.labels)) and follows.any() else None
        return other

    @classmethod
    def adapt(cls, examples):
        if "tokens" not in examples.columns and "text" in examples.columns:
            return from_text(examples)
        named = [name for name in examples.columns if name.endswith("_tags")]  # ner_tags, pos_tags: as the hub names them
        if "tags" not in examples.columns and len(named) == 1:
            examples = examples.rename({named[0]: "tags"})
        return examples, misfits(examples)

    def row_of(self, text):
        return {"text": text, "tokens": [word for word, _ in cut(text)]}

    def texts(self, example):
        return ["".join(spaced(example["tokens"]))]

    def encode(self, example, tokenizer):
        found = _pieces(spaced(example["tokens"]), tokenizer)
        windows = [[-1 if word is None else word for word in encoding.word_ids] for encoding in found.encodings]
        entries = []
        for i, answered in enumerate(_shared_out(windows)):
            if not answered.words:  # it lies within a word that is longer than a window
                continue
            entry = {name: found[name][i] for name in tokenizer.model_input_names} | {_ANSWERED: answered, _WINDOWS: len(windows)}
            if "tags" in example:
                entry[_TAGS] = [self._place[example["tags"][word]] for word in answered.words]
            entries.append(entry)
        return entries

    def collate(self, encoded, tokenizer):
        reserved = (_ANSWERED, _TAGS, _WINDOWS)
        batch = pad([{name: value for name, value in entry.items() if name not in reserved} for entry in encoded], tokenizer)
        name = tokenizer.model_input_names[0]
        padding = [(batch.inputs[name].shape[1] - len(entry[name])) * (tokenizer.padding_side == "left") for entry in encoded]
        origin = [Answered(e[_ANSWERED].words, [p + before for p in e[_ANSWERED].positions]) for e, before in zip(encoded, padding)]
        labelled = all(_TAGS in entry for entry in encoded)
        targets = {"tags": torch.tensor([tag for entry in encoded for tag in entry[_TAGS]])} if labelled else {}  # (M,)
        return batch._replace(targets=targets, origin=origin)

    def loss(self, outputs, batch):
        each = cross_entropy(_of_words(outputs.logits, batch), batch.targets["tags"])
        places = _places(batch).to(each.total.device)
        rows = int(places[-1]) + 1
        return RowLoss(*(torch.zeros(rows, dtype=x.dtype, device=x.device).index_add(0, places, x) for x in each))

    def logits(self, outputs, batch):
        owners = [row for row, answered in zip(batch.rows.tolist(), batch.origin) for _ in answered.words]
        return _of_words(outputs.logits, batch), torch.tensor(owners)

    def decode(self, outputs, batch, processor):
        scores = _of_words(outputs.logits, batch).detach().float().log_softmax(-1).cpu().numpy()  # (M, C)
        ends = numpy.flatnonzero(numpy.diff(_places(batch).numpy())) + 1
        answers = []
        for each in numpy.split(scores, ends):
            tags = each.argmax(-1) if self._follows is None else best_chain(each, self._follows)
            chance = math.exp(each[numpy.arange(len(each)), tags].sum())  # that all are right, taken as independent
            answers.append(Prediction(self._usual([self.labels[tag] for tag in tags]), chance))
        return answers

    def score(self, predictions, examples):
        return self.scorer(predictions, examples)(numpy.arange(len(predictions)))

    def scorer(self, predictions, examples):
        """Counts of each row once, by hand: seqeval takes 0.1 s for 1,000 rows, and a bootstrap asks 1,000 times."""
        counts = numpy.array([self._counts(p.value, self.truth(example)) for p, example in zip(predictions, examples)])

        def score(rows):
            words, right, said, true, hits = counts[rows].sum(0).tolist()
            entities = {
                "entity_f1": 2 * hits / max(said + true, 1),
                "entity_precision": hits / max(said, 1),
                "entity_recall": hits / max(true, 1),
            }
            return {**(entities if self.spells_entities else {}), "word_accuracy": right / words}

        return score

    def _counts(self, said, true):
        """Words, those that are right, entities answered, those that are there, those in both."""
        words = len(true), sum(a == b for a, b in zip(said, true))
        if not self.spells_entities:
            return *words, 0, 0, 0
        answered, there = spans(said), spans(true)
        return *words, len(answered), len(there), len({*answered} & {*there})

    def confusion(self, predictions, examples):
        """Of words."""
        counts = numpy.zeros((len(self.labels), len(self.labels)), int)
        for prediction, example in zip(predictions, examples):
            for said, true in zip(prediction.value, self.truth(example)):
                counts[self._place[true], self._place[said]] += 1
        return counts.tolist()

    def labels_of(self, example):
        return example["tags"]

    def truth(self, example):
        """The tags; of other spellings of entities, as IOB1, in the usual one so far as its tags are known."""
        return self._usual(example["tags"])

    def off(self, prediction, example):
        true = self.truth(example)
        return 1 - sum(a == b for a, b in zip(prediction.value, true)) / len(true)

    def _usual(self, tags):
        return repaired(tags, self._place) if self.spells_entities else list(tags)

    def length(self, encoded):
        return len(encoded["input_ids"])

    def fills_window(self, encoded, processor):
        return encoded[_WINDOWS] > 1

    def baseline(self, rows):
        from penjing.tasks._linear_tagger import LinearTagger  # scikit-learn: 0.6 s

        return LinearTagger()

    def show(self, example):
        return {"text": example.get("text") or "".join(spaced(example["tokens"]))}

    def details(self, value, example):
        """`words`; of entities their label, words and, where the row has its text, place there; `told` is the answer in a line."""
        words, text = example["tokens"], example.get("text")
        if not self.spells_entities:
            return {"told": " ".join(f"{word}/{tag}" for word, tag in zip(words, value)), "words": words}
        places = placed(words, text) if text else None
        entities = [_entity(span, words, text, places) for span in spans(value)]
        return {"told": "; ".join(f"{e['text']}: {e['label']}" for e in entities) or "none", "words": words, "entities": entities}


def _entity(span, words, text, places) -> dict[str, Any]:
    found: dict[str, Any] = {"label": span.label, "start_word": span.first, "end_word": span.end}
    if places is None:
        return {**found, "text": "".join(spaced(words[span.first : span.end]))}
    start, end = places[span.first][0], places[span.end - 1][1]
    return {**found, "text": text[start:end], "start": start, "end": end}


def _pieces(words: list[str], tokenizer: Any) -> Any:
    """What a tokenizer gives for words, a window each where they are many; every word has a piece."""
    most = tokenizer.model_max_length
    inside = most - tokenizer.num_special_tokens_to_add(pair=False)
    how = {"is_split_into_words": True, "truncation": True, "stride": inside // OVERLAP, "return_overflowing_tokens": True}
    found = tokenizer(words, **how)
    heard = {word for encoding in found.encodings for word in encoding.word_ids}
    if len(heard - {None}) == len(words):
        return found
    return tokenizer([word if i in heard else tokenizer.unk_token or "?" for i, word in enumerate(words)], **how)


def _shared_out(windows: list[list[int]]) -> list[Answered]:
    """Which window answers which words.

    windows   the word of each token of each window, -1 for special tokens; neighbours overlap

    A window but the first may begin within a word, so its first token begins none: that word stands in the window before it as well.
    """
    best: dict[int, tuple[float, int, int]] = {}
    for number, words in enumerate(windows):
        inside = [i for i, word in enumerate(words) if word >= 0]
        for i in inside:
            if words[i] != words[i - 1] if i > inside[0] else number == 0:
                left = math.inf if number == 0 else i - inside[0]
                right = math.inf if number == len(windows) - 1 else inside[-1] - i
                best[words[i]] = max(best.get(words[i], (-1, 0, 0)), (min(left, right), -number, i))
    answered = [Answered([], []) for _ in windows]
    for word, (_, number, position) in sorted(best.items()):
        answered[-number].words.append(word)
        answered[-number].positions.append(position)
    return answered


def _of_words(logits: Tensor, batch: Batch) -> Tensor:
    """(N, T, C) -> (M, C): at the first piece of each word."""
    entries = [i for i, answered in enumerate(batch.origin) for _ in answered.words]
    return logits[entries, [position for answered in batch.origin for position in answered.positions]]


def _places(batch: Batch) -> Tensor:
    """(M,) which of the batch's rows each word belongs to, from 0; a copy of a row is a row of its own."""
    places = itertools.accumulate(answered.words[0] == 0 for answered in batch.origin)
    return torch.tensor([place - 1 for place, answered in zip(places, batch.origin) for _ in answered.words])


TASK = TokenClassification
