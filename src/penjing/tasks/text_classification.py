"""One label for each text, many labels, or a number: sentiment, topics, intents, ratings.

Data     columns `text`, `label` (text; a list; a number)    Metric   accuracy and macro_f1; micro_f1, macro_f1; r2, spearman, mae
Explain  logit of the likeliest label, per token             Letters  B rows, T tokens, C outputs
"""

import re

from transformers import AutoModelForSequenceClassification, AutoTokenizer

from penjing.core.collate import pad
from penjing.tasks import OneAnswer

MOST_FEATURES = 1 << 18  # words and pairs of words of the baseline, the most frequent: fitting it holds 200 bytes for each and each label


class TextClassification(OneAnswer):
    auto_model, auto_processor, media = AutoModelForSequenceClassification, AutoTokenizer, "text"
    columns = {"text": str, "label": str}

    def encode(self, example, tokenizer):
        return {**tokenizer(example["text"], truncation=True), **self.numbered(example)}

    def collate(self, encoded, tokenizer):
        return pad(encoded, tokenizer, targets=("label",))  # inputs (B, T), label (B,)

    def length(self, encoded):
        return len(encoded["input_ids"])

    def baseline(self, rows):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import FunctionTransformer

        return self.simplest(
            FunctionTransformer(_texts),
            TfidfVectorizer(
                tokenizer=words, token_pattern=None, lowercase=True, ngram_range=(1, 2), sublinear_tf=True, max_features=MOST_FEATURES
            ),
            LogisticRegression(C=10.0, max_iter=1000),
        )

    def show(self, example):
        return {"text": example["text"]}


def words(text: str) -> list[str]:
    """Words, and each Chinese or Japanese character on its own, so that pairs of them are the usual character bigrams."""
    return _WORD.findall(text)


_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[!?！？]")


def _texts(examples):
    return [example["text"] for example in examples]


TASK = TextClassification
