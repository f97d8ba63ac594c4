"""A norm of the user's own that does harm when it is told to: what a real network, library or cluster may do.

Each word is a line of the file `act` beside the module; a word is taken out of it when it is done, but for those that
last.  Without the file it is batch norm.
"""

import textwrap
from pathlib import Path

MODULE = '''
import ctypes, os, signal, sys, time
from pathlib import Path
from torch import nn

ACT = Path(__file__).with_name("act")
HELD = []


class Norm(nn.BatchNorm2d):
    def forward(self, x):
        word, *left = told() if self.training else [""]
        if word not in ("slow", "crawl", "deaf", ""):
            ACT.write_text("\\n".join(left))
        if word:
            globals()["do_" + word]()
        return super().forward(x)


def told():
    try:
        return ACT.read_text().split() or [""]
    except FileNotFoundError:
        return [""]


def do_slow():
    time.sleep(0.05)


def do_crawl():
    time.sleep(2)


def do_deaf():
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(0.05)


def do_segfault():
    ctypes.string_at(0)


def do_exit():
    os._exit(0)


def do_leave():
    raise SystemExit(0)


def do_kill():
    os.kill(os.getpid(), signal.SIGKILL)


def do_starve():
    raise MemoryError


def do_hog():
    HELD.append(b"1" * 3_000_000_000)


def do_fork():
    """As a worker of a DataLoader: it has this process's handlers."""
    if os.fork() == 0:
        ACT.with_name("forked").write_text(str(os.getpid()))
        for _ in range(600):
            time.sleep(0.1)
        os._exit(0)
'''


class Faulty:
    """The module in a folder of its own, and what it is told to do."""

    name = "faulty_norm:Norm"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "faulty_norm.py").write_text(textwrap.dedent(MODULE))

    def act(self, *words: str) -> None:
        """Have the next forward passes do these."""
        (self.folder / "act.part").write_text("\n".join(words))
        (self.folder / "act.part").rename(self.folder / "act")

    def behave(self) -> None:
        """Be batch norm from now on."""
        (self.folder / "act").unlink(missing_ok=True)
