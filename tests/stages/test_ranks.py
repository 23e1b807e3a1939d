"""Two processes that train together end where one with the whole batch does; what trains more than once is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file

import penjing
from penjing.core.errors import OptionError

WORDS = {"task": "text-classification", "epochs": 1, "learning_rate": 1e-3, "precision": "fp32", "dropout": 0.0, "batch_rows": 31}


def test_two_ranks_learn_what_one_does_with_the_same_batches(tmp_path, reviews, runtime):
    """A batch of 31 is no multiple of two, and the last of a pool may have one row."""
    made = []
    for ranks in (1, 2):
        out = tmp_path / str(ranks)
        one_thread = penjing.Runtime(threads=1, quiet=True)
        _, report = penjing.finetune("new:bert-tiny", reviews, out=out, ranks=ranks, runtime=one_thread, **WORDS)
        made.append((load_file(out / "model.safetensors"), report.facts["training"]))
        assert json.loads((out / "report.json").read_text())["stage"] == "finetune"
    (alone, told), (together, of_both) = made
    assert [loss for *_, loss in told["losses"]] == pytest.approx([loss for *_, loss in of_both["losses"]], rel=1e-4)
    for name, weight in alone.items():
        torch.testing.assert_close(weight, together[name], atol=2e-3, rtol=0.05)


@pytest.mark.parametrize(("words", "said"), [({"folds": 3}, "--folds"), ({"unlabelled": "reviews.csv"}, "--unlabelled")])
def test_ranks_are_for_one_training(tmp_path, reviews, runtime, words, said):
    with pytest.raises(OptionError, match=f"--ranks is for one training, and {said} trains more than once"):
        penjing.finetune("new:bert-tiny", reviews, out=tmp_path / "out", ranks=2, runtime=runtime, **{**WORDS, **words})
