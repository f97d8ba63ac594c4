"""On a CUDA device: resume is exact, runs repeat, and one step agrees with the CPU's.  `pytest -m gpu`."""

import contextlib

import pytest
import torch
from test_train import FORMS, Memory, images, run
from test_updates import GROWING, MORE

from bench.data import Part
from bench.models import build
from bench.objectives import Nets, phases
from bench.schedule import schedule
from bench.train import train
from bench.updates import own_stream, recorder_for

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def run_on_gpu(setting, keeper):
    return train(setting, Part(images(), torch.zeros(20, dtype=torch.int64)), schedule(setting, 20), keeper, "cuda")


@pytest.mark.parametrize("form", FORMS)
def test_stop_and_resume_equals_no_stop(tiny, form):
    setting = tiny(**FORMS[form])
    whole, parts = Memory(), Memory(stop_after=3)
    expected = run_on_gpu(setting, whole)
    assert run_on_gpu(setting, parts).status == "stopped"
    resumed = run_on_gpu(setting, Memory(checkpoint=parts.checkpoint))
    assert resumed.weights == expected.weights


def test_same_run_twice(tiny):
    assert run_on_gpu(tiny(), Memory()).weights == run_on_gpu(tiny(), Memory()).weights


def test_initial_weights_are_those_of_the_cpu(tiny):
    assert run(tiny(train__g_steps=1), Memory()).status == "done"
    here, there = build(tiny())[0], build(tiny())[0].cuda()
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        assert torch.equal(one, other.cpu())


def recorded_on_gpu(setting):
    device = torch.device("cuda")
    part = Part(images(), torch.zeros(20, dtype=torch.int64))
    with own_stream(device):
        return train(setting, part, schedule(setting, 20), Memory(), device, recorder=recorder_for(device, wanted=True))


@pytest.mark.parametrize("form", [*FORMS, *MORE])
def test_graphs_give_the_very_weights_of_the_plain_loop(tiny, form):
    setting = tiny(**{**FORMS, **MORE}[form], train__g_steps=20)
    found = recorded_on_gpu(setting)
    assert bool(found.plain_because) == (form == "mlp_momentum_dropout"), found.plain_because
    assert found.weights == run_on_gpu(setting, Memory()).weights


def test_growth_is_recorded_at_each_size(tiny):
    found = recorded_on_gpu(tiny(**GROWING))
    assert found.plain_because == ""
    assert found.weights == run_on_gpu(tiny(**GROWING), Memory()).weights


class Strict(Memory):
    """Has torch raise where the loop waits for the device, but while a row is logged."""

    def stop_asked(self):
        torch.cuda.set_sync_debug_mode("error")
        return super().stop_asked()


def test_the_loop_waits_for_the_device_only_to_log(tiny):
    setting = tiny(train__g_steps=5000, loss="wasserstein", penalty="gp")
    keeper = Strict()
    plan = schedule(setting, 20)
    with contextlib.suppress(RuntimeError):  # the first row of the log
        try:
            train(setting, Part(images(), torch.zeros(20, dtype=torch.int64)), plan, keeper, "cuda")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert keeper.asked == plan.log_every


def test_images_on_the_host_train_the_same(tiny, monkeypatch):
    expected = run_on_gpu(tiny(), Memory()).weights
    monkeypatch.setattr("bench.held.SHARE", 0.0)
    assert run_on_gpu(tiny(), Memory()).weights == expected


@pytest.mark.parametrize("form", FORMS)
def test_losses_agree_with_the_cpu(tiny, form):
    """Same weights, same batch: each phase's loss to float tolerance."""
    setting = tiny(**FORMS[form])
    batch = {
        "real": images(4).float() / 127.5 - 1,
        "z": torch.linspace(-1, 1, 4 * setting.z_dim).view(4, -1),
        "gp_alpha": torch.full((4, 1, 1, 1), 0.3),
    }
    for phase in range(2):
        losses = []
        for device in ("cpu", "cuda"):
            nets = Nets(*(net.to(device).train() for net in build(setting)))
            on_device = {key: value.to(device) for key, value in batch.items()}
            losses.append(float(phases(setting)[phase].loss(nets, on_device)[0]))
        assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-5)
