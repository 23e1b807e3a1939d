"""A model that answers rows: on as many lanes as its engine can use, with the answers that it gives alone."""

import asyncio
import random
import time

import pytest

import penjing
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.serve.batching import Batcher
from penjing.serve.hosted import Hosted

WORDS = ["great", "film", ",", "dull", "and", "slow", "plot", "with", "a", "fine", "end", "that", "nobody", "saw", "coming"]


@pytest.fixture(scope="module")
def quantized(text_parent, reviews, tmp_path_factory, runtime):
    out = tmp_path_factory.mktemp("quantized") / "text"
    penjing.quantize(text_parent, reviews, out=out, engine="onnxruntime", runtime=runtime)
    return ModelDir.open(out)


def test_an_engine_without_the_interpreter_has_a_lane_for_each_thread_and_says_what_it_says_alone(quantized):
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 40))) for _ in range(60)]
    one, three = (Hosted("text", quantized, Runtime(threads=threads, quiet=True), shared=True) for threads in (1, 3))
    assert (one.lanes, three.lanes) == (1, 3)
    assert Hosted("text", quantized, Runtime(threads=3, quiet=True)).lanes == 1  # who asks alone has all threads
    rows = [one.encode({"text": text}) for text in texts]
    alone = [one.answer([row], probabilities=True)[0] for row in rows]

    async def go():
        to = Batcher("text", three.answer, batch_rows=8, batch_tokens=4096, wait=0, queue=100, pads=three.pads, lanes=lambda: three.lanes)
        found = await asyncio.gather(*(to.ask([row], [three.length(row)], True) for row in rows))
        await asyncio.to_thread(to.close)
        return [answer for (answer,) in found]

    for answer, true in zip(asyncio.run(go()), alone):
        assert answer.prediction.value == true.prediction.value
        assert answer.probabilities == pytest.approx(true.probabilities, abs=1e-6)


def test_a_model_of_torch_has_lanes_from_when_rows_of_different_length_were_asked(text_parent):
    base = ModelDir.open(text_parent)
    alone, hosted = (Hosted("text", base, Runtime(threads=threads, quiet=True), shared=True) for threads in (1, 2))
    rows = [hosted.encode({"text": " ".join(WORDS[:length])}) for length in (1, 1, 2, 2, 3, 5, 8, 13, 4)]
    true = [alone.answer([row], probabilities=True)[0] for row in rows]

    async def go():
        to = Batcher("text", hosted.answer, batch_rows=8, batch_tokens=4096, wait=0, queue=100, lanes=lambda: hosted.lanes)
        first = [(await to.ask([row], [hosted.length(row)], True))[0] for row in rows[:4]]
        assert hosted.lanes == 1
        rest = await asyncio.gather(*(to.ask([row], [hosted.length(row)], True) for row in rows[4:]))
        until = time.monotonic() + 60
        while hosted.lanes == 1 and time.monotonic() < until:
            await asyncio.sleep(0.01)
        again = await asyncio.gather(*(to.ask([row], [hosted.length(row)], True) for row in rows))
        await asyncio.to_thread(to.close)
        return [*first, *(answer for (answer,) in [*rest, *again])]

    found = asyncio.run(go())
    assert (alone.lanes, hosted.lanes) == (1, 2)
    for answer, expected in zip(found, [*true, *true], strict=True):
        assert answer.prediction.value == expected.prediction.value
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
