"""Topics as words: how texts are cut, which words stand for a cluster, and how good topics are."""

import numpy
import pytest
from sklearn.metrics.cluster import contingency_matrix

from penjing.core.contracts import Prediction
from penjing.core.errors import MissingExtra
from penjing.core.find import find
from penjing.tasks import _topics
from penjing.tasks._topics import LDA, terms, words_of_clusters

TOPICS = {"words": [["cup", "goal"], ["vote", "law"]], "centres": [[1.0, 0.0], [0.0, 1.0]], "chinese": "bigrams"}
SPORT, STATE = "cup, goal", "vote, law"


def test_texts_are_cut_into_words_without_the_most_usual_and_chinese_into_pairs_of_characters():
    assert terms("The 2 Cups and a goal-line; O'Neill's café", "bigrams") == ["cups", "goal-line", "o'neill's", "café"]
    assert terms("iPhone手机很好，快递。a我", "bigrams") == ["iphone", "手机", "机很", "很好", "快递"]


def test_chinese_words_need_a_library_and_say_which(monkeypatch):
    pytest.importorskip("rjieba")
    assert terms("北京天安门很漂亮", "words") == ["北京", "天安门", "很漂亮"]
    monkeypatch.setitem(__import__("sys").modules, "rjieba", None)
    with pytest.raises(MissingExtra, match="needs rjieba"):
        terms("北京天安门", "words")


def test_the_words_of_a_cluster_are_those_that_it_has_and_the_others_have_not():
    """Planted: "match" in all texts of cluster 0 alone, "said" in all of both."""
    draw = numpy.random.default_rng(0)
    numbers = draw.integers(0, 2, 300)
    planted = (("match", "player", "team"), ("bank", "share", "price"))
    texts = [f"said {planted[n][0]} {' '.join(draw.choice(planted[n][1:], 1))} word{draw.integers(100)}" for n in numbers]
    found = words_of_clusters(texts, numbers, 3, "bigrams")
    assert found[0][0] == "match" and found[1][0] == "bank"
    assert [set(words) for words in found] == [set(words) for words in planted]


def test_a_cluster_without_words_of_its_own_has_fewer():
    assert words_of_clusters(["same words", "same words"], numpy.array([0, 1]), 5, "bigrams") == [[], []]


@pytest.fixture
def judged():
    """(task, answers, rows with labels)"""
    task = find("tasks", "topic-modeling").TASK().of({"topics": TOPICS})
    texts = ["cup goal", "cup goal day", "cup rain", "vote law", "vote", "law day", "nothing here"]
    labels = ["s", "s", "w", "p", "p", "s", "p"]
    answers = [Prediction(topic) for topic in (SPORT, SPORT, SPORT, STATE, STATE, STATE, SPORT)]
    return task, answers, [{"text": text, "label": label} for text, label in zip(texts, labels)]


def test_coherence_is_the_mean_over_topics_and_purity_that_of_the_contingency_table(judged):
    task, answers, rows = judged
    found = task.score(answers, rows)

    def of(joint, a, b):
        return numpy.log(joint / (a * b)) / -numpy.log(joint)

    assert found["coherence"] == pytest.approx((of(2 / 7, 3 / 7, 2 / 7) + of(1 / 7, 2 / 7, 2 / 7)) / 2)
    table = contingency_matrix([row["label"] for row in rows], [answer.value for answer in answers])
    assert found["purity"] == pytest.approx(table.max(0).sum() / len(rows)) and found["diversity"] == 1.0


def test_drawn_rows_score_as_the_rows_themselves(judged):
    task, answers, rows = judged
    drawn = numpy.array([0, 0, 1, 3, 3, 5, 6])
    again = task.score([answers[i] for i in drawn], [rows[i] for i in drawn])
    assert task.scorer(answers, rows)(drawn) == pytest.approx(again)


def test_rows_without_labels_have_no_purity_and_shared_words_lower_diversity(judged):
    task, answers, rows = judged
    found = task.score([*answers[:-1], Prediction("cup, law")], [{"text": row["text"]} for row in rows])
    assert "purity" not in found and found["diversity"] == pytest.approx(4 / 6)


def test_lda_finds_two_vocabularies_apart_and_answers_by_their_words():
    draw = numpy.random.default_rng(0)
    kinds = [("cup", "goal", "match", "team"), ("vote", "law", "party", "tax")]
    rows = [{"text": " ".join(draw.choice(kinds[i % 2], 6))} for i in range(100)]
    answers = LDA(2, 4, "bigrams").fit(rows, None).predict(rows)
    assert len(set(answers)) == 2 and {*answers[0].split(", ")} == {*kinds[0]} and {*answers[1].split(", ")} == {*kinds[1]}


def test_rare_words_are_left_out_more_strictly_the_more_texts_there_are():
    assert [_topics.rarest_of(n) for n in (10, 1000, 10**6)] == [1, 2, 5]
