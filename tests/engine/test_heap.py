"""What a training that is short of memory frees goes back at once, between tensors that stay."""

import sys

import pytest
import torch

from penjing.engine import heap

MANY, NUMBERS = 24, 2 << 20  # tensors of 8 MB


@pytest.mark.skipif(sys.platform != "linux", reason="the thresholds are those of glibc")
def test_large_tensors_go_back_from_when_memory_is_short(monkeypatch):
    free = [1 << 62]
    monkeypatch.setattr(heap, "free_bytes", lambda: free[0])
    with heap.keeping_freed_memory() as look:
        free[0] = 0
        look()
        held = [torch.ones(NUMBERS) for _ in range(MANY)]
        full = heap.resident_bytes()
        held[::2] = [None] * (MANY // 2)  # each between two that stay
        assert full - heap.resident_bytes() > 0.9 * 4 * NUMBERS * MANY / 2
