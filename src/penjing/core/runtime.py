"""Where and how a command runs: device, threads, seed, noise. The only reader of the environment."""

import contextlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from penjing.core.options import Between, flags, parse

_LIMITS = [  # of the memory of a container, by version 2 of control groups and by version 1: most, used, of what
    tuple(Path("/sys/fs/cgroup") / name for name in names)
    for names in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    )
]
_INT8 = {"amx_int8": "AMX", "avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI", "i8mm": "I8MM", "asimddp": "ASIMD dot product"}
PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "pyarrow", "soundfile", "soxr", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Runtime:
    """What a stage may use and how much it may say; every command has these as flags."""

    device: Annotated[Literal["cpu", "cuda"], "what the model runs on"] = "cpu"
    threads: Annotated[
        int, "threads of torch; 0: a training tries some in its first steps, and stays with the fastest", Between(0, 4096)
    ] = 0
    seed: Annotated[int, "every random draw of a run follows from it", Between(0, 2**32 - 1)] = 0
    quiet: Annotated[bool, "no progress"] = False
    trust_code: Annotated[bool, "run code that a model directory carries and that is not penjing's own"] = False

    def __post_init__(self) -> None:
        for flag in flags(type(self)):
            object.__setattr__(self, flag.name, parse(flag, vars(self)[flag.name]))


def cores() -> int:
    """The processors that this process may use, which on a shared machine are fewer than it has."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def free_bytes() -> int:
    """Memory that this process may still take: what the system has, or less where a container or a limit of data (ulimit -d) holds it."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # this system does not tell; others need some too
    told = dict(line.split(":") for line in meminfo.read_text().splitlines())
    free = int(told["MemAvailable"].split()[0]) * 1024
    for limit, used, parts in _LIMITS:
        if limit.exists() and (most := limit.read_text().strip()) != "max":
            read = dict(line.split() for line in parts.read_text().splitlines())["inactive_file"]  # files in memory, which it gives back
            free = min(free, int(most) - int(used.read_text()) + int(read))
    return max(0, min(free, _under_limit()))


def _under_limit() -> int:
    """What the limit of data leaves: Linux counts all that is mapped to be written, were it touched or not."""
    import resource  # not on Windows

    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return limit - mapped_bytes()


def mapped_bytes() -> int:
    """What Linux holds against the limit of data of this process."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(told["VmData"].split()[0]) * 1024


def resident_bytes() -> int:
    """Memory that this process holds now; its largest so far where the system does not tell."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def metrics_folder() -> Path | None:
    """Where the workers of a server keep their counters for each other; None for a server of one process."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None


@contextlib.contextmanager
def sharing_metrics(folder: Path) -> Iterator[None]:
    """While the body runs children of this process keep their counters in a folder; prometheus_client reads it when it is imported."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]


def cache_folder() -> Path:
    """Where converted tables and ledgers live: $PENJING_CACHE, else penjing in the user's cache folder."""
    if folder := os.environ.get("PENJING_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penjing"


def colour() -> bool:
    """Whether the terminal wants colour (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def place_of_rank() -> tuple[int, int]:
    """Number of this process among those that train together, and how many they are; (0, 1) where it is alone."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def place_on_machine() -> int:
    """Number of this process among those that train together on this machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def take_place(rank: int, size: int, port: int) -> None:
    """Make this process one of those that train together on this machine, as torchrun would."""
    os.environ |= {
        "RANK": f"{rank}",
        "WORLD_SIZE": f"{size}",
        "LOCAL_RANK": f"{rank}",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": f"{port}",
    }


def for_children() -> dict[str, str]:
    """The environment for a process that shall import what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def versions() -> dict[str, str]:
    """Versions of Python, penjing and the libraries whose change can change a result."""
    found = {"python": platform.python_version()}
    for name in ("penjing", *PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> dict[str, Any]:
    """The processor as its owner would name it, its cores, and the instruction sets that matter for small numbers."""
    name, instructions = platform.processor() or platform.machine(), []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        name = fields.get("model name", name)
        wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "asimddp", "bf16", "i8mm")
        present = set(fields.get("flags", fields.get("Features", "")).split())
        instructions = [flag for flag in wanted if flag in present]
    return {"processor": name, "cores": cores(), "instructions": instructions}


def int8_kernels(instructions: list[str]) -> str | None:
    """The fastest kernels for 8-bit numbers that engines have for these instruction sets; None where none adds up products in one step."""
    return next((name for flag, name in _INT8.items() if flag in instructions), None)


def gpus() -> list[str]:
    """Names of the GPUs that torch can use."""
    import torch  # 2 s

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def environment() -> dict[str, Any]:
    """What a card says of the machine and the versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = platform.platform(terse=True)
    return {**processor(), "gpus": gpus(), "memory_bytes": memory, "system": system, "versions": versions()}
