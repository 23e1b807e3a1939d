from penjing.core import ledger


def test_every_look_at_the_proof_rows_is_counted_by_fingerprint():
    assert ledger.times("f1") == 0
    assert [ledger.opened("f1", "evaluate", "m1"), ledger.opened("f1", "shrink", "m2")] == [1, 2]
    assert (ledger.times("f1"), ledger.times("f2")) == (2, 0)
