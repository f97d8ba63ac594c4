"""The answer to signals: a flag, which loops look at."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import IO

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
STOPPED = 75
TWICE_S = 1.0
"""A second Ctrl-C within so many seconds is the first one again: a shell and a wrapper may both pass it on."""


class Stop:
    """Set by SIGTERM, SIGUSR2 or Ctrl-C, or when the supervisor's end of our standard input closes.

    The handler only sets a flag, and only in the process that made this: children inherit handlers.
    """

    def __init__(self, *, exits: bool = True) -> None:
        """`exits`: a second Ctrl-C ends the process at once; else it sets `insisted`."""
        self.reason: str | None = None
        self.insisted = False
        self.received: dict[int, float] = {}
        """When each signal first came, by the monotonic clock."""
        self._exits, self._owner = exits, os.getpid()
        self._at_once = False

    def install(self) -> None:
        """Take the signals over; those that a supervisor held back until now come at once."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals over for a while."""
        before = [(number, signal.getsignal(number)) for number in SIGNALS]
        self.install()
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def follow(self, pipe: IO[bytes]) -> None:
        """Stop when `pipe` closes: the supervisor holds its other end and is gone."""

        def wait() -> None:
            # Not pipe.read(): its lock, held by a daemon thread, aborts the interpreter's shutdown.
            while os.read(pipe.fileno(), 1):
                pass
            self.ask("its supervisor is gone")

        threading.Thread(target=wait, daemon=True).start()

    def at_once(self) -> None:
        """From now on a stop ends the process where it is: its work keeps nothing half."""
        self._at_once = True
        if self.reason is not None:
            self.ask(self.reason)

    def ask(self, reason: str) -> None:
        """Stop, unless asked already."""
        self.reason = self.reason or reason
        if self._at_once:
            os._exit(STOPPED)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return
        now = time.monotonic()
        if number == signal.SIGINT and now - self.received.get(number, now) > TWICE_S:
            if self._exits:
                os._exit(130)
            self.insisted = True
        self.received.setdefault(number, now)
        self.ask(f"stopped by {signal.Signals(number).name}")


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait, here and in a child made meanwhile, until that child can listen (`Stop.install`)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
