"""Answer over HTTP: model directories behind one small server, with the encode, collate and decode of their training.

`penjing serve MODEL...` is `serve`; any host of ASGI runs what `penjing.serve.app.create_app` gives.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from penjing.core.errors import OptionError
from penjing.core.options import Between, Bytes, Duration, Milliseconds

if TYPE_CHECKING:
    from penjing.core.model_dir import ModelDir
    from penjing.core.runtime import Runtime


@dataclass(frozen=True)
class Options:
    """Where the server listens, how it batches, and what it refuses."""

    host: Annotated[str, "address that is listened on; any but those of this machine alone needs --token-file"] = "127.0.0.1"
    port: Annotated[int, "port that is listened on; 0 takes a free one", Between(0, 65535)] = 8000
    workers: Annotated[int, "processes that answer, each with its own copy of the models", Between(1, 256)] = 1
    token_file: Annotated[Path | None, "file of bearer tokens, one a line, of which each request must carry one"] = None
    store: Annotated[Path | None, "folder of model directories that clients may load, reload and unload by their names"] = None
    connections: Annotated[int, "most clients that are connected at a time", Between(1, 10**6)] = 4096
    batch_rows: Annotated[int, "most rows that a model answers at once", Between(1, 4096)] = 64
    batch_tokens: Annotated[int, "most tokens of such a batch, with padding", Between(1, 10**8)] = 8192
    wait: Annotated[Milliseconds, "how long a row waits for others while its model is idle", Between(0, 10_000)] = Milliseconds(0)
    queue: Annotated[int, "most rows that wait for a model; beyond them requests are refused with 429", Between(1, 10**6)] = 1024
    deadline: Annotated[Duration, "how long a request may take before it is given up", Between(0.01, 86400)] = Duration(30)
    drain: Annotated[Duration, "how long requests that were accepted may go on after SIGTERM", Between(0, 86400)] = Duration(30)
    most_rows: Annotated[int, "most rows of one request", Between(1, 4096)] = 128
    most_body: Annotated[Bytes, "longest body of a request", Between(1, 2**34)] = Bytes(16 * 10**6)
    most_characters: Annotated[int, "longest text of a row", Between(1, 10**8)] = 100_000
    most_pixels: Annotated[int, "largest image, width times height", Between(1, 10**9)] = 40_000_000
    most_seconds: Annotated[Duration, "longest sound", Between(0.01, 3600)] = Duration(600)
    log: Annotated[Literal["all", "errors", "none"], "which requests have a line of JSON on standard error"] = "all"
    log_inputs: Annotated[bool, "write what was asked into these lines"] = False

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def serve(models: "Sequence[ModelDir | str | Path]", *, runtime: "Runtime | None" = None, **words: Any) -> None:
    """Serve these model directories until SIGTERM or Ctrl-C, each by the name of its directory.

    words     host, port and the other options of `penjing serve`

    Raises OptionError for an address that is taken and for two models of one name, MissingExtra where the extra `serve` is not installed.
    """
    from penjing.core.errors import need
    from penjing.core.options import build

    need("uvicorn", "serve")
    from penjing.serve import process

    options = build(Options, words)
    if not models:
        raise OptionError("no model to serve", wanted="at least one model directory", fix="penjing serve MODEL")
    if not options.local and options.token_file is None:
        raise OptionError(
            f"--host {options.host} can be reached by others, and nothing would keep strangers out",
            wanted="--token-file, a file of bearer tokens",
            fix="openssl rand -hex 32 > token, then pass --token-file token; or leave --host out",
        )
    process.run(models, options, runtime)
