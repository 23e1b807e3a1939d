"""Bearer tokens: who may ask."""

import hashlib
import hmac
from pathlib import Path

from penjing.core.errors import OptionError

SHORTEST = 16  # letters of a token
MAKE_ONE = "openssl rand -hex 32 > token"


class Tokens:
    """The tokens of a file, one a line."""

    def __init__(self, path: Path):
        try:
            lines = path.read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"--token-file {path} cannot be read ({error})", wanted="a file of one token a line", fix=MAKE_ONE) from None
        if not lines or min(map(len, lines)) < SHORTEST:
            said = f"--token-file {path} holds " + ("a token that can be guessed" if lines else "no token")
            raise OptionError(said, wanted=f"tokens of at least {SHORTEST} letters, one a line", fix=MAKE_ONE)
        self._digests = [_digest(line.encode()) for line in lines]

    def allow(self, header: bytes) -> bool:
        """Whether an Authorization header carries one; takes as long for any."""
        scheme, _, token = header.partition(b" ")
        given = _digest(token.strip())
        found = [hmac.compare_digest(given, digest) for digest in self._digests]
        return scheme.lower() == b"bearer" and any(found)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
