"""Rows of many requests become batches; nobody waits for those that left, nobody loses an answer to another's mistake."""

import asyncio
import itertools
import random
import threading

import pytest

from penjing.serve.batching import WORTH, Batcher, Job, Row, of_like_length
from penjing.serve.errors import Refused


class Gated:
    """A model that answers when it is let: each row with its own entries, in batches that are noted."""

    def __init__(self):
        self.batches, self.gate, self.begun = [], threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, rows, probabilities):
        self.begun.release()
        assert self.gate.acquire(timeout=20)
        self.batches.append([row[0] for row in rows])
        if "bad" in self.batches[-1]:
            raise ValueError("bad row")
        return [row[0] for row in rows]

    async def computing(self):
        """Until it has begun a batch."""
        await asyncio.to_thread(self.begun.acquire, timeout=20)


def batcher(model, **more):
    return Batcher("test", model, **{"batch_rows": 8, "batch_tokens": 1000, "wait": 0, "queue": 10, **more})


async def ask(to, *rows, length=1):
    return await to.ask([[row] for row in rows], [length] * len(rows))


async def closed(to):
    await asyncio.to_thread(to.close)


def waiting(*lengths):
    loop = asyncio.new_event_loop()
    job = Job(len(lengths), loop)
    loop.close()
    return [Row([], length, job, i, False) for i, length in enumerate(lengths)]


def lengths_of(rows):
    return [row.length for row in rows]


def test_lanes_compute_at_once_and_share_out_what_waits():
    async def go():
        model = Gated()
        to = batcher(model, lanes=lambda: 2)
        first = asyncio.create_task(ask(to, "a"))
        await model.computing()
        second = asyncio.create_task(ask(to, "b"))
        await model.computing()  # though the first is not done
        others = asyncio.create_task(ask(to, *"cdef"))
        await asyncio.sleep(0.05)
        model.gate.release(5)
        assert await asyncio.gather(first, second, others) == [["a"], ["b"], [*"cdef"]]
        assert sorted(model.batches) == [["a"], ["b"], ["c", "d"], ["e"], ["f"]]
        await closed(to)

    asyncio.run(go())


def test_what_arrives_while_a_batch_is_computed_is_the_next_batch():
    async def go():
        model = Gated()
        to = batcher(model)
        first = asyncio.create_task(ask(to, "a"))
        await model.computing()
        rest = [asyncio.create_task(ask(to, *rows)) for rows in ("bc", "d", "e")]
        await asyncio.sleep(0)
        model.gate.release(2)
        assert await first == ["a"] and await asyncio.gather(*rest) == [["b", "c"], ["d"], ["e"]]
        await closed(to)
        assert model.batches == [["a"], ["b", "c", "d", "e"]]

    asyncio.run(go())


def test_too_many_rows_that_wait_are_refused_and_later_ones_are_not():
    async def go():
        model = Gated()
        to = batcher(model)
        first = asyncio.create_task(ask(to, "a"))
        await model.computing()
        full = asyncio.create_task(ask(to, *"bcdefghijk"))
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await ask(to, "l")
        assert refused.value.status == 429 and refused.value.headers["Retry-After"]
        model.gate.release(9)
        assert await first == ["a"] and await full == [*"bcdefghijk"] and await ask(to, "l") == ["l"]
        await closed(to)

    asyncio.run(go())


def test_rows_of_a_client_that_left_are_not_computed_and_leave_their_places():
    async def go():
        model = Gated()
        to = batcher(model)
        first = asyncio.create_task(ask(to, "a"))
        await model.computing()
        left = asyncio.create_task(ask(to, *"bcdefghijk"))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
        last = asyncio.create_task(ask(to, "l"))
        await asyncio.sleep(0)
        model.gate.release(2)
        assert await first == ["a"] and await last == ["l"]
        await closed(to)
        assert model.batches == [["a"], ["l"]]

    asyncio.run(go())


def test_a_row_that_breaks_its_batch_costs_no_other_its_answer():
    async def go():
        model = Gated()
        to = batcher(model)
        first = asyncio.create_task(ask(to, "a"))
        await model.computing()
        good, bad = asyncio.create_task(ask(to, "b", "c")), asyncio.create_task(ask(to, "d", "bad"))
        await asyncio.sleep(0)
        model.gate.release(6)
        assert await first == ["a"] and await good == ["b", "c"]
        with pytest.raises(ValueError, match="bad row"):
            await bad
        await closed(to)

    asyncio.run(go())


def test_closing_answers_what_waits_and_nothing_that_comes_later():
    async def go():
        model = Gated()
        to = batcher(model, batch_rows=1)
        asked = [asyncio.create_task(ask(to, row)) for row in "abc"]
        await model.computing()
        closing = asyncio.create_task(closed(to))
        model.gate.release(3)
        assert await asyncio.gather(*asked) == [["a"], ["b"], ["c"]]
        await closing
        with pytest.raises(Refused) as refused:
            await ask(to, "d")
        assert refused.value.status == 503

    asyncio.run(go())


def test_an_idle_model_waits_for_others_only_where_it_was_told_to():
    async def go():
        model = Gated()
        to = batcher(model, wait=20_000, batch_rows=2)
        model.gate.release(1)
        assert await asyncio.gather(ask(to, "a"), ask(to, "b")) == [["a"], ["b"]]
        await closed(to)
        assert model.batches == [["a", "b"]]

    asyncio.run(go())


def test_a_batch_holds_the_oldest_row_and_those_like_it():
    assert lengths_of(of_like_length(waiting(10, 500, 11, 12, 480, 9), 8, 10_000)) == [10, 11, 12, 9]
    assert lengths_of(of_like_length(waiting(500, 10, 11, 480), 8, 10_000)) == [500, 480]


def test_a_batch_stays_in_its_bounds():
    assert lengths_of(of_like_length(waiting(10, 10, 10, 10), 3, 10_000)) == [10, 10, 10]
    assert lengths_of(of_like_length(waiting(100, 100, 100, 100), 8, 250)) == [100, 100]
    assert lengths_of(of_like_length(waiting(1000, 10), 8, 250)) == [1000]  # too long for any batch, it makes its own


def test_the_batches_of_all_that_wait_are_done_as_soon_as_any_division_allows():
    def cost(lengths):
        return WORTH + len(lengths) * max(lengths)

    for seed in range(20):
        rest, spent = waiting(*random.Random(seed).choices(range(1, 200), k=9)), 0
        ordered = sorted(lengths_of(rest))
        cuts = itertools.product([False, True], repeat=len(ordered) - 1)
        ends = [[0, *(i + 1 for i, cut in enumerate(each) if cut), len(ordered)] for each in cuts]
        best = min(sum(cost(ordered[a:b]) for a, b in itertools.pairwise(each)) for each in ends)
        while rest:
            batch = of_like_length(rest, 64, 10_000)
            assert rest[0] in batch
            spent += cost(lengths_of(batch))
            rest = [row for row in rest if row not in batch]
        assert spent == best


def test_rows_of_equal_length_are_taken_in_the_order_they_came():
    assert [row.place for row in of_like_length(waiting(5, 5, 5, 5), 2, 100)] == [0, 1]


def test_short_rows_may_be_padded_and_an_engine_that_does_not_pad_takes_the_oldest():
    assert lengths_of(of_like_length(waiting(2, 30), 8, 1000)) == [2, 30]  # 28 of padding are less than a batch of its own costs
    assert lengths_of(of_like_length(waiting(10, 500, 250), 8, 10_000, pads=False)) == [10, 500, 250]
    assert lengths_of(of_like_length(waiting(10, 500, 250), 8, 1000, pads=False)) == [10, 500]
    assert lengths_of(of_like_length(waiting(2000, 500), 8, 1000, pads=False)) == [2000]
