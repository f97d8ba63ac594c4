"""The console of every command."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from bench.harmless import harmless

LOSES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)
"""What the disk under a log may say to a line."""


class Terminal(Console):
    """A rich console on which strings are text: no markup, no emoji codes, no control characters.

    Its tables are not folded at 80 columns when its output goes to a file, and a line that a full disk does not take
    is lost, and nothing else.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)
        if width is None and not self.is_terminal:
            self.width = 160

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            if error.errno not in LOSES:
                raise

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is shown, made harmless; rich's own control codes are apart from the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))
