"""What a row of the validity table is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from bench.setting import Setting


class Rule(NamedTuple):
    """One row of the table."""

    number: int
    kind: Literal["deny", "warn"]
    what: str
    """The combination, in the words of the settings."""
    holds: Callable[[Setting], bool]
    reason: str


class Verdict(NamedTuple):
    """A rule that a setting falls under."""

    number: int
    kind: Literal["deny", "warn"]
    reason: str
