"""Hashes of many files together, kept in the cache under their names, sizes and times of change."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from penjing.core import arrow_cache


def of_files(files: Sequence[Path], folder: Path) -> str:
    """sha256 of one file's content; for several, of their names in `folder` and contents."""
    stats = ((file, file.stat()) for file in files)
    seen = [str(folder.resolve()), *(f"{file.relative_to(folder)}\n{now.st_size}\n{now.st_mtime_ns}" for file, now in stats)]
    known = arrow_cache.cache_file("sha256", hashlib.sha256("\n".join(seen).encode()).hexdigest()[:40])
    if not known.exists():
        if len(files) == 1:
            sha256 = arrow_cache.digest(files[0])
        else:
            contents = "\n".join(f"{file.relative_to(folder)}\n{arrow_cache.digest(file)}" for file in files)
            sha256 = hashlib.sha256(contents.encode()).hexdigest()
        arrow_cache.write(known, lambda temporary: temporary.write_text(sha256))
    return known.read_text()
