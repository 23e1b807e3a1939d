"""What a training that is short of memory frees goes back at once, between tensors that stay."""

import sys
from pathlib import Path

import pytest
import torch

from penjing.core.runtime import free_bytes, resident_bytes
from penjing.engine import heap

MANY, NUMBERS = 24, 2 << 20  # tensors of 8 MB
ROOM = 1 << 28


@pytest.mark.skipif(sys.platform != "linux", reason="the thresholds are those of glibc")
@pytest.mark.parametrize("thrifty", [False, True])
def test_large_tensors_go_back_from_when_memory_is_short(thrifty, monkeypatch):
    free = [1 << 62]
    monkeypatch.setattr(heap, "free_bytes", lambda: free[0])
    with heap.keeping_freed_memory(thrifty) as look:
        if not thrifty:
            free[0] = 0
            look()
        held = [torch.ones(NUMBERS) for _ in range(MANY)]
        full = resident_bytes()
        held[::2] = [None] * (MANY // 2)  # each between two that stay
        assert full - resident_bytes() > 0.9 * 4 * NUMBERS * MANY / 2


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux is told what it counts")
def test_a_limit_of_data_is_what_is_free():
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (int(told["VmData"].split()[0]) * 1024 + ROOM, before[1]))
        assert ROOM / 2 < free_bytes() <= ROOM
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
