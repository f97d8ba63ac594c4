"""What a person sees while runs go on: a live table on a terminal, else a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.files import read_json
from bench.overview import span
from bench.store import RunState
from bench.terminal import Terminal

REFRESH_S = 0.5
LINE_S = 60.0


class Watch:
    """Progress of a study's runs.

    `names`: run id → cell and seed, in words.  `done`: how many of `names` have an outcome at the start.
    """

    def __init__(self, names: Mapping[str, str], done: int, console: Console | None = None) -> None:
        self.console = console or Terminal()
        self.names, self.done = names, done
        self.started = time.monotonic()
        self._shown = 0.0
        self._finished_here = 0
        live = self.console.is_terminal
        self.live = Live(console=self.console, refresh_per_second=4, transient=True) if live else None

    def __enter__(self) -> Watch:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def tick(self, running: Sequence[tuple[str, Path]], elsewhere: int = 0) -> None:
        """Show how far the running attempts are; cheap to call often.  `elsewhere`: runs of other processes."""
        every = REFRESH_S if self.live else LINE_S
        if time.monotonic() - self._shown < every:
            return
        self._shown = time.monotonic()
        words = {run_id: read_json(folder / "alive") or {} for run_id, folder in running}
        if self.live:
            self.live.update(self._table(words, elsewhere))
        elif running or elsewhere:
            shares = ", ".join(f"{self.names[run_id]} {_share(said):.0%}" for run_id, said in words.items())
            shares += f"; {elsewhere} with another process" if elsewhere else ""
            self.console.print(
                f"{self.done} of {len(self.names)} runs have an outcome; running: {shares}", soft_wrap=True
            )

    def finished(self, run_id: str, state: RunState, code: int, note: str = "", again: bool = False) -> None:
        """Say how one attempt ended.  `note`: what it left to say; `again`: it will be tried again."""
        if state.status in ("done", "diverged") and code == 0:
            self.done += 1
            self._finished_here += 1
            trained = state.trained or {}
            detail = f"{trained.get('kimg', 0):g} kimg, {trained.get('images_per_second', 0):.0f} img/s"
            line = Text.assemble(
                ("✓ " if state.status == "done" else "✗ ", "green" if state.status == "done" else "yellow"),
                f"{self.names[run_id]}  ",
                (state.status, "bold"),
                f"  {state.cause or detail}",
                (f"  {note}" if note else "", "yellow"),
            )
        elif state.status == "stopped" and code in (0, 75):
            line = Text.assemble(("◦ ", "magenta"), f"{self.names[run_id]}  ", ("stopped", "bold"), "  it can go on")
        else:
            why = note or state.cause or "see its log"
            word = "failed" if state.status == "stopped" else state.status
            line = Text.assemble(("! ", "red"), f"{self.names[run_id]}  ", (word, "bold"), f"  exit code {code}: {why}")
            line.append("; trying again" if again else f"\n  run {run_id}")
        self.console.print(line, soft_wrap=True)

    def _table(self, words: Mapping[str, Mapping[str, float]], elsewhere: int = 0) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for run_id, said in words.items():
            rate = f"{said['images_per_second']:.0f} img/s" if "images_per_second" in said else "starting"
            table.add_row(
                Text(self.names[run_id]),
                ProgressBar(total=1.0, completed=_share(said), width=28),
                f"{said.get('kimg', 0.0):.1f} kimg",
                rate,
                Text(_losses(said), style="dim"),
            )
        head = f"{self.done} of {len(self.names)} runs have an outcome"
        if self._finished_here:
            each = (time.monotonic() - self.started) / self._finished_here
            head += f", about {span(each * (len(self.names) - self.done))} to go"
        if elsewhere:
            head += f"; {elsewhere} with another process"
        return Group(Text(head, style="bold"), table)


def _share(said: Mapping[str, float]) -> float:
    return said["step"] / said["steps"] if said.get("steps") else 0.0


def _losses(said: Mapping[str, float]) -> str:
    return "  ".join(f"{key[5:]} {value:.3g}" for key, value in said.items() if key.startswith("loss_"))
