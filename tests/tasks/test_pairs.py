"""Vectors of texts: learnt from pairs, ranked among all rows, and their cosines set beside scores."""

import json
import math
import random

import numpy
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import label_ranking_average_precision_score

from penjing.core.contracts import Prediction
from penjing.core.examples import read
from penjing.core.find import find
from penjing.core.runtime import Runtime
from penjing.engine import create
from penjing.engine.batches import Encoded
from penjing.engine.measure import answer
from penjing.tasks._ranks import ranked
from tests.contract.test_tasks import batch_of

FEATURES, SIMILARITY = (find("tasks", name).TASK() for name in ("feature-extraction", "sentence-similarity"))


def pairs(number=12, seed=0):
    draw = random.Random(seed)
    texts = [(f"{i} " + "a b" * draw.randrange(1, 4), f"the {i} " + "c" * draw.randrange(9)) for i in range(number)]
    return [{"sentence1": one, "sentence2": other} for one, other in texts]


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


@pytest.fixture(scope="module")
def made():
    return create.create("bert-tiny", FEATURES, pairs(), Runtime())


def test_a_text_is_the_mean_of_its_tokens_whatever_stands_beside_it_in_the_batch(made):
    rows = pairs()
    batch = batch_of(FEATURES, rows, made.processor)
    with torch.inference_mode():
        states = made.model(**batch.inputs).last_hidden_state
        whole = FEATURES.logits(made.model(**batch.inputs), batch)[0]
        for i, row in enumerate(rows):
            alone = made.model(**made.processor(row["sentence1"], return_tensors="pt")).last_hidden_state[0].mean(0)
            ours = (states[2 * i] * batch.inputs["attention_mask"][2 * i, :, None]).sum(0) / batch.inputs["attention_mask"][2 * i].sum()
            torch.testing.assert_close(ours, alone, atol=1e-4, rtol=1e-4)
    assert whole.shape == (12, 12) and whole.abs().max() <= 20.001, "20 x cosine"


def test_each_row_is_told_from_the_others_of_its_batch_either_way_and_rows_of_one_text_are_no_lesson(made):
    rows = [*pairs(4), {**pairs(5)[4], "sentence2": pairs(4)[0]["sentence2"]}]
    batch = batch_of(FEATURES, rows, made.processor)
    with torch.inference_mode():
        outputs = made.model(**batch.inputs)
        likeness, _ = FEATURES.logits(outputs, batch)
        found = FEATURES.loss(outputs, batch)
    for i in range(5):
        rest = [j for j in range(5) if (i, j) not in ((0, 4), (4, 0))]
        ways = [-torch.log_softmax(way[i, rest], 0)[rest.index(i)] for way in (likeness, likeness.T)]
        assert found.total[i].item() == pytest.approx((ways[0] + ways[1]).item() / 2, rel=1e-5)
    assert found.count.tolist() == [1] * 5


def test_ranks_among_different_texts_are_those_of_scikit_learn():
    first, second = unit(3000, 8).numpy(), unit(3000, 8, seed=1).numpy()
    found = [found["rank"] for found, _ in ranked(first, second, [str(i) for i in range(3000)])]
    likeness = first @ second.T
    right = numpy.eye(3000, dtype=int)
    ranks = [1 / label_ranking_average_precision_score(right[[i]], likeness[[i]]) for i in range(0, 3000, 97)]
    assert [rank if rank <= 10 else None for rank in numpy.round(ranks).astype(int).tolist()] == found[::97]


def test_the_partner_of_a_row_is_found_also_where_another_row_has_the_same_text():
    first, second = unit(3, 4).numpy(), unit(3, 4).numpy()
    second[2] = second[0]
    first[2] = second[0]
    texts = ["same", "other", "same"]
    assert [(found["text"], found["rank"]) for found, _ in ranked(first, second, texts)] == [("same", 1), ("other", 1), ("same", 1)]


def test_recall_and_reciprocal_ranks_are_means_over_the_rows():
    ranks = [1, 2, 10, None]
    found = FEATURES.score([Prediction({"text": "", "rank": rank}) for rank in ranks], [{}] * 4)
    assert found == {"recall_at_1": 1 / 4, "recall_at_10": 3 / 4, "mrr": pytest.approx((1 + 1 / 2 + 1 / 10) / 4)}


def test_the_answers_of_a_set_hold_what_each_row_found_among_all_of_them(made):
    from penjing.engine.backends.torch import TorchBackend

    rows = pairs(100)
    said = answer(TorchBackend(made.model), FEATURES, Encoded(rows, FEATURES, made.processor, labelled=False))
    assert {p.value["text"] for p in said} <= {row["sentence2"] for row in rows} and all(0 <= p.score <= 1 for p in said)
    assert sum(p.value["rank"] == 1 for p in said) == sum(p.value["text"] == row["sentence2"] for p, row in zip(said, rows))


def test_a_text_alone_gets_its_vector(made):
    from penjing.engine.backends.torch import TorchBackend

    (said,) = answer(TorchBackend(made.model), FEATURES, Encoded([FEATURES.row_of("a b")], FEATURES, made.processor))
    assert len(said.value) == made.model.config.hidden_size and math.hypot(*said.value) == pytest.approx(1, abs=1e-4)
    assert json.dumps(said.value) and FEATURES.details(said.value, {})["told"].startswith(f"{len(said.value)} numbers")


def test_texts_in_lists_and_a_column_of_texts_alone_are_understood(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"sentence1": "a", "sentence2": "b"}\n', "utf-8")
    (folder / "validation.jsonl").write_text('{"sentence1": "c", "sentence2": ["d", "e"]}\n', "utf-8")
    assert [row["sentence2"] for row in FEATURES.adapt(read(folder))[0]] == ["b", "d"]
    (tmp_path / "texts.csv").write_text("text\nfirst\nsecond\n", "utf-8")
    texts = FEATURES.adapt(read(tmp_path / "texts.csv"))[0]
    assert [FEATURES.asked(row) for row in texts] == [{"sentence1": "first"}, {"sentence1": "second"}]


def test_the_loss_of_scores_is_the_formula_of_cosent(made):
    """log(1 + the sum over pairs with score_i > score_j of exp(20 (cos_j - cos_i))), Su 2022."""
    cosines, scores = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([1.0, 5.0, 5.0])
    expected = math.log(1 + math.exp(20 * (0.9 - 0.2)) + math.exp(20 * (0.9 - 0.5)))
    task = find("tasks", "sentence-similarity").TASK()
    task.target = lambda outputs, batch: cosines
    batch = batch_of(task, [{**row, "score": s} for row, s in zip(pairs(3), scores.tolist())], made.processor)
    found = task.loss(None, batch)
    assert found.total.sum().item() == pytest.approx(expected, rel=1e-5) and found.count.tolist() == [1, 1, 1]


def test_correlations_are_those_of_scipy_and_of_one_value_none():
    draw = numpy.random.default_rng(0)
    said, true = draw.standard_normal(50), draw.integers(0, 6, 50).astype(float)
    found = SIMILARITY.score([Prediction(value) for value in said], [{"score": value} for value in true])
    assert found == {"spearman": pytest.approx(spearmanr(said, true)[0]), "pearson": pytest.approx(pearsonr(said, true)[0])}
    assert SIMILARITY.score([Prediction(0.5)] * 3, [{"score": s} for s in (1, 2, 3)]) == {"spearman": 0.0, "pearson": 0.0}


def test_what_sentence_transformers_reads_says_how_texts_become_vectors(made):
    found = FEATURES.beside(made.model.config)
    assert [module["path"] for module in found["modules.json"]] == ["", "1_Pooling", "2_Normalize"]
    assert found["1_Pooling/config.json"] == {"word_embedding_dimension": 128, "pooling_mode_mean_tokens": True}
