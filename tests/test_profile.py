"""Timing the loop changes nothing in it, its counts are those by hand, and a plan takes its cost from it."""

import collections
import contextlib
import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from test_train import Memory, images
from tiny_study import tiny_study

from bench import measured, overview, profile, timetable, timing
from bench.data import Part
from bench.design import Cell, Run
from bench.device import Flops, bytes_of, covered
from bench.measured import Advice, Machine, Measured, Rates, Spread
from bench.schedule import nimg_after, schedule, stage
from bench.stopwatch import DivergedError, Spans, Step, levels_of, throw
from bench.study import StudyError
from bench.terminal import Terminal
from bench.train import train

CPU = torch.device("cpu")
PART = Part(images(), torch.zeros(20, dtype=torch.int64))
TIMED = {"loss": "wasserstein", "penalty": "gp", "ema": 0.9, "train__n_critic": 3, "train__g_steps": 6}
GROWN = {
    **{"network": "progan", "growth": True, "growth_start": 4, "growth_stable_kimg": 0.008, "growth_fade_kimg": 0.008},
    **{"train__n_critic": 1, "train__g_steps": 60},
}


def ready(setting, steps=2):
    return throw(setting, PART, CPU, steps)


def test_spans_cover_each_part_as_often_as_it_ran(tiny):
    names = collections.Counter()

    @contextlib.contextmanager
    def span(name):
        yield
        names[name] += 1

    train(tiny(**TIMED), PART, schedule(tiny(**TIMED), 20), Memory(), span=span)
    assert names == {"D": 18, "G": 6, "data": 24, "ema": 6, "log": 6}


def test_spans_cover_the_three_phases_of_sgan(tiny):
    sgan = {"condition": "sgan", "data__classes": 2, "data__labels": 8, "train__n_critic": 1}
    setting, spans = tiny(**sgan), Spans(CPU)
    part = Part(images(), torch.arange(20) % 2)
    assert train(setting, part, schedule(setting, 20), Memory(), span=spans).status == "done"
    counted = collections.Counter(name for name, *_ in spans.spans[0])
    phases = set(counted) - {"data", "ema", "log"}
    assert len(phases) == 4 and counted["data"] == sum(counted[name] for name in phases)


def test_a_timed_loop_ends_with_the_weights_of_one_that_is_not(tiny):
    setting = tiny(**TIMED)
    plain, timed = (train(setting, PART, schedule(setting, 20), Memory(), **how) for how in ({}, {"span": Spans(CPU)}))
    assert plain.status == "done" and plain.weights == timed.weights


def test_a_block_has_the_steps_that_were_asked_for(tiny):
    steps = ready(tiny(**TIMED), steps=4).block().steps
    assert [step.counts["D"] for step in steps] == [3] * 4
    assert [step.counts["data"] for step in steps] == [4] * 4
    assert sum(step.logged for step in steps) == 4  # six steps in all: a row in each
    assert all(sum(step.parts.values()) < step.whole for step in steps)


def test_it_is_timed_past_the_warm_up_of_the_critic(tiny):
    timed = ready(tiny(train__critic_warmup=True, train__n_critic=1, train__g_steps=60))
    assert [step.counts["D"] for step in timed.block().steps] == [1, 1]


def test_it_is_timed_when_a_growing_net_is_grown(tiny):
    setting = tiny(**GROWN)
    timed = ready(setting)
    now = stage(setting, timed.first)
    assert stage(setting, 0).size == 4 and (now.size, now.fade) == (16, 1.0)
    assert len(timed.block().steps) == 2


def test_a_forecast_of_a_growing_run_is_a_mean_over_its_levels(tiny):
    """8 images at 4 px, 16 at 8 px (fade and whole), the rest of 240 at 16 px: batch 4, one D update a step."""
    setting = tiny(**GROWN)
    assert levels_of(setting, 60) == [(2, 8), (6, 16), (60, 216)]
    assert levels_of(setting, 5) == [(2, 8), (5, 12)]
    assert levels_of(tiny(), 6) == [(6, 48)]
    subject = timing.look(ready(setting))
    assert [images for images, _ in subject.below] == [8, 16] and subject.images == 216
    subject = dataclasses.replace(subject, below=((8, 1.0), (16, 2.0)))
    assert timing.seconds_an_image(subject, 3.0) == (8 * 1 + 16 * 2 + 216 * 3) / 240


def test_a_run_shorter_than_a_block_is_timed_all_the_same(tiny):
    assert len(ready(tiny(train__g_steps=1), steps=5).block().steps) == 5


def test_divergence_is_told(tiny):
    with pytest.raises(DivergedError, match="not finite"):
        ready(tiny(loss="wasserstein", train__optimizer="sgd", train__lr=1e30, train__g_steps=30), steps=9).block()


def test_flops_by_hand(tiny):
    """The original GAN's nets on 16 px, batch 4.  Multiply-adds an image of each layer:

    G: 8·4, 4·4, 4·256 = 1,072.  D (5 pieces of maxout): 256·20, 4·20, 4·1 = 5,204.
    D's update: G forward; D on a real and a fake, each forward 5,204, gradients of weights 5,204, and of the inputs of
    all layers but the first 84.  G's update: both forward 1,072 + 5,204; gradients of D's inputs, all layers, 5,204;
    of G's weights 1,072; of the inputs of G's layers but the first 1,040.
    """
    nets = {"network": "mlp", "g_norm": "none", "d_norm": "none", "hidden_layers": 2, "maxout": 5}
    timed = ready(tiny(**nets, train__n_critic=2))
    d_update = 1_072 + 2 * (5_204 + 5_204 + 84)
    g_update = 1_072 + 5_204 + 5_204 + 1_072 + 1_040
    with Flops() as flops:
        timed.one_step()
    assert flops.total == 2 * 4 * (2 * d_update + g_update)
    subject = timing.look(timed)
    assert subject.images_a_step == nimg_after(timed.setting, 1) == 8
    assert subject.gflop_per_image == flops.total / 8 / 1e9


def test_flops_of_a_penalty_are_counted(tiny):
    """The gradient of a gradient is more than nothing: torch's own counter stops there."""
    counted = []
    for penalty in ("none", "gp"):
        timed = ready(tiny(loss="wasserstein", penalty=penalty, d_batching="joint"))
        with Flops() as flops:
            timed.one_step()
        counted.append(flops.total)
    assert counted[1] > 1.3 * counted[0]


def test_bytes_are_counted_once_a_storage():
    whole = torch.zeros(2**18)  # 1 MiB
    assert bytes_of({"a": whole, "b": [whole[:5], (whole.view(2, -1), 3)], "c": torch.zeros(2**17)}) == 1.5


def test_arithmetic_of_rounds():
    assert measured.ratio([2.0, 6.0, 3.0], [1.0, 2.0, 3.0]) == Spread(median=2.0, low=1.0, high=3.0)
    assert measured.ratio([2.0], [0.0]) is None
    assert measured.difference([5.0, 9.0, 4.0], [1.0, 3.0, 2.0]) == Spread(median=4.0, low=2.0, high=6.0)
    assert measured.of_steps([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(median=3.0, low=2.0, high=4.0)
    assert measured.of_steps([7.0]) == Spread(median=7.0, low=7.0, high=7.0)


def test_the_log_is_shared_out_over_its_steps():
    """A row takes 4 ms; the run writes one in 8 steps, whatever the block does."""
    steps = [Step(10.0, {"D": 5.0}, {"D": 1}, False), Step(14.0, {"D": 5.0, "log": 4.0}, {"D": 1, "log": 1}, True)]
    assert timing.log_ms(steps, 8) == 0.5
    assert timing.log_ms(steps[:1], 8) == 0.0
    assert [step.own for step in steps] == [10.0, 10.0]


def test_share_in_which_kernels_run():
    """Of the second half, 50 to 100: 50 to 60, 70 to 90 in two that overlap, 95 to 100."""
    assert covered([(0, 60), (70, 80), (75, 90), (95, 100)]) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("peak", "busy", "cores", "expected"),
    [
        (1_400, 0.25, 16, 4),  # the GPU is idle three quarters of the time
        (30_000, 0.25, 16, 2),  # 0.9 · 80,000 / 30,600
        (1_400, 0.25, 3, 3),
        (1_400, 0.9, 16, 1),
        (90_000, 0.1, 16, 1),
    ],
)
def test_runs_per_gpu(profiled, peak, busy, cores, expected):
    found, _ = profiled
    cell = found.cells[0]
    cell = cell.model_copy(update={"busy": busy, "memory_mib": cell.memory_mib.model_copy(update={"peak": peak})})
    gpu = Machine(device="x", host="h", cpu=None, threads=1, cores=cores, torch="2", gpu_memory_mib=80_000.0)
    assert measured.advice([cell], gpu, 1).runs_per_gpu == expected


def test_what_has_run_counts_more_than_what_was_timed(tiny):
    """60 images a run; a shape that ran at 2 s an image, one timed at 3 s, one unknown: the median of what ran."""
    kinds = {"ran": tiny(), "timed": tiny(g_width=6), "unknown": tiny(g_width=8)}
    runs = [Run(Cell(name, {}, {}, (), None), 0, setting, name) for name, setting in kinds.items()]
    n = nimg_after(kinds["ran"], 6)
    shapes = {name: overview.shape_digest(setting) for name, setting in kinds.items()}
    sources = {kinds["ran"].data: type("Source", (), {"parts": {"train": 20}})}
    rates = Rates({shapes["ran"]: 9.0, shapes["timed"]: 3.0}, "a profile")
    found = overview.estimate_of(runs, {shapes["ran"]: [2.0]}, rates, sources)
    assert found == overview.Estimate(3, n * (2.0 + 3.0 + 2.0), unlike=1, profiled=1)
    assert overview.estimate_of(runs, {}, Rates(), sources).seconds is None


# ---------------------------------------------------------------------------------------------------------
# The command.


def command(folder, name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "tiny.yaml", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "BENCH_DATA": str(folder / "data")},
    )


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """A profile of the tiny study's two cells, one set against the other, and its folder."""
    folder = tmp_path_factory.mktemp("profiled")
    (folder / "tiny.yaml").write_text(tiny_study(2, "{parallel: 2}"))
    shown = command(folder, "profile", "--vs", "reference", "--steps", "4", "--json", "found.json")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for said in (
        "images/s",
        "D",
        "G",
        "GFLOP/image",
        "4 runs to train: about",
        "2 runs side by side",
        "in alternation",
    ):
        assert said in shown.stdout
    found = measured.read(folder / "found.json")
    assert found is not None
    return found, folder


def test_json_is_whole_and_adds_up(profiled):
    found, folder = profiled
    kept = folder / "results/studies/tiny/profile.json"
    assert kept.read_bytes() == (folder / "found.json").read_bytes()
    assert Measured.model_validate_json(found.model_dump_json()) == found
    assert [cell.cell for cell in found.cells] == ["g_norm=bn", "g_norm=adain"]
    for cell in found.cells:
        assert cell.images_per_second == pytest.approx(1000 * cell.images_a_step / cell.step_ms.median)
        assert cell.tflops == pytest.approx(cell.gflop_per_image * cell.images_per_second / 1e3)
        assert cell.updates == {"D": 1, "G": 1}
        assert cell.penalty is None and cell.busy is None
        assert cell.measured_steps == 4
    assert found.core_share is not None and 0 < found.core_share < 1.05
    assert found.cells[0].vs is None and found.cells[1].vs is not None
    assert found.cells[1].vs.cell == "g_norm=bn"
    assert found.advice == Advice(runs_per_gpu=None, why=found.advice.why)
    images = sum(2 * nimg / cell.images_per_second for cell, nimg in zip(found.cells, (24, 24), strict=True))
    assert found.forecast.seconds == pytest.approx(images)


@pytest.mark.parametrize(("share", "is_said"), [(0.4, True), (0.97, False), (None, False)])
def test_a_busy_machine_is_told(profiled, share, is_said):
    found = profiled[0].model_copy(update={"core_share": share})
    console = Terminal(width=100)
    with console.capture() as shown:
        console.print(timetable.shown(found, {cell.cell: cell.cell for cell in found.cells}))
    assert ("only 40% of the time" in shown.get()) == is_said
    assert max(map(len, shown.get().splitlines())) <= 100


def test_a_dry_run_takes_its_cost_from_it(profiled):
    found, folder = profiled
    shown = command(folder, "run", "--dry-run")
    assert f"4 runs to train: about {found.forecast.seconds:.0f} s of training" in shown.stdout
    assert "(by bench.profile on cpu, " in shown.stdout
    assert "unknown until" in command(folder, "run", "--dry-run", "--set", "resources.cpu_threads=2").stdout
    wider = command(folder, "run", "--dry-run", "--set", "g_width=6").stdout
    assert "4 of them of a shape not run yet" in wider


def test_a_profile_of_another_form_is_none(tmp_path):
    assert measured.rates(tmp_path, 1) == Rates()
    (tmp_path / measured.FILE).write_text(json.dumps({"format": 2}))
    assert measured.rates(tmp_path, 1) == Rates()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (("--cell", "g_norm=adian"), r"g_norm has no level 'adian'.*did you mean adain"),
        (("--cell", "g_nrom=bn"), r"no factor 'g_nrom'.*did you mean g_norm"),
        (("--cell", "referense"), r"no such cell; there are g_norm=bn"),
        (("--vs", "seed=0"), r"one cell is due, and that is 2"),
        (("--steps", "0"), r"at least 1"),
        (("--set", "train.world_size=2"), r"--set train.world_size=1"),
    ],
)
def test_bad_input_is_told(tmp_path, monkeypatch, said, message):
    (tmp_path / "tiny.yaml").write_text(tiny_study(2, "{}"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(
        sys, "argv", ["profile", str(tmp_path / "tiny.yaml"), "--results", str(tmp_path / "results"), *said]
    )
    with pytest.raises(StudyError, match=message):
        profile.main()
