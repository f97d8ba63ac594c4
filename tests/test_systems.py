"""Every network with every factor: each pair of levels that the rules allow meets in some cell, and each cell works.

Cells are tiny (width 4, batch 4); sizes and counts at the papers' widths are tested with each family.
"""

from __future__ import annotations

import copy
import io
import itertools
import random
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import torch

from bench import draws
from bench.batches import Batches
from bench.data import Part
from bench.models import build, set_chance, set_stage
from bench.objectives import Nets, Phase, phases
from bench.rules import verdicts
from bench.schedule import stage
from bench.setting import Setting, resolve

CLASSES = 3
BATCH = 4
TINY = {
    "g_width": 4,
    "d_width": 4,
    "max_width": 8,
    "z_dim": 6,
    "train.batch": BATCH,
    "train.g_steps": 1,
    "data.classes": CLASSES,
    "mapping_layers": 2,
    "growth_stable_kimg": BATCH / 1000,
    "growth_fade_kimg": 2 * BATCH / 1000,
}
SIZES = {
    "mlp": (8, 16),
    "dcgan": (28, 32),
    "sndcgan": (16, 24),
    "resnet": (32, 48),
    "progan": (8, 16),
    "fastgan": (64, 128),
    "unet": (32, 64),
}
LEVELS: dict[str, tuple[Any, ...]] = {
    "where": tuple((network, size) for network, sizes in SIZES.items() for size in sizes),
    "data.channels": (1, 3),
    "g_norm": ("none", "bn", "in", "ln", "gn", "adain", "selfmod_bn", "cbn"),
    "d_norm": ("none", "bn", "ln", "in", "gn"),
    "g_weight": ("none", "spectral", "weight", "orthogonal"),
    "d_weight": ("none", "spectral", "weight", "orthogonal"),
    "equalized": (False, True),
    "pixel_norm": (False, True),
    "mbstd": (0, 2, "all"),
    "mbdiscrimination": (0, 3),
    "sle": ("none", "add", "sle"),
    "loss": (
        *("nonsaturating", "minimax", "wasserstein", "hinge", "leastsquares"),
        *("relativistic", "relativistic_average"),
    ),
    "penalty": ("none", "gp", "gp0", "r1", "r2", "r1r2", "dragan", "clip"),
    "condition": ("none", "concat", "embed_mul", "acgan", "projection", "sgan"),
    "style_source": ("z", "mapping"),
    "growth": (False, True),
    "augment": ((), ("color", "translation", "cutout")),
    "g_noise": (False, True),
    "drift": (0.0, 1e-3),
}
Cell = dict[str, Any]


@lru_cache(maxsize=100_000)
def _setting(items: tuple[tuple[str, Any], ...]) -> Setting | None:
    cell = dict(items)
    network, size = cell.pop("where")
    said = {**TINY, **cell, "network": network, "data.size": size}
    said["augment"] = list(said["augment"])
    if network == "unet":
        said |= {"data.pairs": "edges", "l1_weight": 10.0, "patch": 16}
    setting = resolve(said)
    return None if any(verdict.kind == "deny" for verdict in verdicts(setting)) else setting


def setting_of(cell: Cell) -> Setting | None:
    """The cell's setting; None where the rules deny it."""
    return _setting(tuple(cell.items()))


def covering(seed: int = 0) -> Iterator[Cell]:
    """Greedily list allowed cells until each pair of levels stands in one, or was denied in every cell tried."""
    generator = random.Random(seed)
    pairs = {  # a dict, not a set: its order is the same in every process
        ((a, i), (b, j)): True
        for a, b in itertools.combinations(LEVELS, 2)
        for i in range(len(LEVELS[a]))
        for j in range(len(LEVELS[b]))
    }
    tried: dict[Any, int] = {}
    while pairs:
        start = max(pairs, key=lambda pair: (-tried.get(pair, 0), generator.random()))
        best = _grown(dict(start), pairs, generator)
        if best is None:
            tried[start] = tried.get(start, 0) + 1
            if tried[start] == 2:
                del pairs[start]
            continue
        for pair in itertools.combinations(best.items(), 2):
            pairs.pop(pair, None)
        yield {name: LEVELS[name][index] for name, index in best.items()}


def _grown(fixed: dict[str, int], pairs: dict[Any, bool], generator: random.Random) -> dict[str, int] | None:
    """Fill in the other factors, preferring levels that cover pairs, from the plain level where one is denied."""
    chosen = {name: fixed.get(name, 0) for name in LEVELS}
    if setting_of({name: LEVELS[name][index] for name, index in chosen.items()}) is None:
        return None
    order = [name for name in LEVELS if name not in fixed]
    generator.shuffle(order)
    for name in order:
        ranked = sorted(
            range(len(LEVELS[name])),
            key=lambda index: (
                -sum(tuple(_ordered((name, index), (other, chosen[other]))) in pairs for other in fixed),
                generator.random(),
            ),
        )
        for index in ranked:
            trial = {**chosen, name: index}
            if setting_of({key: LEVELS[key][value] for key, value in trial.items()}) is not None:
                chosen = trial
                break
        fixed = {**fixed, name: chosen[name]}
    return {name: chosen[name] for name in LEVELS}


def _ordered(a: tuple[str, int], b: tuple[str, int]) -> list[tuple[str, int]]:
    names = list(LEVELS)
    return sorted((a, b), key=lambda pair: names.index(pair[0]))


CELLS = list(covering())


def named(cell: Cell) -> str:
    """The levels that are not the plain ones."""
    said = [f"{name}={level}" for name, level in cell.items() if name != "where" and level != LEVELS[name][0]]
    return ",".join([f"{cell['where'][0]}{cell['where'][1]}", *said])


def part_of(setting: Setting) -> Part:
    """Eight random images with labels, and their inputs where pairs are asked for."""
    channels, size = setting.data.channels or 1, setting.data.size
    images = (draws.uniform((8, channels, size, size), 0, "test", 0) * 255).to(torch.uint8)
    inputs = (draws.uniform((8, 1, size, size), 0, "inputs", 0) * 255).to(torch.uint8)
    return Part(images, torch.arange(8) % CLASSES, *([inputs] if setting.data.pairs != "none" else []))


def never_moves(setting: Setting) -> set[str]:
    """Parameters whose gradient is exactly zero, by mathematics."""
    unmoved = set()
    differences = setting.loss in ("wasserstein", "relativistic", "relativistic_average")
    if differences and (setting.drift == 0 or setting.penalty == "clip"):
        unmoved.add("D.logit.bias")  # only differences of logits count; those of a clipped D are 0 at the start
        if setting.network == "progan" and setting.d_norm == "gn":
            # One pixel's groups of two channels are (-1, 1) or (1, -1): mostly the same for reals and fakes.
            unmoved.add("D.levels.0.blocks.1.norm.bias")
    if setting.loss == "hinge" and setting.drift == 0:
        unmoved.add("D.logit.bias")  # as long as every logit is within its margin, as at the start
    return unmoved


def test_every_pair_of_levels_that_may_meet_does():
    """Counted afresh from the cells: what is missing is what the rules deny on the plainest cell with both levels."""
    met = {
        ((a, LEVELS[a].index(cell[a])), (b, LEVELS[b].index(cell[b])))
        for cell in CELLS
        for a, b in itertools.combinations(LEVELS, 2)
    }
    for a, b in itertools.combinations(LEVELS, 2):
        for (i, one), (j, other) in itertools.product(enumerate(LEVELS[a]), enumerate(LEVELS[b])):
            if ((a, i), (b, j)) not in met:
                plain = {name: levels[0] for name, levels in LEVELS.items()}
                assert setting_of({**plain, a: one, b: other}) is None, f"{a}={one} never meets {b}={other}"


@pytest.mark.parametrize("cell", CELLS, ids=named)
def test_a_cell_learns_and_is_restored(cell):
    """Shapes and range; gradients reach every parameter; a step moves every weight; a saved net is the same net."""
    setting = setting_of(cell)
    assert setting is not None
    stood: set[str] | None = None
    for seed in range(3):  # so few channels may all be dead by chance; not under each seed
        seeded = setting.model_copy(update={"seed": seed})
        G, D = build(seeded)
        batches = Batches(seeded, part_of(seeded), "cpu")
        still = standing(seeded, G, D, batches)
        stood = still if stood is None else stood & still
        if stood <= never_moves(setting):
            break
    assert stood is not None and stood <= never_moves(setting)

    images_are_right_and_restored(seeded, G, batches)


def standing(setting: Setting, G: torch.nn.Module, D: torch.nn.Module, batches: Batches) -> set[str]:
    """Make one step, or those in which a net grows; return the parameters that did not move."""
    nets, trained = Nets(G, D), {"G": G, "D": D}
    moved: dict[str, set[str]] = {"G": set(), "D": set()}
    for step in range(8 if setting.growth else 1):
        batches.stage = stage(setting, step)
        for net in (G, D):
            set_stage(net, batches.stage.size, batches.stage.fade)
        for phase in phases(setting):
            moved[phase.trains] |= one_update(phase, nets, trained, batches, step)
    return {
        f"{name}.{parameter}"
        for name, net in trained.items()
        for parameter, _ in net.named_parameters()
        if parameter not in moved[name]
    }


def one_update(phase: Phase, nets: Nets, trained: dict[str, torch.nn.Module], batches: Batches, step: int) -> set[str]:
    """Make one update; return the parameters that it moved."""
    net = trained[phase.trains]
    for name, other in trained.items():
        other.requires_grad_(name == phase.trains)
        set_chance(other, 0, phase.stream or phase.name, step)
    if phase.before is not None:
        phase.before(nets)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, eps=1e-15)  # however small a gradient is
    loss, logs = phase.loss(nets, batches.draw(phase, step))
    assert loss.shape == () and bool(loss.isfinite()) and all(bool(value.isfinite()) for value in logs.values())
    loss.backward()
    for name, value in net.named_parameters():
        assert value.grad is None or bool(value.grad.isfinite().all()), name
    optimizer.step()
    return {name for name, value in net.named_parameters() if not torch.equal(value.detach(), before[name])}


def images_are_right_and_restored(setting: Setting, G: torch.nn.Module, batches: Batches) -> None:
    """G makes [B, C, R, R] in [-1, 1] (or linear), and the same from its saved state."""
    phase = next(phase for phase in phases(setting) if phase.trains == "G")
    batch = batches.draw(phase, 1)
    kept = io.BytesIO()
    torch.save(G.state_dict(), kept)
    other, _ = build(setting.model_copy(update={"seed": setting.seed + 1}))
    other.load_state_dict(torch.load(io.BytesIO(kept.getvalue()), weights_only=True))
    made = []
    for net in (G, other):
        sampler = copy.deepcopy(net).eval()
        set_chance(sampler, 0, "check", 0)
        with torch.no_grad():
            made.append(sampler(batch.get("z"), batch.get("y_fake", batch.get("y"))))
    size = setting.data.size
    assert made[0].shape == (BATCH, setting.data.channels, size, size) or setting.growth
    if setting.output != "linear" and setting.network != "progan":
        assert float(made[0].abs().max()) <= 1
    assert torch.equal(*made)
