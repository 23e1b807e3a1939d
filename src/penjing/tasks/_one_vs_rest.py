"""The baseline of rows that have many labels.

Letters   n rows, C labels
"""

import warnings

import numpy
from sklearn.base import BaseEstimator
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

HELD_OUT = 5  # every fifth row


class OneVsRest(BaseEstimator):
    """A classifier for each label, over lists of labels; one threshold for all, chosen as a model's is, on rows held out of its own."""

    def __init__(self, labels: list[str], classifier: BaseEstimator):
        self.labels, self.classifier = labels, classifier

    def fit(self, features, sets):
        self.binarizer_ = MultiLabelBinarizer(classes=self.labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a label that all of these rows have, or none: it is answered so
            table, held = self.binarizer_.fit_transform(sets), numpy.arange(len(sets)) % HELD_OUT == 0
            self.model_ = OneVsRestClassifier(self.classifier).fit(features[~held], table[~held])
        self.threshold_ = _best_threshold(self.model_.decision_function(features[held]), table[held])
        return self

    def predict(self, features):
        return [
            list(labels) for labels in self.binarizer_.inverse_transform(1 * (self.model_.decision_function(features) >= self.threshold_))
        ]


def _best_threshold(values: numpy.ndarray, table: numpy.ndarray) -> float:
    """The value from which on labels are answered for the best micro F1.

    values, table   (n, C), the second of 0 and 1
    """
    order = numpy.argsort(-values, axis=None)
    hits = numpy.cumsum(table.ravel()[order])
    f1 = 2 * hits / (numpy.arange(1, len(order) + 1) + table.sum())
    return float(values.ravel()[order[f1.argmax()]])
