"""Which topic of a collection a text is about, told by the topic's words.

Data     column `text`; also `label`, for purity, where rows have one
Metric   coherence (primary: NPMI of each two words of a topic), diversity (share of words that only one topic has), purity
Explain  likeness to the likeliest topic, per token

A text is the mean of an encoder's last states, a topic the centre of a cluster of texts, and the answer the words of the nearest centre.
`penjing cluster` makes such a model; centres and words lie in config.json, and the encoder is as it was.

Coherence is told by the rows that are measured, each a window of its own: of few or short ones it is low for any model, since words that
never meet count as -1. The baseline is measured on the same. Rows drawn anew hold fewer different ones and would make it lower still, so
it has no interval.

Letters  N texts of a batch, T tokens, D numbers of a state, K topics, W words of all topics
Source   NPMI: maths/coherence.py; diversity: Dieng, Ruiz, Blei 2020, section 5; purity: Manning, Raghavan, Schütze 2008, section 16.3
"""

import copy
import itertools
from typing import Any

import numpy
import torch
from transformers import AutoModel, AutoTokenizer

from penjing.core.collate import pad
from penjing.core.contracts import Prediction, RowLoss, Task
from penjing.maths.coherence import npmi
from penjing.tasks._nearest import SHARPNESS, nearness, vectors

TOPICS = "topics"
"""The entry of config.json: {"words": K lists, "centres": K lists of D numbers, "chinese": how Chinese is cut}."""
USUAL_TOPICS, DIGITS = 10, 6
BETWEEN = ", "  # words of a topic, which have no comma


class TopicModeling(Task):
    auto_model, auto_processor, media, reads = AutoModel, AutoTokenizer, "text", ("last_hidden_state",)
    columns, target_columns = {"text": str}, ()
    primary, of_the_whole, open_answers = "coherence", ("coherence", "diversity"), True
    stages = ("cluster", "quantize", "evaluate", "predict", "explain")
    answer = (
        "import json\nfrom pathlib import Path\n\nimport numpy\n\n"
        'topics = json.loads(Path(folder, "config.json").read_text("utf-8"))["topics"]\n'
        'sums = numpy.einsum("ntd,nt->nd", last_hidden_state, inputs["attention_mask"])  # of states; their length plays no part\n'
        'centres = numpy.array(topics["centres"])\n'
        "nearest = (sums @ (centres / numpy.linalg.norm(centres, axis=1, keepdims=True)).T).argmax(1)\n"
        'print([", ".join(topics["words"][i]) for i in nearest])'
    )
    topics: dict[str, Any] = {"words": [[]] * USUAL_TOPICS, "centres": [], "chinese": "bigrams"}

    @property
    def decision(self):
        return {TOPICS: self.topics}

    @classmethod
    def judged_by(cls):
        return ("text", "label")

    def of(self, config):
        """This task with the topics that a config holds, if it holds any."""
        return self.with_topics(config[TOPICS]) if TOPICS in config else self

    def with_topics(self, topics):
        """This task with these topics, as TOPICS describes them."""
        other = copy.copy(self)
        other.topics, other.labels = topics, [BETWEEN.join(words) or f"topic {i}" for i, words in enumerate(topics["words"], 1)]
        return other

    def with_clusters(self, texts, numbers, centres, num_words, chinese):
        """This task with a topic for each cluster: numbers (n,) say in which a text is, centres (K, D) where it lies."""
        from penjing.tasks._topics import words_of_clusters

        words = words_of_clusters(texts, numbers, num_words, chinese)
        rounded = numpy.asarray(centres, float).round(DIGITS).tolist()
        return self.with_topics({"words": words, "centres": rounded, "chinese": chinese})

    def encode(self, example, tokenizer):
        return tokenizer(example["text"], truncation=True)

    def collate(self, encoded, tokenizer):
        return pad([{**entry} for entry in encoded], tokenizer)

    def vectors(self, outputs, batch):
        """(N, D) of length 1, one for each text."""
        return vectors(outputs, batch)

    def logits(self, outputs, batch):
        return nearness(outputs, batch, torch.tensor(self.topics["centres"])), batch.rows

    def loss(self, outputs, batch):
        """How far a text is from the nearest centre, 1 - cosine: what clustering makes small."""
        apart = 1 - self.logits(outputs, batch)[0].max(-1).values / SHARPNESS
        return RowLoss(apart, torch.ones_like(apart))

    def decode(self, outputs, batch, processor):
        best = self.logits(outputs, batch)[0].softmax(-1).max(-1)
        return [Prediction(self.labels[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist())]

    def score(self, predictions, examples):
        return self.scorer(predictions, examples)(numpy.arange(len(predictions)))

    def scorer(self, predictions, examples):
        """Of the topics that are answered at all: coherence and purity by the rows, diversity of their words."""
        from penjing.tasks._topics import counter

        topics, answered = numpy.unique([p.value for p in predictions], return_inverse=True)
        words = [topic.split(BETWEEN) for topic in topics]
        vocabulary = sorted({*itertools.chain(*words)})
        there = counter(self.topics["chinese"], vocabulary).transform(example["text"] for example in examples).astype(float)  # (n, W)
        pairs = [numpy.array([*itertools.combinations(numpy.searchsorted(vocabulary, sorted(each)), 2)], int) for each in words]
        labels = [example.get("label") for example in examples]
        kinds, true = numpy.unique([str(label) for label in labels], return_inverse=True)

        def score(rows):
            times = numpy.bincount(rows, minlength=len(answered))
            meet = npmi((there.T @ there.multiply(times[:, None])).toarray() / len(rows))
            found = {
                "coherence": float(numpy.mean([meet[tuple(pair.T)].mean() for pair in pairs if len(pair)] or [-1.0])),
                "diversity": len(vocabulary) / sum(map(len, words)),
            }
            if None in labels:
                return found
            counts = numpy.zeros((len(topics), len(kinds)))
            numpy.add.at(counts, (answered[rows], true[rows]), 1)
            return {**found, "purity": float(counts.max(1).sum() / len(rows))}

        return score

    def truth(self, example):
        """No answer is right or wrong."""

    def off(self, prediction, example):
        return 0.0

    def length(self, encoded):
        return len(encoded["input_ids"])

    def baseline(self, rows):
        from penjing.tasks._topics import LDA  # scikit-learn: 0.6 s

        return LDA(len(self.topics["words"]), len(max(self.topics["words"], key=len)) or USUAL_TOPICS, self.topics["chinese"])

    def show(self, example):
        return {"text": example["text"]}


TASK = TopicModeling
