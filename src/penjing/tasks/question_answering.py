"""The words of a text that answer a question, or that there are none.

Data     columns `question`, `context`, `answers`: {"text": [...], "answer_start": [...]} as in SQuAD, several where all are right, none
         where the context does not tell; or `answer`, a text that occurs once in its context
Metric   f1, words shared with the answer that is most like it; exact_match. As SQuAD counts them, Chinese by character as CMRC 2018 does
Explain  logits of the first and the last token of the answer, in the window that tells it

A context longer than the model's window is read in windows that overlap by a third, each beside the whole question; the surest answer
counts. "None" is the first token of a window as start and end. It is answered where its chance against the best answer is above a
threshold, that of the best F1 on tune rows.

Letters  N windows of a batch, B its rows (B <= N), T tokens
Source   Devlin, Chang, Lee, Toutanova 2019, sections 4.2 and 4.3; Rajpurkar, Jia, Liang 2018, "Know what you don't know"
"""

import copy
import math
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from penjing.core.collate import pad
from penjing.core.contracts import IMPOSSIBLE, Batch, Prediction, RowLoss, Task
from penjing.maths.losses import cross_entropy
from penjing.tasks._answers import NONE, Span, cut_around, exact, f1, located, references, span

OVERLAP = 3  # of so many parts of a window its neighbour has one too
MOST_QUESTION = 2  # a question takes one of so many parts of the window at most
THRESHOLD = "no_answer_threshold"
"""The entry of config.json that holds the chance of none above which none is answered; at 1 it never is."""
_STEPS = (0.1, 0.2, 0.3, 0.4, 0.45, 0.49, 0.499, 0.4999)
THRESHOLDS = (1.0, 0.5, *(round(0.5 + sign * step, 4) for step in _STEPS for sign in (-1, 1)), 0.0)
"""Those that are tried; of equally good ones the first is taken."""
NOTHING = -1  # in `choice`, of a window that does not tell the answer
_WINDOW, _SPAN = "window", "span"  # of an encoded entry, beside what the model sees


class Window(NamedTuple):
    """A part of a context.

    context    the whole of it
    number     of this window among those of its row
    places     (T,) where each token begins and ends in the context, None for one that is not of it
    none       the token that stands for no answer
    """

    context: str
    number: int
    places: list[tuple[int, int] | None]
    none: int


class Told(NamedTuple):
    """The answer to a row: the entry of the batch that tells it, its first and last token there, None for no answer, and its chance."""

    window: int
    tokens: tuple[int, int] | None
    chance: float


class QuestionAnswering(Task):
    auto_model, auto_processor, media = AutoModelForQuestionAnswering, AutoTokenizer, "text"
    reads, open_answers = ("start_logits", "end_logits"), True
    columns, target_columns, fixed = {"question": str, "context": str, "answers": dict}, ("answers",), ("context",)
    usable = 'answers that are parts of their context: {"text": ["an answer"], "answer_start": [12]}, or {"text": [], "answer_start": []}'
    primary = "f1"
    at_limit = "their contexts were read in overlapping windows, and no word was left out; a question has half of a window at most"
    question = ('"What is asked?", "A text that may tell."', ', truncation="only_second"')
    answer = (
        "places = [0, *(i for i, part in enumerate(inputs.sequence_ids(0)) if part == 1)]  # 0 is no word: the text does not tell\n"
        "first = max(places, key=lambda i: float(start_logits[0, i]))\n"
        "last = max((i for i in places if i >= first), key=lambda i: float(end_logits[0, i]))\n"
        'print(processor.decode(inputs["input_ids"][0][first : last + 1], skip_special_tokens=True))'
    )

    def __init__(self, labels=(), head=None):
        super().__init__()
        self.threshold = 0.5

    @property
    def decision(self):
        return {THRESHOLD: self.threshold}

    def of(self, config):
        other = copy.copy(self)
        other.threshold = config.get(THRESHOLD, 0.5)
        return other

    def ways(self):
        return [self.of({THRESHOLD: threshold}) for threshold in THRESHOLDS]

    @property
    def outputs(self):
        return ["start", "end"]

    @classmethod
    def adapt(cls, examples):
        return located(examples)

    def encode(self, example, tokenizer):
        found = _read(example["question"], example["context"], tokenizer)
        entries = []
        for i, encoding in enumerate(found.encodings):
            places = [place if part == 1 else None for part, place in zip(encoding.sequence_ids, encoding.offsets)]
            ids = found["input_ids"][i]
            window = Window(example["context"], i, places, ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0)
            entry = {name: found[name][i] for name in tokenizer.model_input_names} | {_WINDOW: window}
            if "answers" in example:
                entry[_SPAN] = _tokens(window, references(example))
            entries.append(entry)
        return entries

    def collate(self, encoded, tokenizer):
        batch = pad([{name: value for name, value in entry.items() if name not in (_WINDOW, _SPAN)} for entry in encoded], tokenizer)
        length = batch.inputs[tokenizer.model_input_names[0]].shape[1]
        padding = [(length - len(entry[_WINDOW].places)) * (tokenizer.padding_side == "left") for entry in encoded]
        origin = [
            window._replace(places=[*[None] * before, *window.places], none=window.none + before)
            for window, before in zip((entry[_WINDOW] for entry in encoded), padding)
        ]
        labelled = all(_SPAN in entry for entry in encoded)
        ends = torch.tensor([[token + before for token in entry[_SPAN]] for entry, before in zip(encoded, padding)]) if labelled else None
        targets = {} if ends is None else {"start": ends[:, 0], "end": ends[:, 1]}  # (N,) each
        return batch._replace(targets=targets, origin=origin)

    def loss(self, outputs, batch):
        start, end = (cross_entropy(logits, batch.targets[name]) for name, logits in zip(("start", "end"), _possible(outputs, batch)))
        places = _places(batch).to(start.total.device)
        rows = int(places[-1]) + 1
        both = start.total + end.total, start.count + end.count
        return RowLoss(*(torch.zeros(rows, dtype=x.dtype, device=x.device).index_add(0, places, x) for x in both))

    def logits(self, outputs, batch):
        return torch.stack(_possible(outputs, batch), 1).flatten(0, 1), batch.rows.repeat_interleave(2)

    def choice(self, outputs, batch):
        """The first and the last token of what is told, or twice that of none, in the window that tells it; NOTHING in the others."""
        tokens = torch.full((len(batch.origin), 2), NOTHING)
        for told in self._told(outputs, batch):
            none = batch.origin[told.window].none
            tokens[told.window] = torch.tensor(told.tokens or (none, none))
        return tokens.flatten().to(outputs.start_logits.device)

    def decode(self, outputs, batch, processor):
        answers = []
        for told in self._told(outputs, batch):
            if told.tokens:
                context, _, places, _ = batch.origin[told.window]
                answers.append(Prediction(span(context, *(places[token][end] for end, token in enumerate(told.tokens))), told.chance))
            else:
                answers.append(Prediction(NONE, told.chance))
        return answers

    def _told(self, outputs: Any, batch: Batch) -> list[Told]:
        """For each row the surest answer of its windows, or that there is none."""
        first, last, answered, none = (found.tolist() for found in _best(outputs, batch))
        rows: list[list[int]] = []
        for entry, window in enumerate(batch.origin):
            if window.number == 0:
                rows.append([])
            rows[-1].append(entry)
        found = []
        for windows in rows:
            best, least = max(windows, key=lambda i: answered[i]), min(windows, key=lambda i: none[i])
            chance = 1 / (1 + math.exp(min(answered[best] - none[least], 700.0)))
            if chance > self.threshold or answered[best] < IMPOSSIBLE / 2:  # a context may have no tokens
                found.append(Told(least, None, chance))
            else:
                found.append(Told(best, (first[best], last[best]), math.exp(answered[best])))
        return found

    def score(self, predictions, examples):
        return self.scorer(predictions, examples)(numpy.arange(len(predictions)))

    def scorer(self, predictions, examples):
        pairs = [(p.value, references(example)) for p, example in zip(predictions, examples)]
        found = {name: numpy.array([metric(*pair) for pair in pairs]) for name, metric in (("f1", f1), ("exact_match", exact))}
        return lambda rows: {name: float(values[rows].mean()) for name, values in found.items()}

    def per_row(self, predictions, examples):
        return [f1(p.value, references(example)) for p, example in zip(predictions, examples)]

    def labels_of(self, example):
        return []

    def truth(self, example) -> Span:
        """The first of the right answers."""
        return next(iter(references(example)), NONE)

    def as_target(self, value):
        return {"text": [value["text"]], "answer_start": [value["start"]]} if value["text"] else {"text": [], "answer_start": []}

    def off(self, prediction, example):
        return 1 - f1(prediction.value, references(example))

    def length(self, encoded):
        return len(encoded["input_ids"])

    def fills_window(self, encoded, processor):
        return encoded[_WINDOW].number > 0

    def baseline(self, rows):
        from penjing.tasks._likest_sentence import LikestSentence  # scikit-learn: 0.6 s

        return LikestSentence()

    def show(self, example):
        return {"text": f"{example['question']} … {cut_around(example)}"}

    def details(self, value, example):
        return {"told": value["text"] or "no answer"}


def _read(question: str, context: str, tokenizer: Any) -> Any:
    """What a tokenizer gives for a context beside its question, a window each where it is long."""
    inside = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add(pair=True)
    asked = tokenizer(question, add_special_tokens=False, verbose=False).encodings[0].offsets
    most = inside // MOST_QUESTION
    if len(asked) > most:
        question, asked = question[: asked[most - 1][1]], asked[:most]
    how = {"truncation": "only_second", "return_overflowing_tokens": True, "stride": (inside - len(asked)) // OVERLAP}
    return tokenizer(question, context, **how)


def _tokens(window: Window, right: list[Span]) -> tuple[int, int]:
    """First and last token of the first answer that lies in the window; those of none otherwise."""
    there = [(i, place) for i, place in enumerate(window.places) if place is not None and place[1] > place[0]]
    for answer in right if there else []:
        if there[0][1][0] <= answer["start"] and answer["end"] <= there[-1][1][1]:
            touched = [i for i, (start, end) in there if start < answer["end"] and answer["start"] < end]
            if touched:
                return touched[0], touched[-1]
    return window.none, window.none


def _possible(outputs: Any, batch: Batch) -> list[Tensor]:
    """(N, T) logits of start and end, IMPOSSIBLE but for tokens of the context and that of none."""
    size = outputs.start_logits.shape[1]
    allowed = [[place is not None or i == window.none for i, place in enumerate(window.places)] for window in batch.origin]
    padded = torch.tensor([[*row, *[False] * (size - len(row))] for row in allowed]).to(outputs.start_logits.device)
    return [logits.masked_fill(~padded, IMPOSSIBLE) for logits in (outputs.start_logits, outputs.end_logits)]


def _best(outputs: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(N,) each: first and last token of the likeliest answer of a window, the logarithms of its chance and of that of none."""
    start, end = (logits.float().log_softmax(-1) for logits in _possible(outputs, batch))
    none = torch.tensor([[window.none] for window in batch.origin]).to(start.device)
    missing = (start.gather(1, none) + end.gather(1, none))[:, 0]
    start, end = (chances.scatter(1, none, 2 * IMPOSSIBLE) for chances in (start, end))
    behind = end.flip(1).cummax(1)  # the best end at or behind each token
    lasts = end.shape[1] - 1 - behind.indices.flip(1)
    answered, first = (start + behind.values.flip(1)).max(1)
    return first, lasts.gather(1, first[:, None])[:, 0], answered, missing


def _places(batch: Batch) -> Tensor:
    """(N,) which of the batch's rows each window belongs to, from 0; a copy of a row is a row of its own."""
    return torch.tensor([window.number == 0 for window in batch.origin]).cumsum(0) - 1


TASK = QuestionAnswering
