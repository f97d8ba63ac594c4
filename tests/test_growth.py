"""Growth in time: stages by the images shown, the data behind them, and runs that grow."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_train import Memory
from torch import Tensor

from bench import data, sample
from bench import train as train_module
from bench.batches import Batches, at_stage
from bench.data import Part, batch_indices, indices_at
from bench.models import build
from bench.objectives import Phase
from bench.probes.watch import Fixed
from bench.schedule import Stage, d_updates, d_updates_before, nimg_after, schedule, stage
from bench.setting import Setting, resolve

GROWS = {
    "network": "progan",
    "data.name": "faces",
    "data.size": 16,
    "data.channels": 1,
    "growth": True,
    "growth_stable_kimg": 0.015,
    "growth_fade_kimg": 0.03,
    "g_norm": "none",
    "g_width": 4,
    "d_width": 4,
    "max_width": 8,
    "z_dim": 6,
    "equalized": True,
    "loss": "wasserstein",
    "penalty": "gp",
    "ema": 0.5,
    "train.batch": 4,
    "train.n_critic": 2,
    "train.lr": 1e-3,
    "train.g_steps": 14,
}
"""8 images a step: 2 steps at 4 px, then a fade of 4 and 2 at strength at 8 px, and again at 16 px."""


def growing(**knobs: Any) -> Setting:
    return resolve(GROWS, {name.replace("__", "."): value for name, value in knobs.items()})


# ---------------------------------------------------------------------------------------------------------
# Stages.


def simulated(setting: Setting, steps: int) -> list[tuple[int, float, int, int]]:
    """(size, fade, batch, images before) of each step, by the level of detail that the released code counts down."""
    stable, fade = 1000 * setting.growth_stable_kimg, 1000 * setting.growth_fade_kimg
    first = int(np.log2(setting.data.size // setting.growth_start))
    rows, shown = [], 0
    for step in range(steps):
        number, within = divmod(shown, stable + fade)
        lod = max(0.0, first - number - max(within - stable, 0.0) / fade)
        whole = int(np.floor(lod))
        batches = setting.growth_batches or (setting.train.batch,)
        batch = batches[min(first - whole, len(batches) - 1)]
        rows.append((setting.data.size >> whole, 1 - (lod - whole), batch, shown))
        shown += batch * d_updates(setting.train, step)
    return rows


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"growth_start": 8, "data__size": 64, "growth_batches": [7, 5, 3]},
        {"data__size": 32, "growth_batches": [2, 8], "growth_stable_kimg": 0.4011, "train__critic_warmup": True},
        {"data__size": 1024, "growth_stable_kimg": 0.0501, "growth_fade_kimg": 0.0007, "growth_batches": [16, 4]},
    ],
)
def test_stages_follow_the_released_schedule(knobs: dict[str, Any]) -> None:
    setting = growing(**knobs)
    rows = simulated(setting, 300)
    assert rows[-1][:2] == (setting.data.size, 1.0)
    for step, (size, fade, batch, shown) in enumerate(rows):
        now = stage(setting, step)
        assert (now.size, now.batch) == (size, batch)
        assert now.fade == pytest.approx(fade)
        assert nimg_after(setting, step) == shown == now.position(d_updates_before(setting.train, step))


def test_a_period_counts_levels_and_fades() -> None:
    periods = [stage(growing(), step).period for step in range(14)]
    assert periods == [0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 4, 4]
    assert [stage(growing(), step).size for step in range(14)] == [4] * 2 + [8] * 6 + [16] * 6


def test_labels_and_length_count_images_of_every_batch() -> None:
    """Batches of 16, then 4: 0.7 kimg are 0.35 at 8 px and the rest after it, in whole steps of 3 D updates."""
    setting = growing(
        data__size=16,
        growth_start=8,
        growth_batches=[16, 4],
        growth_stable_kimg=0.35,
        train__n_critic=3,
        train__g_steps=None,
        train__kimg=0.7,
        train__snapshots_kimg=[0.1, 0.5],
    )
    # 48 images a step until 8 x 48 = 384 have been shown, then 12 a step.
    plan = schedule(setting, 80)
    assert plan.steps == 8 + 27
    assert plan.snapshots == {3: "000000.144", 18: "000000.504", 35: "000000.708"}


def test_without_growth_there_is_one_stage() -> None:
    setting = growing(growth=False)
    assert {stage(setting, step) for step in (0, 1, 999)} == {Stage(16, 1.0, 4, 0, 0, 0)}
    assert nimg_after(setting, 999) == 999 * 8


# ---------------------------------------------------------------------------------------------------------
# Data.


def test_no_image_is_skipped_where_the_batch_changes() -> None:
    """The images of all updates one after another are the seeded order, epoch after epoch."""
    setting = growing(growth_batches=[6, 4, 3])
    n = 20
    part = Part(torch.zeros(n, 1, 16, 16, dtype=torch.uint8), torch.arange(n))
    batches = Batches(setting, part, "cpu")
    phase = Phase("D", "D", ("y",), lambda step: 2, lambda nets, batch: (torch.zeros(()), {}))
    seen: list[Tensor] = []
    for step in range(30):
        batches.stage = stage(setting, step)
        first = d_updates_before(setting.train, step)
        seen += [batches.draw(phase, first + repeat)["y"] for repeat in range(2)]
    assert {len(batch) for batch in seen} == {6, 4, 3}
    stream = torch.cat(seen)
    epochs = [batch_indices(n, n, epoch, setting.seed) for epoch in range(len(stream) // n + 1)]
    assert torch.equal(stream, torch.cat(epochs)[: len(stream)])


def test_indices_at_a_position_are_those_of_whole_batches() -> None:
    assert torch.equal(indices_at(10, 6, 5, 0), torch.cat([batch_indices(10, 2, step, 0) for step in (3, 4, 5)])[:5])


def test_reals_are_boxed_and_faded() -> None:
    x = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    boxed = torch.from_numpy(x.numpy().reshape(3, 2, 4, 2, 4, 2).mean(axis=(3, 5)))
    halved = torch.from_numpy(boxed.numpy().reshape(3, 2, 2, 2, 2, 2).mean(axis=(3, 5)))
    coarse = torch.from_numpy(np.kron(halved.numpy(), np.ones((1, 1, 2, 2), dtype=np.float32)))

    def shown(size: int, fade: float) -> Tensor:
        return at_stage(x, Stage(size, fade, 3, 1, 0, 0))

    assert shown(8, 1.0) is x
    torch.testing.assert_close(shown(4, 1.0), boxed)
    torch.testing.assert_close(shown(4, 0.0), coarse)
    torch.testing.assert_close(shown(4, 0.3), 0.7 * coarse + 0.3 * boxed)


# ---------------------------------------------------------------------------------------------------------
# Runs.


def pictures(n: int = 20) -> Part:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n, 1, 16, 16), generator=generator, dtype=torch.uint8)
    return Part(images, torch.zeros(n, dtype=torch.int64))


def run(setting: Setting, keeper: Any) -> Any:
    return train_module.train(setting, pictures(), schedule(setting, 20), keeper)


@pytest.mark.parametrize("stop", [4, 6, 9], ids=["in a fade", "between", "in the second fade"])
def test_resume_anywhere_equals_no_stop(stop: int) -> None:
    setting = growing(growth_batches=[4, 6], train__snapshots_g_steps=[5, 14])
    whole = Memory()
    expected = run(setting, whole)
    parts = Memory(stop_after=stop)
    assert run(setting, parts).step == stop
    second = Memory(checkpoint=parts.checkpoint)
    assert run(setting, second).weights == expected.weights
    assert parts.rows + second.rows == whole.rows
    assert parts.labels + second.labels == whole.labels


@pytest.mark.parametrize("reset", [True, False])
def test_moments_are_forgotten_where_a_period_begins(reset: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's count of the dense layer, which every stage trains: since the last period of 2 steps, or all 14."""
    made = {}

    def kept(net: Any, name: str, setting: Setting) -> Any:
        made[name] = (net, original(net, name, setting))
        return made[name][1]

    original = train_module.make_optimizer
    monkeypatch.setattr(train_module, "make_optimizer", kept)
    run(growing(growth_reset=reset), Memory())
    for name, times in (("G", 1), ("D", 2)):
        net, optimizer = made[name]
        layer = net.levels[0].blocks[0].conv.parametrizations.weight.original
        assert float(optimizer.state[layer]["step"]) == times * (2 if reset else 14)


def test_probes_stand_at_the_stage_of_the_run() -> None:
    """Their batch of 32 is smaller than the run's, whose own images count."""
    setting = growing(train__batch=48, growth_stable_kimg=0.25, growth_fade_kimg=0.25)
    fixed = Fixed(setting, pictures(60), "cpu", ("real",))
    for step in range(1, 14):
        now, then = fixed.stage(step), stage(setting, step - 1)
        assert (now.size, now.fade, now.batch) == (then.size, then.fade, 32)
        assert fixed.at(step)["real"].shape == (32, 1, now.size, now.size)


def test_growth_reset_changes_what_is_learned() -> None:
    assert run(growing(growth_reset=True), Memory()).weights != run(growing(growth_reset=False), Memory()).weights


class Snapshots(Memory):
    """Keeps whole snapshots, as files."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[tuple[bytes, Tensor]] = []
        self.setting: Setting

    def snapshot(self, label: str, G_ema: Any) -> None:
        file = io.BytesIO()
        torch.save(G_ema.state_dict(), file)
        shown = sample.fakes(copy.deepcopy(G_ema), self.setting, 6, seed=0, batch=6)
        self.files.append((file.getvalue(), shown))


def test_a_run_grows_on_faces(tmp_path: Path) -> None:
    """4 to 16 px through the loop; each snapshot, sampled later, shows what it showed then, at the data's size."""
    setting = growing(train__snapshots_g_steps=[1, 4, 7, 10, 14], mbstd=2, pixel_norm=True, z_normalized=True)
    faces = data.load(setting.data, tmp_path, tmp_path).part("train")
    keeper = Snapshots()
    keeper.setting = setting
    outcome = train_module.train(setting, faces, schedule(setting, len(faces.images)), keeper)
    assert outcome.status == "done"
    assert outcome.nimg == 14 * 8
    blocks = []
    for content, shown in keeper.files:
        G, _ = build(setting)
        G.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
        assert torch.equal(sample.fakes(G, setting, 6, seed=0, batch=6), shown)
        assert shown.shape == (6, 1, 16, 16)
        tiles = shown.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        blocks.append(bool((tiles == tiles[..., :1]).all()))
    assert blocks == [True, True, True, False, False]  # pixels are squares of 2x2 until 16 px fade in
