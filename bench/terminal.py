"""What a terminal is shown: text of others (logs, file names, causes) can neither command nor break it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

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
    print(harmless(error), file=sys.stderr, flush=True)


class Terminal(Console):
    """A rich console on which strings are text: no markup, no emoji codes, no control characters.

    Its tables are not folded at 80 columns when its output goes to a file.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)
        if width is None and not self.is_terminal:
            self.width = 160

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is shown, made harmless; rich's own control codes are apart from the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))
