"""The validity table for people: `python -m bench.run --rules`, and `docs/rules.md` by `--rules --markdown`."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bench.rules import RULES, Rule, verdicts
from bench.setting import resolve

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
        table.add_row(str(rule.number), Text(rule.kind, style=style), rule.what, rule.reason)
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


# ---------------------------------------------------------------------------------------------------------
# Which network takes which factor.

PLAIN: dict[str, dict[str, Any]] = {
    "mlp": {"data.size": 28},
    "dcgan": {"data.size": 64},
    "sndcgan": {"data.size": 32},
    "resnet": {"data.size": 32},
    "progan": {"data.size": 128},
    "fastgan": {"data.size": 256},
    "unet": {"data.size": 256, "data.pairs": "ab", "l1_weight": 100.0},
}
"""A cell of each family on which each level is tried alone."""
CROSSED: dict[str, tuple[Any, ...]] = {
    "g_norm": ("none", "bn", "in", "ln", "gn", "adain", "selfmod_bn", "cbn"),
    "style_source": ("mapping", "image"),
    "pixel_norm": (True,),
    "g_weight": ("spectral", "weight", "orthogonal"),
    "d_norm": ("none", "bn", "in", "ln", "gn"),
    "d_weight": ("spectral", "weight", "orthogonal"),
    "equalized": (True,),
    "mbstd": (4, "all"),
    "mbdiscrimination": (100,),
    "sle": ("add", "sle"),
    "d_sle": ("add", "sle"),
    "decoders": ("both",),
    "growth": (True,),
    "g_noise": (True,),
    "condition": ("concat", "embed_mul", "acgan", "projection", "sgan"),
    "penalty": ("clip", "gp", "gp0", "r1", "r2", "r1r2", "dragan"),
    "loss": ("minimax", "wasserstein", "hinge", "leastsquares", "relativistic", "relativistic_average"),
    "augment": (("color", "translation", "cutout"),),
}


def crossed() -> str:
    """Lay out levels × networks as Markdown: `yes`, `n?` doubtful by rule n, `–` denied, each level alone."""
    rows = ["| | " + " | ".join(PLAIN) + " |", "|---|" + ":---:|" * len(PLAIN)]
    for name, levels in CROSSED.items():
        for level in levels:
            said = level if isinstance(level, str) else str(level).lower() if isinstance(level, bool) else level
            shown = ", ".join(level) if isinstance(level, tuple) else said
            marks = " | ".join(_mark(network, name, level) for network in PLAIN)
            rows.append(f"| `{name}: {shown}` | {marks} |")
    return "\n".join(rows)


def _mark(network: str, name: str, level: Any) -> str:
    said = {"network": network, "train.batch": 16, "train.kimg": 1e4, "data.classes": 10, "d_norm": "none"}
    said |= {**PLAIN[network], "z_dim": 128}
    said |= {"g_norm": "adain"} if name == "style_source" else {"g_norm": "none"}
    with_it = {"condition": "projection"} if level == "cbn" else {"penalty": "gp"} if level == "wasserstein" else {}
    tried = resolve({**said, **with_it, name: list(level) if isinstance(level, tuple) else level})
    plain = {(verdict.number, verdict.kind) for verdict in verdicts(resolve(said))}
    new = [verdict for verdict in verdicts(tried) if (verdict.number, verdict.kind) not in plain]
    if any(verdict.kind == "deny" for verdict in new):
        return "–"
    return ", ".join(f"{verdict.number}?" for verdict in new) or "yes"
