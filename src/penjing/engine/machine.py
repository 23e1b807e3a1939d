"""What this machine reaches, measured in seconds: a row for the table of hardware, as a plan reads it."""

import dataclasses
import datetime
import json
import os
import time
from collections.abc import Callable

import torch

from penjing.core.durable import write_text
from penjing.core.runtime import cache_folder, cores, gpus, processor
from penjing.core.tables import Device, device, devices

SIDE = 512  # of a product: some milliseconds, so that other processes leave some rounds alone
COPIED_BYTES = 64 << 20  # more than caches hold
ROUNDS = 20
KEPT = "machine.json"  # in the cache folder: the row that was measured last
LIKE = {"amx_bf16": ("CPU-AMX", 32), "avx512f": ("CPU-AVX512", 32), "avx2": ("CPU-AVX2", 16)}  # rows of processors, and of how many cores


def here(kind: str, threads: int = 0, ranks: int = 1) -> Device | None:
    """The row of what a rank here computes on: as it was measured, else the table's; None where the table has none.

    kind      "cpu" or "cuda"
    threads   of a rank, 0 for all cores
    ranks     that share the processor's cores; each has a GPU of its own
    """
    if kind == "cuda":
        words = gpus()[0].upper().replace("-", " ").split()
        return next((row for row in devices() if row.kind == "gpu" and row.name.split("-")[0] in words), None)
    path, found, share = cache_folder() / KEPT, processor(), min(1, threads / cores() or 1) / ranks
    if path.exists() and (kept := json.loads(path.read_text("utf-8")))["processor"] == found:
        return _part(Device(**kept["row"]), "this machine", share)
    like = next((LIKE[name] for name in LIKE if name in found["instructions"]), None)
    return like and _part(device(like[0]), f"{cores()} cores of {like[0]}", share * cores() / like[1])


def keep(row: Device) -> None:
    """Let `here` know it, as long as the processor is the same."""
    path = cache_folder() / KEPT
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"processor": processor(), "row": dataclasses.asdict(row)}))


def _part(row: Device, name: str, share: float) -> Device:
    rates = ("fp32_tflops", "bf16_tflops", "memory_gb_s")
    return dataclasses.replace(row, name=name, **{rate: vars(row)[rate] and share * vars(row)[rate] for rate in rates})


def measure_here(threads: int = 0) -> Device:
    """This processor as a row of the table: rates of square products in fp32 and bf16, and bytes a second of a copy, read and written.

    Unlike rows that a maker states these are rates that are reached: the best of 20, as other processes can only slow them.

    threads   of torch; 0 for those that it has
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        rates = {kind: 2 * SIDE**3 / _seconds(_product(kind)) / 1e12 for kind in (torch.float32, torch.bfloat16)}
        source = torch.ones(COPIED_BYTES // 4)
        target = torch.empty_like(source)
        bandwidth = 2 * COPIED_BYTES / _seconds(lambda: target.copy_(source)) / 1e9
        used = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    found, memory = processor(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    half = rates[torch.bfloat16] if rates[torch.bfloat16] > rates[torch.float32] else None
    return Device(
        name="HERE", aliases="", kind="cpu", reached=True, memory_gib=round(memory / 2**30, 1),
        memory_gb_s=round(bandwidth, 1), fp32_tflops=round(rates[torch.float32], 3), tf32_tflops=None,
        bf16_tflops=round(half, 3) if half else None, fp16_tflops=None, fp8_tflops=None, int8_tops=None, link_gb_s=None, network_gb_s=None,
        devices_per_node=1, usd_per_hour=None, watts=None,
        source=f"measured: {found['processor']} ({', '.join(found['instructions'])}), {used} of {cores()} cores",
        date=f"{datetime.date.today():%Y-%m}",
    )  # fmt: skip


def _product(kind: torch.dtype) -> Callable[[], object]:
    a, b = torch.randn(SIDE, SIDE).to(kind), torch.randn(SIDE, SIDE).to(kind)
    return lambda: a @ b


def _seconds(work: Callable[[], object]) -> float:
    """Of one call, after one that is not counted."""
    work()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)
