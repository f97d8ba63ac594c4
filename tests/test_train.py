"""The loop: same seed same weights, stop and resume equals no stop, bit for bit."""

import copy
import itertools
import math

import pytest
import torch

from bench import draws
from bench.batches import draw_z
from bench.data import Part
from bench.models import build
from bench.objectives import Phase
from bench.schedule import schedule
from bench.train import Sums, average, train, weights_digest


class Memory:
    """A keeper that holds everything in memory; stops after `stop_after` steps, checkpoints where told."""

    def __init__(self, stop_after=None, checkpoint=None, every=None):
        self.rows, self.labels, self.checkpoint, self.stop_after = [], [], checkpoint, stop_after
        self.every, self.asked = every, 0

    def load_checkpoint(self):
        return self.checkpoint

    def save_checkpoint(self, step, state):
        import io

        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        self.checkpoint = torch.load(buffer, weights_only=True)

    def log(self, row):
        self.rows.append({key: value for key, value in row.items() if key != "seconds"})

    def snapshot(self, label, G_ema):
        self.labels.append((label, weights_digest(G_ema)))

    def progress(self, **words):
        pass

    def checkpoint_due(self):
        return self.every is not None

    def stop_asked(self):
        self.asked += 1
        return self.stop_after is not None and self.asked >= self.stop_after


def images(n=20, size=16):
    return (draws.uniform((n, 1, size, size), 0, "test", 0) * 255).to(torch.uint8)


def run(setting, keeper):
    return train(setting, Part(images(), torch.zeros(20, dtype=torch.int64)), schedule(setting, 20), keeper)


FORMS = {
    "plain": {},
    "wgan_gp": {"loss": "wasserstein", "penalty": "gp", "train__n_critic": 3},
    "clip_rmsprop": {"loss": "wasserstein", "penalty": "clip", "train__optimizer": "rmsprop", "d_norm": "bn"},
    "spectral_adain_ema": {"g_norm": "adain", "d_weight": "spectral", "loss": "hinge", "ema": 0.9},
    "r1_equalized": {"penalty": "r1", "equalized": True, "pixel_norm": True, "mbstd": 4, "train__lr_decay": "linear"},
    "mapping_second_half": {
        **{"g_norm": "adain", "style_source": "mapping", "mapping_layers": 2, "train__lr_decay": "second_half"},
        **{"dequantize": 0.01, "train__g_batch": 6},
    },
    "style_image": {"g_norm": "adain", "style_source": "image", "train__lr_decay": "exponential"},
    "mlp_momentum_dropout": {
        **{"network": "mlp", "g_norm": "none", "d_dropout": 0.5, "g_dropout": 0.2, "init": "uniform"},
        **{
            "train__optimizer": "sgd",
            "train__momentum": 0.5,
            "train__final_momentum": 0.7,
            "train__momentum_epochs": 1,
        },
    },
    "sgd_uniform_z": {"train__optimizer": "sgd", "train__momentum": 0.5, "z_dist": "uniform", "sle": "sle"},
}


@pytest.mark.parametrize("form", FORMS)
def test_stop_and_resume_equals_no_stop(tiny, form):
    setting = tiny(**FORMS[form])
    whole = Memory()
    expected = run(setting, whole)
    assert expected.status == "done"
    parts = Memory(stop_after=3)
    first = run(setting, parts)
    assert (first.status, first.step) == ("stopped", 3)
    second = Memory(checkpoint=parts.checkpoint)
    resumed = run(setting, second)
    assert resumed.weights == expected.weights
    assert parts.rows + second.rows == whole.rows
    assert parts.labels + second.labels == whole.labels


def test_checkpointing_changes_nothing(tiny):
    assert run(tiny(), Memory()).weights == run(tiny(), Memory(every=1)).weights


def test_same_seed_same_weights_and_global_generator_does_not_matter(tiny):
    torch.manual_seed(1)
    one = run(tiny(), Memory()).weights
    torch.manual_seed(2)
    assert run(tiny(), Memory()).weights == one
    assert run(tiny(seed=1), Memory()).weights != one


def test_every_length_unit_gives_the_same_run(tiny):
    by_steps = run(tiny(), Memory())  # 6 steps × 2 D updates × batch 4 = 48 images
    by_kimg = run(tiny(train__g_steps=None, train__kimg=0.048), Memory())
    by_epochs = run(tiny(train__g_steps=None, train__epochs=48 / 20), Memory())
    assert by_steps.weights == by_kimg.weights == by_epochs.weights
    assert by_steps.nimg == 48


def test_exploding_run_is_diverged_with_step_and_cause(tiny):
    keeper = Memory()
    setting = tiny(loss="wasserstein", train__optimizer="sgd", train__lr=1e30, train__g_steps=30)
    outcome = run(setting, keeper)
    assert outcome.status == "diverged"
    assert outcome.cause is not None
    assert "not finite at step" in outcome.cause
    assert outcome.step <= 30
    assert all(math.isfinite(value) for row in keeper.rows for value in row.values())


def test_cells_share_data_and_z(tiny, monkeypatch):
    """Two cells of one seed see the same reals and the same z in each update, whatever their norms."""
    seen = {}

    def spy(setting):
        made = []

        def loss(nets, batch):
            made.append({key: value.clone() for key, value in batch.items() if key in ("real", "z")})
            return nets.D(batch["real"]).sum() * 0 + nets.G(batch["z"]).sum() * 0, {}

        seen[setting.g_norm] = made
        return [
            Phase("D", "D", ("real", "z", "gp_alpha"), lambda step: 2, loss, None),
            Phase("G", "G", ("z", "real"), lambda step: 1, loss, None),
        ]

    monkeypatch.setattr("bench.train.phases", spy)
    for norm in ("bn", "adain"):
        run(tiny(g_norm=norm), Memory())
    assert len(seen["bn"]) == len(seen["adain"]) == 18
    for one, other in zip(seen["bn"], seen["adain"], strict=True):
        assert torch.equal(one["real"], other["real"])
        assert torch.equal(one["z"], other["z"])


def test_an_update_trains_only_its_own_net(tiny, monkeypatch):
    """D's weights move in D's updates and stand still in G's, and the other way round."""
    from bench import objectives
    from bench import train as module

    digests = []

    def watched(setting):
        def wrap(phase):
            def loss(nets, batch):
                digests.append((phase.name, weights_of(nets.G), weights_of(nets.D)))
                return phase.loss(nets, batch)

            return Phase(phase.name, phase.trains, phase.needs, phase.times, loss, phase.before)

        return [wrap(phase) for phase in objectives.phases(setting)]

    def weights_of(net):
        return torch.cat([p.detach().flatten() for p in net.parameters()]).clone()

    monkeypatch.setattr(module, "phases", watched)
    run(tiny(), Memory())
    assert [name for name, _, _ in digests] == ["D", "D", "G"] * 6
    for (name, G, D), (_, next_G, next_D) in itertools.pairwise(digests):
        assert torch.equal(G, next_G) == (name == "D")
        assert torch.equal(D, next_D) == (name == "G")


def test_average_is_the_stated_recursion(tiny):
    torch.manual_seed(0)
    G, kept = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    expected = 0.9 * kept.weight.detach() + 0.1 * G.weight.detach()
    average(kept, G, 0.9, "copy")
    torch.testing.assert_close(kept.weight.detach(), expected)


def test_average_of_buffers():
    G, kept = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    G.running_mean += 10
    G.num_batches_tracked += 7
    average(kept, G, 0.9, "average")
    torch.testing.assert_close(kept.running_mean, torch.tensor([1.0, 1.0]))
    assert int(kept.num_batches_tracked) == 7
    average(kept, G, 0.9, "copy")
    torch.testing.assert_close(kept.running_mean, torch.tensor([10.0, 10.0]))


def test_sums_mean_and_first_bad_step():
    sums = Sums("cpu")
    for step, value in enumerate([1.0, 3.0, math.nan, 5.0]):
        sums.add(step, "D", torch.tensor(value), {"loss_D": torch.tensor(2.0 * step)})
    assert sums.means() == {"loss_D": 3.0}
    trouble = sums.divergence(4)
    assert trouble is not None
    assert trouble[0] == 3


def test_z_distributions(tiny):
    normal = draw_z(tiny(z_dim=64), 4096, 0, "z", 0)
    assert abs(float(normal.mean())) < 0.01
    assert abs(float(normal.std()) - 1) < 0.01
    uniform = draw_z(tiny(z_dim=64, z_dist="uniform"), 4096, 0, "z", 0)
    assert -1 <= float(uniform.min()) < -0.99
    assert 0.99 < float(uniform.max()) < 1
    assert abs(float(uniform.std()) - 1 / math.sqrt(3)) < 0.01


def test_only_running_statistics_are_averaged(tiny):
    """A vector of spectral norm's stays of unit length, and a stage of growth whole, whatever is averaged."""
    G, _ = build(tiny(g_norm="bn", g_weight="spectral"))
    kept = copy.deepcopy(G)
    with torch.no_grad():
        for number, value in enumerate(G.state_dict().values()):
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=torch.Generator().manual_seed(number)))
    before = {name: value.clone() for name, value in kept.named_buffers()}
    average(kept, G, 0.75, "average")
    seen = set()
    for (name, value), current in zip(kept.named_buffers(), G.buffers(), strict=True):
        kind = name.rpartition(".")[2]
        seen.add(kind)
        expected = 0.75 * before[name] + 0.25 * current if kind.startswith("running") else current
        torch.testing.assert_close(value, expected)
    assert {"u", "running_mean", "running_var", "num_batches_tracked"} <= seen
