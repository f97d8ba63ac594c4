"""The validity table for people: `python -m bench.run --rules`, and `docs/rules.md` by `--rules --markdown`."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from bench.rules import RULES, Rule

WITHOUT_ROW = {
    2: "minibatch standard deviation or discrimination with a gradient penalty is allowed: it has batch norm's defect, "
    "but it is ProGAN",
    7: "clipping with batch norm in D is allowed: it is the released WGAN, and clips the gains too",
    10: "spectral norm with a gradient penalty is allowed (Kwak & Ko 2020)",
    13: "AdaIN without a style is `g_norm: in`",
    19: "relativistic losses compare the real/fake logits alone, under AC-GAN too",
    20: "no D here ends in a sigmoid: losses read logits",
    22: "what G_ema does with running statistics is a setting, `ema_buffers`",
    23: "nothing here clips images to a range: perturbed and interpolated images are used as they are",
}
"""Rows of the source table that need none here, and why."""


def in_order() -> list[Rule]:
    """The rules by number, what is denied before what is doubtful."""
    return sorted(RULES, key=lambda rule: (rule.number, rule.kind))


def listed() -> RenderableType:
    """The table, for a terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("rule", "", "combination", "reason"):
        table.add_column(title, overflow="fold", justify="right" if title == "rule" else "left")
    for rule in in_order():
        style = "red" if rule.kind == "deny" else "yellow"
        table.add_row(str(rule.number), f"[{style}]{rule.kind}[/]", rule.what, rule.reason)
    return table


def markdown() -> str:
    """The page."""
    rows = [f"| {rule.number} | {rule.kind} | {_cell(rule.what)} | {_cell(rule.reason)} |" for rule in in_order()]
    without = [f"- {number}: {why}." for number, why in sorted(WITHOUT_ROW.items())]
    return "\n".join([HEAD, *rows, "", FOOT, "", *without, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


HEAD = """\
# Which combinations are invalid or doubtful

Made by `python -m bench.run --rules --markdown` (`make rules`); edit `bench/rules.py`, not this page.

A cell that is denied is left out of a design, with its reason in plan and report; where the study names that very cell
(a row, the reference), it is a mistake. `force` in the study runs it all the same, and plan, report and run say so:

```yaml
force:
  - {where: {d_norm: bn, penalty: gp}, why: to reproduce the failure}
```

A doubtful cell runs; plan and report say why it is doubtful. One number may have rows of both kinds.

| rule | | combination | reason |
|---:|---|---|---|"""

FOOT = """\
Numbers to 24 are those of the table, gathered from papers, their code and its issues, that the project started from;
further ones are its own. These of them need no row:"""
