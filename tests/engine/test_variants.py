"""What a sweep found, in words and pictures."""

import re

import pytest

from penjing.engine import variants
from tests.engine.conftest import share


def found(num=3, seeds=1):
    """Invented: as many variants, each a little worse and slower than the one before."""

    def variant(i):
        quality = vars(share(0.95 * 0.9**i, 200))
        losses = [(step, 0.5 * step * (1 + i), 2 / step + i) for step in range(1, 41)]
        return {"words": {"optimizer": f"<o{i}>"}, "quality": quality, "by_seed": [0.9 - 0.1 * i, 1 - 0.1 * i][:seeds],
                "loss": 0.05 + i, "seconds": 20.0 * (1 + i), "losses": losses}  # fmt: skip

    failed = [{"words": {"optimizer": "sgd"}, "why": "the loss is nan"}]
    return {"metric": "accuracy", "seeds": seeds, "varied": ["optimizer"], "variants": [variant(i) for i in range(num)], "failed": failed}


def test_the_table_tells_best_first_and_what_to_mind():
    head, first, *_, failed, caveat = variants.text(found()).splitlines()
    assert re.split(r"\s{2,}", head.strip()) == ["optimizer", "accuracy, tuning rows", "loss", "time"]
    assert re.split(r"\s{2,}", first.strip()) == ["<o0>", "95.0 % (91.0–97.3)", "0.05", "20.0 s"]
    assert failed == "failed: optimizer sgd: the loss is nan"
    assert caveat.startswith("note: the best of 3 variants was chosen by these very rows, so its accuracy here is likely too good")


def test_of_several_seeds_the_lowest_and_the_highest_are_told():
    assert "90.0 % to 100.0 %" in variants.text(found(seeds=2)) and "lowest to highest seed" in variants.text(found(seeds=2))


def test_variants_within_the_interval_of_the_best_are_counted_and_one_alone_was_not_chosen():
    close = found()
    close["variants"][1]["quality"]["value"] = 0.93
    assert "room for 1 of the others" in variants.text(close) and "room for" not in variants.text(found())
    assert variants.caveats(found(1)) == []


@pytest.mark.parametrize("num", [1, 3, 12])
def test_the_page_draws_loss_against_steps_and_seconds_and_quality_against_seconds(num):
    html = variants.section(found(num))
    spoken = re.findall(r'aria-label="(Loss against \w+|Accuracy on tuning rows against \w+)', html)
    quality = ["Accuracy on tuning rows against seconds"] if num > 1 else []
    assert spoken == ["Loss against step", "Loss against seconds", *quality]
    assert "<o0>" not in html and "&lt;o0&gt;" in html and "Failed: optimizer sgd" in html
