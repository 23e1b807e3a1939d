"""The log: one line of JSON on standard error for each event, without what was asked or answered."""

import json
import logging
import sys
import time
from typing import Any


def log(level: str, **facts: Any) -> None:
    """Write one line."""
    now = time.time()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    sys.stderr.write(json.dumps({"time": moment, "level": level, **facts}, ensure_ascii=False, default=str) + "\n")
    sys.stderr.flush()


class Lines(logging.Handler):
    """What libraries log, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        trace = {"trace": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        log(record.levelname.lower(), logger=record.name, message=record.getMessage(), **trace)
