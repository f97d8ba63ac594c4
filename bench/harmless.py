"""Text of others (logs, names of files, causes of failures) as it may be shown: it commands nothing, and prints."""

from __future__ import annotations

import contextlib
import re
import sys
from typing import TextIO

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and newline; what turns the direction of writing; halves of a character."""


def harmless(text: object) -> str:
    """Write `text` with each control character as a sign that one can see: `␛[2J`."""
    return CONTROL.sub(_sign, str(text))


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "\ufffd"


def complain(error: object) -> None:
    """Print to standard error, harmlessly."""
    _print(error, sys.stderr)


def tell(what: object) -> None:
    """Print a line, harmlessly."""
    _print(what, sys.stdout)


def _print(what: object, file: TextIO) -> None:
    with contextlib.suppress(OSError):  # a disk that is full under the log takes the line, and nothing else
        print(harmless(what), file=file, flush=True)
