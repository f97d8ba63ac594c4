"""Probes: they change nothing, and each says what its formula says."""

import json
import math

import pytest
import torch
from test_train import Memory, images
from torch import nn

from bench import probes
from bench.data import Part
from bench.models import build, set_chance
from bench.probes.layers import (
    Recorder,
    SpectralNorms,
    batch_drift,
    dead,
    gradient_norms,
    largest_singular,
    power_iteration,
    still,
    weight_matrix,
)
from bench.probes.watch import ROWS, Probes, critic_gradients, row_distance, smaller
from bench.schedule import Schedule, schedule
from bench.train import train, weights_digest


class Watched(Memory):
    """A keeper that holds the rows of probes too."""

    def __init__(self, **given):
        super().__init__(**given)
        self.probed = []

    def probe(self, row):
        json.dumps(row, allow_nan=False)
        self.probed.append({key: value for key, value in row.items() if key != "seconds"})


def part(n=20, size=16):
    return Part(images(n, size), torch.arange(n) % 2)


def watch(setting, names=probes.NAMES, held_out=True, **given):
    plan = schedule(setting, 20)
    return Probes(names, setting, plan, part(), part(6) if held_out else None, **given)


def run(setting, keeper, watching=None):
    return train(setting, part(), schedule(setting, 20), keeper, probes=watching)


FORMS = {
    "batch_norm": {"g_norm": "bn", "d_norm": "bn", "d_weight": "spectral"},
    "gp_ema": {"loss": "wasserstein", "penalty": "gp", "ema": 0.9, "g_norm": "adain"},
    "drawing_layers": {"g_dropout": 0.5, "equalized": True, "mbstd": 4},
    "labels": {"condition": "projection", "data__classes": 2, "g_norm": "cbn"},
}


@pytest.mark.parametrize("form", FORMS)
def test_training_is_the_same_bit_for_bit_with_probes_and_without(tiny, form):
    setting = tiny(**FORMS[form])
    plain, watched = Memory(), Watched()
    expected = run(setting, plain)
    probing = watch(setting, every_kimg=1e-6)  # a row after every step
    assert run(setting, watched, probing).weights == expected.weights
    assert watched.rows == plain.rows and watched.labels == plain.labels
    assert [row["step"] for row in watched.probed] == list(range(7))


def test_a_row_moves_neither_the_nets_nor_the_global_generator(tiny):
    setting = tiny(g_norm="bn", d_norm="bn", d_weight="spectral", g_dropout=0.5)
    G, D = build(setting)
    set_chance(G, 0, "G", 3)
    before, generator = weights_digest(G, D), torch.get_rng_state()
    one, other = (watch(setting).row(2, G, D) for _ in range(2))
    assert weights_digest(G, D) == before and torch.equal(torch.get_rng_state(), generator)
    assert one["values"] == other["values"]  # one fixed batch


def test_resumed_the_rows_are_those_of_a_run_never_stopped(tiny):
    setting = tiny(d_weight="spectral", train__snapshots_g_steps=(6,))
    whole = Watched()
    run(setting, whole, watch(setting, every_kimg=1e-6))
    first = Watched(stop_after=3)
    run(setting, first, watch(setting, every_kimg=1e-6))
    second = Watched(checkpoint=first.checkpoint)
    run(setting, second, watch(setting, every_kimg=1e-6))
    assert first.probed + second.probed == whole.probed


def test_switched_on_after_a_stop_they_start_there(tiny):
    first = Memory(stop_after=3)
    run(tiny(), first)
    second = Watched(checkpoint=first.checkpoint)
    assert run(tiny(), second, watch(tiny(), every_kimg=1e-6)).weights == run(tiny(), Memory()).weights
    assert [row["step"] for row in second.probed] == [4, 5, 6]


def test_what_is_asked_for_is_taken_and_no_more(tiny):
    G, D = build(tiny(g_norm="bn"))
    for name in probes.NAMES:
        row = watch(tiny(g_norm="bn"), names=(name,)).row(1, G, D)
        belongs = {"activations", "dead_units"} if name == "activations" else {name}
        assert {probes.MEASURES[measure].probe for measure in row["values"]} <= belongs
        known = {probes.PROBES[one].layers for one in belongs}
        assert set(row["layers"]) <= known
    whole = watch(tiny(g_norm="bn")).row(1, G, D)
    assert set(whole["values"]) <= set(probes.MEASURES)


def test_without_held_out_reals_there_is_no_gap_to_them(tiny):
    values = watch(tiny(), held_out=False).row(1, *build(tiny()))["values"]
    assert "logit_gap_fake" in values and "logit_gap_held_out" not in values


def test_what_is_not_finite_is_null(tiny):
    G, D = build(tiny())
    with torch.no_grad():
        next(D.parameters()).fill_(math.nan)
    row = watch(tiny()).row(1, G, D)
    assert row["values"]["spectral_norm_D"] is None and row["values"]["spectral_norm_G"] is not None
    assert row["values"]["logit_train"] is None


FAMILIES = {
    "mlp": {"network": "mlp"},
    "sndcgan": {"network": "sndcgan"},
    "resnet": {"network": "resnet", "data__size": 32},
    "progan": {"network": "progan", "growth": True},
    "fastgan": {"network": "fastgan", "data__size": 64, "train__n_critic": 1},
    "unet": {"network": "unet", "data__size": 32, "data__pairs": "edges"},
    "unet_without_gan": {
        "network": "unet", "data__size": 32, "data__pairs": "edges", "gan_weight": 0.0, "l1_weight": 1.0
    },
    "sgan": {"condition": "sgan", "data__classes": 2},
    "supervised": {"objective": "supervised", "condition": "sgan", "data__classes": 2},
    "acgan": {"condition": "acgan", "data__classes": 2},
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_watched(tiny, family):
    """Each net that is trained gives every measure that it can have, from its first step on."""
    setting = tiny(**FAMILIES[family])
    size = setting.data.size
    shown = images(20, size)
    reals = Part(shown, torch.arange(20) % 2, shown if setting.data.pairs != "none" else None)
    row = Probes(probes.NAMES, setting, schedule(setting, 20), reals, reals).row(0, *build(setting))
    trained = {"supervised": "D", "unet_without_gan": "G"}.get(family, "GD")
    expected = {f"{measure}_{net}" for measure in ("activation_rms", "spectral_norm") for net in trained}
    if "D" in trained:
        expected |= {"logit_train", "logit_held_out", "logit_gap_held_out"}
    if trained == "GD":
        expected |= {"logit_generated", "critic_gradient_mean", "critic_gradient_sd"}
    assert expected <= row["values"].keys()
    assert all(value is not None for value in row["values"].values())
    assert {path[0] for path in row["layers"]["activation_rms"]} == set(trained)


# ---------------------------------------------------------------------------------------------------------
# When.


def test_at_most_fifty_rows_and_never_dear(tiny):
    setting = tiny(train__n_critic=1)
    for steps in (10, 100, 2500, 100_000):
        every = row_distance(setting, Schedule(steps, {steps: "x"}, 1))
        assert steps / every <= ROWS and every >= 50  # 100 updates, two a step
    assert row_distance(tiny(train__n_critic=4), Schedule(100, {}, 1)) == 20


def test_rows_at_the_start_at_snapshots_and_every_n_kimg(tiny):
    setting = tiny(train__g_steps=12, train__snapshots_g_steps=(5, 12))  # 8 images a step
    probing = Probes(("logits",), setting, schedule(setting, 20), part(), None, every_kimg=0.024)
    assert [step for step in range(13) if probing.due(step)] == [0, 3, 5, 6, 9, 12]
    default = Probes(("logits",), setting, schedule(setting, 20), part(), None)
    assert [step for step in range(13) if default.due(step)] == [0, 5, 12]  # 100 updates are more than the run has


def test_the_small_batch_fits_groups_and_parts(tiny):
    assert smaller(tiny(train__batch=64), 1000).train.batch == 32
    assert smaller(tiny(train__batch=64, mbstd=16), 1000).train.batch == 64
    assert smaller(tiny(train__batch=64, mbstd=16), 35).train.batch == 32
    assert smaller(tiny(train__batch=64), 7).train.batch == 7


# ---------------------------------------------------------------------------------------------------------
# What they say.


class Known(nn.Module):
    """h = relu(W x) of two units, then 3 h summed."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.act = nn.ReLU()
        self.last = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
            self.last.weight.fill_(3.0)

    def forward(self, x):
        return self.last(self.act(self.first(x)))


def test_rms_and_dead_units_of_a_known_net():
    net = Known()
    recorder = Recorder(net, activations=True, drift=False)
    net(torch.tensor([[3.0, 1.0], [4.0, 2.0]]))
    recorder.close()
    net(torch.full((2, 2), 9.0))  # no longer heard
    squares = {path: float(torch.stack(found).detach()) for path, found in recorder.squares.items()}
    assert squares == pytest.approx({"first": (9 + 16 + 1 + 4) / 4, "act": (9 + 16) / 4, "last": (81 + 144) / 2})
    (units,) = recorder.dead["act"]
    assert units.tolist() == [False, True]  # the second unit sees -1 and -2


def test_dead_is_never_positive_or_for_others_constant():
    out = torch.tensor([[[[1.0, -0.1]], [[-0.2, -0.1]], [[0.5, 0.5]]]])
    assert dead(out, rectified=True).tolist() == [False, True, False]
    assert dead(out, rectified=False).tolist() == [False, False, True]


def test_a_unit_dead_for_fakes_alone_is_not_dead():
    net = Known()
    recorder = Recorder(net, activations=True, drift=False)
    net(torch.tensor([[1.0, 1.0]])), net(torch.tensor([[1.0, -1.0]]))
    assert torch.stack(recorder.dead["act"]).all(dim=0).tolist() == [False, False]


@pytest.mark.parametrize("shape", [(3, 40), (40, 3), (17, 17)])
def test_the_exact_spectral_norm_is_the_svds(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    sigma, v = largest_singular(matrix)
    torch.testing.assert_close(sigma, torch.linalg.svdvals(matrix)[0])
    torch.testing.assert_close(torch.linalg.vector_norm(matrix @ v), sigma)


def test_power_iteration_bounds_it_from_below_and_comes_near():
    generator = torch.Generator().manual_seed(1)
    matrix, v = torch.randn(8, 30, generator=generator), torch.randn(30, generator=generator)
    v = v / v.norm()
    exact = float(largest_singular(matrix)[0])
    found = [float(power_iteration(matrix, v, times)[0]) for times in (1, 4, 64)]
    assert found[0] < found[1] < exact * (1 + 1e-6) and found[2] == pytest.approx(exact, rel=1e-3)


def test_between_snapshots_the_power_iteration_follows_the_weights():
    torch.manual_seed(0)
    net, norms = nn.Sequential(nn.Conv2d(3, 8, 4), nn.ConvTranspose2d(8, 4, 4)), SpectralNorms()
    norms(net, "D", exact=True)
    for _ in range(20):
        with torch.no_grad():
            for layer in net:
                layer.weight.add_(0.02 * torch.randn_like(layer.weight))
        found = norms(net, "D", exact=False)
    for path, layer in (("0", net[0]), ("1", net[1])):
        rows = layer.weight if path == "0" else layer.weight.transpose(0, 1)
        exact = torch.linalg.svdvals(rows.detach().flatten(1))[0]
        assert 0.97 * exact < found[path] <= exact * (1 + 1e-5)


def test_weights_are_read_as_the_layer_uses_them(tiny):
    """Under spectral norm the norm is about 1 whatever the raw weight; equalized rate counts too."""
    _, D = build(tiny(d_weight="spectral"))
    for _ in range(30):
        D(torch.rand(4, 1, 16, 16) * 2 - 1)
    found = SpectralNorms()(still(D, 0), "D", exact=True)
    assert all(float(sigma) == pytest.approx(1.0, abs=0.02) for sigma in found.values())
    layer = nn.Conv2d(2, 3, 3)
    assert weight_matrix(layer).shape == (3, 18)
    assert weight_matrix(nn.ConvTranspose2d(2, 3, 3)).shape == (3, 18)


def test_gradient_norms_are_those_that_stand_in_the_parameters():
    net = Known()
    net(torch.tensor([[3.0, -1.0], [4.0, -2.0]])).sum().backward()
    # d/d last = (sum of unit 1, of unit 2) = (7, 3); d/d first[i] = 3 · (sum of x over samples) = 3 · (7, -3), twice.
    found = gradient_norms(net)
    assert float(found["last"]) == pytest.approx(math.sqrt(49 + 9))
    assert float(found["first"]) == pytest.approx(math.sqrt(2 * 9 * (49 + 9)))


def test_gradient_norms_of_a_parametrized_layer_carry_its_name(tiny):
    _, D = build(tiny(d_weight="spectral", equalized=True))
    D(torch.rand(4, 1, 16, 16)).sum().backward()
    assert set(gradient_norms(D)) == {"blocks.0.conv", "blocks.1.conv", "logit"}


def test_the_gradient_of_a_linear_critic_is_its_weight():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(12, 1, bias=False))
    real, fake = torch.rand(5, 3, 2, 2), torch.rand(5, 3, 2, 2)
    norms = critic_gradients(critic, real, fake, torch.rand(5, 1, 1, 1))
    torch.testing.assert_close(norms, torch.full((5,), float(critic[1].weight.detach().norm())))


def test_drift_of_batch_statistics_of_a_known_shift():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, 5, 5, generator=generator)
    mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
    assert float(batch_drift(x, mean, var, 1e-5)) == pytest.approx(0.0, abs=1e-6)
    # Off by δ sd: ½ δ².  Twice the sd: ½ (4 - 1 - ln 4).
    assert float(batch_drift(x + 0.5 * var.sqrt()[:, None, None], mean, var, 0.0)) == pytest.approx(0.125, rel=1e-4)
    assert float(batch_drift((x - mean[:, None, None]) * 2, 0 * mean, var, 0.0)) == pytest.approx(
        0.5 * (3 - math.log(4)), rel=1e-4
    )


def test_drift_is_read_at_batch_norms_input():
    net = nn.Sequential(nn.BatchNorm2d(2, eps=1e-9))
    net_twin = still(net, 0)
    recorder = Recorder(net_twin, activations=False, drift=True)
    x = torch.randn(64, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    x = (x - x.mean(dim=(0, 2, 3), keepdim=True)) / x.std(dim=(0, 2, 3), keepdim=True, correction=0) + 2.0
    net_twin(x)
    assert float(recorder.drift["0"][0]) == pytest.approx(2.0, rel=1e-4)  # ½ · 2²: running statistics are still (0, 1)
    assert torch.equal(net_twin[0].running_mean, torch.zeros(2))


def test_the_logit_gap_of_a_critic_that_knows_its_training_set(tiny):
    """A D that answers 5 on the training reals, 1 on others, is told apart from one that answers by kind."""

    class Memoriser(nn.Module):
        def __init__(self, known):
            super().__init__()
            self.known = known

        def forward(self, x, y=None):
            seen = torch.stack([(x - one).abs().amax(dim=(1, 2, 3)) < 1e-6 for one in self.known]).any(dim=0)
            return torch.where(seen, 5.0, 1.0)

    setting = tiny()
    G, _ = build(setting)
    known = part().images.float().div(127.5).sub(1)
    probing = Probes(("logits",), setting, schedule(setting, 20), part(), Part(255 - images(6), torch.zeros(6).long()))
    values = probing.row(1, G, Memoriser(known))["values"]
    assert (values["logit_train"], values["logit_held_out"], values["logit_gap_held_out"]) == (5.0, 1.0, 4.0)
    assert values["logit_gap_fake"] == 4.0


@pytest.mark.parametrize(
    ("said", "meant"), [(True, probes.NAMES), (False, ()), (["logits", "weights"], ("weights", "logits"))]
)
def test_what_a_study_says(said, meant):
    assert probes.chosen(said) == meant
