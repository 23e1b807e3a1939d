"""A first model labels the rows; a second learns from those of which the first was sure, beside the labelled ones.

Lee 2013, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks", with the threshold and the new
beginning of Xie, Luong, Hovy, Le 2020, "Self-training with noisy student improves ImageNet classification".
"""

from penjing.core.examples import Examples
from penjing.methods.semi import Functions, Trained, sure

COMPARES_VIEWS = False


def apply(functions: Functions, labelled: Examples, unlabelled: Examples, confidence: float) -> tuple[Trained, int]:
    """Two trainings; the first model is what is given back where it is sure of no row."""
    teacher = functions.train(labelled)
    answers = functions.answer(teacher, unlabelled)
    taken = sure(answers, confidence)
    if not taken:
        return teacher, 0
    return functions.train(functions.join(labelled, unlabelled.take(taken), [answers[i].value for i in taken])), len(taken)
