"""Labels in GANs: SGAN's probabilities, AC-GAN's and projection's formulas, conditions, runs that classify."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from test_train import Memory, images
from torch import Tensor, nn
from torch.nn import functional as F

from bench import datasets, draws, job, protocol, sample, snapshot
from bench.batches import Batches
from bench.data import Part, to_float
from bench.metrics.accuracy import accuracy, reestimated
from bench.metrics.failure import MetricError
from bench.metrics.standins import PlaneClassifier, SmallClassifier
from bench.models import build
from bench.models.conditions import Judge
from bench.objectives import Nets, phases
from bench.orders import Orders
from bench.schedule import schedule
from bench.setting import Setting, resolve
from bench.stop import Stop
from bench.train import Outcome, train

TINY = {"data.size": 16, "data.channels": 1, "data.classes": 4, "g_width": 4, "d_width": 4, "z_dim": 6}
K = TINY["data.classes"]


def setting(**knobs: object) -> Setting:
    return resolve(TINY, {key.replace("__", "."): value for key, value in knobs.items()})


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Y = torch.tensor([2, 0, 3, 1, 2])
BATCH = {
    **{name: draw(5, 1, 16, 16, seed=seed).tanh() for seed, name in enumerate(("real", "labelled", "unlabelled"))},
    **{"y": Y, "y_labelled": Y, "y_fake": Y.flip(0), "z": draw(5, 6), "gp_alpha": torch.full((5, 1, 1, 1), 0.5)},
}


class Flat(Judge):
    """A D whose maps are the pixels."""

    def __init__(self, logit: nn.Module) -> None:
        super().__init__()
        self.logit = logit

    def maps(self, x: Tensor, y: Tensor | None) -> Tensor:
        return x.flatten(1)


# ---------------------------------------------------------------------------------------------------------
# SGAN.


def sgan_of_logits(logits: Tensor) -> Flat:
    """A D that tells these class logits of any image: a bias alone."""
    last = nn.Linear(256, len(logits))
    nn.init.zeros_(last.weight)
    last.bias.data.copy_(logits)
    D = Flat(last)
    D.tells_classes = True
    return D


@pytest.mark.parametrize("logits", [(0.3, -1.0, 2.0, 0.5), (-30.0, -40.0, -35.0, -33.0), (3.0, 3.0, 3.0, 3.0)])
def test_real_probability_is_that_of_the_k_plus_1_softmax_with_the_fake_logit_at_zero(
    logits: tuple[float, ...],
) -> None:
    """Salimans et al. 2016, section 5: softmax over (l_1 … l_K, 0); real is 1 minus the last, and D's loss follows."""
    D = sgan_of_logits(torch.tensor(logits))
    whole = torch.tensor([*logits, 0.0], dtype=torch.float64)
    fake = float(whole.softmax(0)[-1])
    x = torch.zeros(1, 1, 16, 16)
    assert float(torch.sigmoid(D(x).detach().double())) == pytest.approx(1 - fake, rel=1e-6, abs=1e-14)
    torch.testing.assert_close(D.see(x).classes[0].detach(), torch.tensor(logits))
    losses = {}
    for phase in phases(setting(condition="sgan"))[1:3]:
        batch = {name: x if name == "unlabelled" else BATCH["z"] for name in phase.needs}
        losses[phase.name] = float(phase.loss(Nets(lambda z: x, D), batch)[0].detach())
    log_real = float(whole[:-1].logsumexp(0) - whole.logsumexp(0))
    assert losses == {
        "D_real": pytest.approx(-log_real, rel=1e-5),
        "D_fake": pytest.approx(float(whole.logsumexp(0)), rel=1e-5, abs=1e-7),  # -log of the fake class's share
    }


def test_sgan_stays_finite_where_the_literal_probability_overflows() -> None:
    D = sgan_of_logits(torch.tensor([200.0, -200.0, 150.0, 0.0]))
    x = torch.zeros(2, 1, 16, 16)
    for phase in phases(setting(condition="sgan")):
        batch = {name: x if name in ("labelled", "unlabelled") else BATCH[name][:2] for name in phase.needs}
        loss, _ = phase.loss(Nets(lambda z: x, D), batch)
        assert loss.isfinite()


def test_sgan_has_three_steps_of_d_with_an_optimizer_each_and_then_g() -> None:
    made = phases(setting(condition="sgan"))
    assert [(phase.name, phase.trains) for phase in made] == [
        ("D_labelled", "D"),
        ("D_real", "D"),
        ("D_fake", "D"),
        ("G", "G"),
    ]
    assert [phase.needs for phase in made] == [("labelled", "y_labelled"), ("unlabelled",), ("z",), ("z",)]
    G, D = build(setting(condition="sgan"))
    loss, logs = made[0].loss(Nets(G, D), BATCH)
    classes = D.see(BATCH["labelled"]).classes
    torch.testing.assert_close(loss, F.cross_entropy(classes, Y))
    right = int((classes.argmax(1) == Y).sum())
    assert float(logs["accuracy_labelled"]) == pytest.approx(100 * right / len(Y))


@pytest.mark.parametrize("condition", ["sgan", "none", "projection"])
def test_feature_matching_compares_mean_features_of_fakes_and_reals(condition: str) -> None:
    """Salimans et al. 2016, section 3.1; only G's loss is another, with a gradient through the fakes alone."""
    s = setting(condition=condition, g_loss="feature_matching")
    G, D = build(s)
    *of_d, of_g = phases(s)
    plain = phases(setting(condition=condition))
    assert [phase.name for phase in [*of_d, of_g]] == [phase.name for phase in plain]
    reals = "unlabelled" if condition == "sgan" else "real"
    assert reals in of_g.needs
    batch = {name: BATCH[name] for name in of_g.needs}
    loss, _ = of_g.loss(Nets(G, D), batch)
    labels = (Y, Y.flip(0)) if condition == "projection" else (None, None)
    with torch.no_grad():
        wanted = D.maps(BATCH[reals], labels[0]).flatten(1).mean(0)
        fake = G(BATCH["z"]) if labels[1] is None else G(BATCH["z"], labels[1])
        made = D.maps(fake, labels[1]).flatten(1).mean(0)
    torch.testing.assert_close(loss.detach(), ((made - wanted) ** 2).mean(), rtol=1e-4, atol=1e-8)
    loss.backward()
    assert all(p.grad is not None for p in G.parameters())


# ---------------------------------------------------------------------------------------------------------
# AC-GAN, projection, inputs.


def test_projection_adds_the_product_of_the_embedding_and_the_summed_map() -> None:
    """Miyato & Koyama 2018, eq. 3: f(x, y) = y' V phi(x) + psi(phi(x)), phi pooled by its sum."""
    _, D = build(setting(condition="projection"))
    x = BATCH["real"]
    h = D.maps(x, Y)
    V = D.embed.weight  # [channels, classes]
    expected = torch.stack([V[:, y] @ h[i].sum(dim=(1, 2)) for i, y in enumerate(Y)]) + D.logit(h).flatten()
    torch.testing.assert_close(D(x, Y), expected)
    assert D.embed.weight.shape == (h.shape[1], K)


@pytest.mark.parametrize(
    "knobs",
    [{}, {"d_batching": "joint"}, {"loss": "wasserstein", "penalty": "gp"}, {"loss": "relativistic"}],
)
def test_acgan_adds_weighted_cross_entropies_of_reals_in_d_and_fakes_in_g(knobs: dict[str, object]) -> None:
    s = setting(condition="acgan", acgan_weight=[0.7, 0.2], **knobs)
    G, D = build(s)
    plain = phases(setting(condition="concat", **knobs))  # the same losses of G and D, without classes
    d, g = phases(s)
    nets = Nets(G, D)
    total, logs = d.loss(nets, BATCH)
    without = replace(plain[0]).loss(nets, BATCH)[0]
    torch.testing.assert_close(total - without, 0.7 * F.cross_entropy(D.see(BATCH["real"]).classes, Y))
    torch.testing.assert_close(logs["loss_classes_D"], F.cross_entropy(D.see(BATCH["real"]).classes, Y).detach())
    total, _ = g.loss(nets, BATCH)
    fake = G(BATCH["z"], BATCH["y_fake"])
    entropy = F.cross_entropy(D.see(fake).classes, BATCH["y_fake"])
    torch.testing.assert_close(total - plain[1].loss(nets, BATCH)[0], 0.2 * entropy, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("network", ["dcgan", "sndcgan", "mlp", "progan"])
@pytest.mark.parametrize("condition", ["concat", "embed_mul", "acgan", "projection"])
def test_each_condition_makes_g_and_d_depend_on_the_label(network: str, condition: str) -> None:
    s = setting(condition=condition, network=network, init="glorot")
    G, D = (net.eval() for net in build(s))
    z, other = BATCH["z"], (Y + 1) % K
    made = G(z, Y)
    assert made.shape == (5, 1, 16, 16) and not torch.equal(made, G(z, other))
    seen = D.see(made, Y)
    assert seen.logit.shape == (5,)
    told = condition != "acgan"  # there D tells the class, and is not told it
    assert torch.equal(seen.logit, D(made, other)) != told
    assert (seen.classes is not None) == (not told)


def test_inputs_are_joined_as_the_codes_have_it() -> None:
    """Concatenation: z and the one-hot label, K constant maps; the book: z times, and a map from, an embedding."""
    G, D = build(setting(condition="concat"))
    z, x = BATCH["z"], BATCH["real"]
    onehot = torch.eye(K)[Y]
    assert torch.equal(G.entry(z, Y), torch.cat([z, onehot], dim=1))
    joined = D.entry(x, Y)
    assert torch.equal(joined[:, :1], x) and torch.equal(joined[:, 1:], onehot[:, :, None, None].expand(-1, -1, 16, 16))
    G, D = build(setting(condition="embed_mul"))
    torch.testing.assert_close(G.entry(z, Y), z * G.entry.embed.weight.T[Y])
    torch.testing.assert_close(D.entry(x, Y)[:, 1], D.entry.embed.weight.T[Y].view(5, 16, 16))


def test_a_condition_moves_no_weight_that_both_nets_have() -> None:
    """Cells are paired: what AC-GAN and projection add to D leaves its other weights as they are drawn without."""
    plain = build(setting())[1].state_dict()
    for condition in ("acgan", "projection"):
        made = build(setting(condition=condition))[1].state_dict()
        assert all(torch.equal(made[name], value) for name, value in plain.items())
        assert len(made) > len(plain)


def test_a_d_without_a_place_for_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for classes"):
        build(setting(network="fastgan", data__size=64, condition="projection"))


# ---------------------------------------------------------------------------------------------------------
# Scores.


class Brightness(Judge):
    """Takes an image for class 1 where its mean is above 0, through a batch norm that may lag."""

    def __init__(self, mean: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, affine=False)
        self.norm.running_mean.fill_(mean)
        self.logit = nn.Linear(1, 2)
        self.logit.weight.data.copy_(torch.tensor([[-1.0], [1.0]]))
        self.logit.bias.data.zero_()
        self.tells_classes = True

    def maps(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self.norm(x).mean(dim=(2, 3))


def test_accuracy_of_a_known_d() -> None:
    """Grey levels 0 and 255, three in four labelled as D takes them."""
    labels = torch.tensor([0, 1] * 8)
    images = (labels * 255).to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    wrong = labels.clone()
    wrong[:4] = 1 - wrong[:4]
    assert accuracy(Brightness(), images, labels, batch=5) == 100
    assert accuracy(Brightness(), images, wrong, batch=5) == 75
    with pytest.raises(MetricError, match="tells no classes"):
        accuracy(build(setting())[1], torch.zeros(2, 1, 16, 16, dtype=torch.uint8), labels[:2], 2)


def test_reestimated_statistics_are_the_mean_over_batches_and_leave_d_alone() -> None:
    """With a running mean of 5 all is dark; the images' own mean, 0, sets it right."""
    labels = torch.tensor([0, 1] * 8)
    images = (labels * 255).to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    D = Brightness(mean=5.0)
    made = reestimated(D, images, batch=4)
    assert accuracy(D, images, labels, 16) == 50 and accuracy(made, images, labels, 16) == 100
    batches = to_float(images).split(4)
    assert float(made.norm.running_mean) == pytest.approx(sum(float(x.mean()) for x in batches) / 4, abs=1e-6)
    assert float(made.norm.running_var) == pytest.approx(sum(float(x.var()) for x in batches) / 4, rel=1e-5)


def test_modes_of_a_stacked_image_are_its_planes_classes_in_the_sets_order() -> None:
    plane = SmallClassifier(1, 10)
    images = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    features, logits = PlaneClassifier(plane)(images)
    alone = [plane(images[:, channel : channel + 1]) for channel in range(3)]
    digits = [seen[1].argmax(dim=1) for seen in alone]
    assert torch.equal(logits.argmax(dim=1), digits[0] + 10 * digits[1] + 100 * digits[2])
    torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(6))  # a joint distribution over 1000 modes
    torch.testing.assert_close(features, torch.cat([seen[0] for seen in alone], dim=1))


def test_labels_asked_at_evaluation_are_those_that_g_is_told() -> None:
    """A G that paints the class as a grey level, sampled in batches that do not divide n."""

    class Painter(nn.Module):
        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return (y.float() / K)[:, None, None, None].expand(-1, 1, 16, 16)

    s = setting(condition="concat")
    fakes = sample.fakes(Painter(), s, 150, seed=3, batch=64)
    asked = sample.asked(s, 150, seed=3, batch=64)
    levels = ((asked.float() / K + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(fakes[:, 0, 0, 0], levels)
    counts = asked.bincount(minlength=K)
    assert len(counts) == K and int((counts - 150 / K).abs().max()) < 5 * math.sqrt(150 * 3 / 16)
    sheet = sample.fakes(Painter(), s, 64, seed=0, stream="sheet_z", y=sample.of_columns(s))
    assert torch.equal(
        sheet[:, 0, 0, 0].view(8, 8), (((torch.arange(8) % K) / K + 1) * 127.5).round().byte().repeat(8, 1)
    )


def test_scores_that_a_run_cannot_have_are_not_asked_of_it() -> None:
    metrics = ["fd", "label_agreement", "accuracy", "modes"]
    assert protocol.askable(metrics, setting(objective="supervised")) == ["accuracy"]
    assert protocol.askable(metrics, setting(condition="sgan")) == ["fd", "accuracy", "modes"]
    assert protocol.askable(metrics, setting(condition="acgan")) == ["fd", "label_agreement", "modes"]
    assert protocol.askable(metrics, setting()) == ["fd", "modes"]


DIGITS = {"data__name": "digits", "data__size": 16, "data__classes": 10, "train__g_steps": None}


@pytest.mark.parametrize("arm", ["supervised", "sgan"])
def test_a_classifying_run_from_start_to_scores(make_run, arm: str) -> None:  # type: ignore[no-untyped-def]
    """Its snapshots hold D; accuracy is D's on the test part; a run without G has no other score."""
    knobs = {"objective": "supervised"} if arm == "supervised" else {"condition": "sgan"}
    folder, orders = make_run(
        metrics=["accuracy", "swd"],
        evaluate={"fakes": 16},
        **{**DIGITS, **knobs, "data__labels": 20, "train__labelled_steps": 4, "train__n_critic": 1},
    )
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    made = folder.setting()
    scores = [json.loads(path.read_bytes()) for path in folder.scores.iterdir()]
    labels = folder.state().trained["snapshots"]
    assert {record["status"] for record in scores} == {"ok"}
    asked = {"supervised": {"accuracy"}, "sgan": {"accuracy", "swd"}}[arm]
    assert {record["metric"] for record in scores} == asked and len(scores) == len(asked) * len(labels)
    nets = snapshot.load(made, folder.snapshots / f"{labels[-1]}.pt")
    assert set(nets) == ({"D"} if arm == "supervised" else {"G", "D"})
    assert (folder.samples / f"{labels[-1]}.png").exists() == (arm == "sgan")
    last = next(r for r in scores if r["metric"] == "accuracy" and r["snapshot"] == labels[-1])
    assert last["protocol"]["part"] == "test" and last["protocol"]["n_real"] == 179
    D = build(made)[1]
    assert not torch.equal(D.logit.weight, nets["D"].logit.weight)
    rows = folder.log()
    assert {"loss_labelled", "accuracy_labelled"} <= rows[-1].keys() and ("loss_G" in rows[-1]) == (arm == "sgan")


def test_both_arms_see_the_same_labelled_batches(make_run) -> None:  # type: ignore[no-untyped-def]
    """Equal labelled steps, the same draws: before any other step has moved D, the first labelled losses are equal."""
    losses = []
    for knobs in ({"objective": "supervised"}, {"condition": "sgan"}):
        folder, orders = make_run(
            **{**DIGITS, **knobs, "data__labels": 20, "train__labelled_steps": 1, "train__n_critic": 1}
        )
        assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
        losses.append(folder.log()[0]["loss_labelled"])
    assert losses[0] == losses[1]


def test_accuracy_is_asked_once_of_the_run_that_shows_the_noise_of_evaluation(make_run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """It draws nothing from the evaluation seed; SWD does, under three seeds."""
    folder, path = make_run(metrics=["accuracy", "swd"], condition="sgan", **DIGITS, train__labelled_steps=4)
    orders = Orders.read(path).model_copy(update={"noise_run": folder.path.name})
    source = datasets.describe(folder.setting().data, tmp_path)
    asked = orders.unscored(folder, folder.setting(), ["000000.016"], source)
    assert [[request.metric for request in one.requests] for one in asked] == [["accuracy", "swd"], ["swd"], ["swd"]]


@pytest.mark.parametrize(
    "knobs",
    [
        {"condition": "sgan", "data__labels": 6, "d_dropout": 0.5},
        {"condition": "sgan", "g_loss": "feature_matching"},
        {"objective": "supervised", "data__labels": 6},
        {"condition": "acgan", "g_norm": "cbn"},
        {"condition": "projection"},
    ],
)
def test_stop_and_resume_equals_no_stop_with_labels(tiny, knobs) -> None:  # type: ignore[no-untyped-def]
    """Each phase's optimizer, each pool's place and D's dropout go on where they were."""
    made = tiny(data__name="digits", data__classes=3, train__n_critic=1, **knobs)
    part = Part(images(), torch.arange(20) % 3)

    def run(keeper: Memory) -> Outcome:
        return train(made, part, schedule(made, 20), keeper)

    whole, stopped = Memory(), Memory(stop_after=3)
    assert run(stopped).status == "stopped"
    resumed = Memory(checkpoint=stopped.checkpoint)
    assert run(resumed).weights == run(whole).weights
    assert stopped.rows + resumed.rows == whole.rows and stopped.labels + resumed.labels == whole.labels


@pytest.mark.parametrize("penalty", ["none", "gp", "gp0"])
def test_a_penalty_at_interpolates_is_between_images_of_one_class(penalty: str) -> None:
    """D's fakes are then asked to be the reals' classes; G's are drawn as ever."""
    s = setting(condition="projection", penalty=penalty, **{"train.batch": 6})
    images = (draws.uniform((12, 1, 16, 16), 0, "test", 0) * 255).to(torch.uint8)
    batches = Batches(s, Part(images, torch.arange(12) % K), "cpu")
    d, g = phases(s)
    drawn = batches.draw(d, 0)
    assert torch.equal(drawn["y"], drawn["y_fake"]) == (penalty != "none")
    free = Batches(setting(condition="projection", **{"train.batch": 6}), Part(images, torch.arange(12) % K), "cpu")
    assert torch.equal(batches.draw(g, 0)["y_fake"], free.draw(g, 0)["y_fake"])
