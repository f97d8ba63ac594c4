"""A profile as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.measured import CellTimes, Measured, Spread
from bench.overview import span

BEFORE, AFTER = ("data",), ("ema", "log", "rest")
"""Parts of a G step around its phases."""
BUSY = 0.9
"""A process that had its core for less of the time was slowed by others."""


def shown(found: Measured, names: Mapping[str, str]) -> RenderableType:
    """The whole profile; `names`: of each cell, what to call it."""
    parts: list[RenderableType] = [Text(head(found))]
    if found.core_share is not None and found.core_share < BUSY:
        had = f"only {found.core_share:.0%} of the time was this process's"
        parts.append(Text(f"this machine is busy: {had}, and all times are longer for it", style="yellow"))
    parts += [Text(""), steps(found.cells, names), Text("")]
    parts += [memory(found.cells, names), Text(""), arithmetic(found.cells, names), Text("")]
    against = [cell for cell in found.cells if cell.vs is not None]
    if against:
        parts += [versus(against, names), Text("")]
    return Group(*parts, Text(outlook(found)))


def head(found: Measured) -> str:
    """What was measured, on what, and what that can do at most."""
    machine, most = found.machine, found.ceilings
    threads = f"{machine.threads} thread{'' if machine.threads == 1 else 's'}"
    forms = ", ".join(f"{form} {tflops(value)}" for form, value in most.matmul_tflops.items())
    return (
        f"{found.study} on {machine.device}"
        + (f" ({machine.cpu})" if machine.device == "cpu" and machine.cpu else "")
        + f", {threads} of {machine.cores} cores, torch {machine.torch}\n"
        f"ceilings measured here: {forms} in products of matrices; {most.copy_gb_s:.3g} GB/s in copies"
    )


def steps(cells: Sequence[CellTimes], names: Mapping[str, str]) -> RenderableType:
    """Time of a G step, and where it goes."""
    around = {*BEFORE, *AFTER}
    phases = list(dict.fromkeys(part for cell in cells for part in cell.parts_ms if part not in around))
    table = plain("ms in a G step (medians)")
    table.add_column("images/s", justify="right")
    table.add_column("a G step (quartiles)", justify="right")
    columns = [*BEFORE, *phases, *AFTER]
    for part in columns:
        often = sorted({f"{cell.updates[part]:.3g}" for cell in cells if part in cell.updates})
        table.add_column(part + (f" ×{often[0]}" if len(often) == 1 and often != ["1"] else ""), justify="right")
    penalised = any(cell.penalty for cell in cells)
    if penalised:
        table.add_column("of it penalty*", justify="right")
    for cell in cells:
        whole = cell.step_ms
        row = [names[cell.cell], f"{cell.images_per_second:.4g}"]
        row.append(f"{figure(whole.median)} ({figure(whole.low)}–{figure(whole.high)})")
        row += [figure(cell.parts_ms[part]) if part in cell.parts_ms else "" for part in columns]
        table.add_row(*row, *([figure(cell.penalty.ms.median) if cell.penalty else ""] if penalised else []))
    if not penalised:
        return table
    note = (
        "* a difference: the step less that of a run without the penalty, in alternation (profile.json has its spread)"
    )
    return Group(table, Text(note, style="dim"))


def memory(cells: Sequence[CellTimes], names: Mapping[str, str]) -> RenderableType:
    """The peak, and what it is made of."""
    table = plain("MiB of memory")
    before = any(cell.memory_mib.before >= 1 for cell in cells)
    parts = ["peak", *(["before"] if before else []), "weights", "optimizer", "data", "rest"]
    for column in (*parts, "parameters of G, D"):
        table.add_column(column, justify="right")
    for cell in cells:
        sizes = ", ".join(f"{n:,}" for n in cell.parameters.values())
        table.add_row(names[cell.cell], *(figure(getattr(cell.memory_mib, part)) for part in parts), sizes)
    return table


def arithmetic(cells: Sequence[CellTimes], names: Mapping[str, str]) -> RenderableType:
    """FLOPs, and how near the ceilings they come."""
    table = plain("arithmetic")
    forms = list(cells[0].ceiling_share)
    for column in ("GFLOP/image", "reached", *(f"of {form} ceiling" for form in forms)):
        table.add_column(column, justify="right")
    on_gpu = any(cell.busy is not None for cell in cells)
    if on_gpu:
        table.add_column("kernels run", justify="right")
    for cell in cells:
        row = [names[cell.cell], f"{cell.gflop_per_image:.3g}", tflops(cell.tflops)]
        row += [f"{cell.ceiling_share[form]:.0%}" for form in forms]
        table.add_row(*row, *([f"{cell.busy:.0%}" if cell.busy is not None else ""] if on_gpu else []))
    return table


def versus(cells: Sequence[CellTimes], names: Mapping[str, str]) -> RenderableType:
    """Each cell over the one that it was set against."""
    others = {cell.vs.cell for cell in cells if cell.vs}
    table = plain(f"over {names[next(iter(others))]}, in alternation (least to most of the rounds)")
    for cell in cells:
        table.add_column(names[cell.cell], justify="right", overflow="fold")
    for key in dict.fromkeys(key for cell in cells if cell.vs for key in cell.vs.ratios):
        found = [cell.vs.ratios.get(key) for cell in cells if cell.vs]
        table.add_row(key.replace("_", " "), *(f"{one.median:.3f} ({between(one)})" if one else "" for one in found))
    return table


def outlook(found: Measured) -> str:
    """The forecast, and how many runs should share a GPU."""
    ahead = found.forecast
    if ahead.seconds is None:
        said = "nothing is left to train"
    else:
        places = f"{ahead.places} place{'' if ahead.places == 1 else 's'}"
        said = f"{ahead.runs} runs to train: about {span(ahead.seconds)} of training, "
        said += f"{span(ahead.seconds / ahead.places)} on {places} if none slows another; training alone, no scores"
        if ahead.unlike:
            said += f" ({ahead.unlike} of a shape that was not timed: the median rate stands for theirs)"
    advised = found.advice
    if advised.runs_per_gpu is None:
        return f"{said}\n{advised.why}"
    return f"{said}\nresources.runs_per_gpu: {advised.runs_per_gpu}, for {advised.why}"


def plain(title: str) -> Table:
    """An empty table whose first column is folded."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title=title, title_justify="left")
    table.add_column("", overflow="fold")
    return table


def figure(value: float) -> str:
    """Three figures: `85.2`, `0.031`, `1,230`."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def between(found: Spread) -> str:
    """From the least to the most."""
    return f"{figure(found.low)}–{figure(found.high)}"


def tflops(value: float) -> str:
    """10^12 FLOP a second as people write it."""
    return f"{value:.3g} TFLOP/s" if value >= 1 else f"{1000 * value:.3g} GFLOP/s"
