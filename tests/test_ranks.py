"""Several ranks do together what one does alone: two gloo processes against one, and formulas in each of them."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import Memory
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from bench import draws, ranks
from bench.batches import Batches
from bench.data import Part
from bench.models import build
from bench.models.layers import MinibatchStd
from bench.models.minibatch import MinibatchDiscrimination
from bench.norms.activation import ConditionalBatchNorm, SelfModulatedBatchNorm, SyncedBatchNorm
from bench.objectives import phases
from bench.schedule import schedule
from bench.setting import Setting, resolve
from bench.train import train

N = 2
TINY: dict[str, Any] = {
    **{"data.name": "faces", "data.size": 16, "data.channels": 1, "g_width": 4, "d_width": 4, "z_dim": 6},
    **{"train.batch": 8, "train.g_steps": 3, "train.snapshots_g_steps": [3], "train.optimizer": "sgd"},
    **{"train.lr": 0.05, "g_norm": "none", "max_width": 16, "init": "he"},
}
"""SGD: Adam's first step is a gradient's sign, which rounding decides where the gradient is nothing but rounding."""
GP = {"loss": "wasserstein", "penalty": "gp"}
FORMS: dict[str, dict[str, Any]] = {
    "dcgan_without_norm_wgan_gp": {**GP, "train.n_critic": 2},
    "batch_norm_in_both_ema": {"g_norm": "bn", "d_norm": "bn", "ema": 0.5, "d_weight": "spectral"},
    "progan_grows_mbstd": {
        **{**GP, "network": "progan", "equalized": True, "pixel_norm": True, "mbstd": 4, "drift": 1e-3},
        **{"growth": True, "growth_start": 8, "growth_batches": [4, 8], "train.lr": 0.005},
        **{"growth_stable_kimg": 0.004, "growth_fade_kimg": 0.012},
    },
    "relativistic_average_dragan": {
        **{"loss": "relativistic_average", "penalty": "dragan", "mbdiscrimination": 3, "d_dropout": 0.5},
        **{"g_norm": "selfmod_bn", "train.g_batch": 4, "data.mirror": True, "dequantize": 0.01, "train.lr": 0.01},
    },
    "relativistic_r1_joint": {"loss": "relativistic", "penalty": "r1", "d_batching": "joint", "mbstd": 4},
    "sgan_matches_features": {"condition": "sgan", "g_loss": "feature_matching", "data.classes": 4, "d_norm": "bn"},
    "projection_cbn_hinge": {
        **{"condition": "projection", "g_norm": "cbn", "data.classes": 4, "loss": "hinge", "hinge_jitter": 0.2},
        **{"augment": ["color", "translation", "cutout"], "g_noise": True},
    },
}


def setting(form: str, **knobs: Any) -> Setting:
    said = {name.replace("__", "."): value for name, value in knobs.items()}
    return resolve(TINY, FORMS[form], said)


def part() -> Part:
    images = (draws.uniform((20, 1, 16, 16), 0, "test", 0) * 255).to(torch.uint8)
    return Part(images, torch.arange(20) % 4)


def trained(made: Setting, keeper: Memory | None = None) -> dict[str, Any]:
    """Train; return how it ended, the log, and all weights and buffers at the last checkpoint."""
    keeper = keeper or Memory(every=1)
    outcome = train(made, part(), schedule(made, 20), keeper)
    nets = {name: keeper.checkpoint[name] for name in ("G", "D", "G_ema")} if keeper.checkpoint else {}
    kept = {f"{name}.{path}": value for name, state in nets.items() for path, value in state.items()}
    return {
        **{"status": outcome.status, "step": outcome.step, "rows": keeper.rows, "kept": kept},
        **{"weights": outcome.weights, "cause": outcome.cause},
    }


# ---------------------------------------------------------------------------------------------------------
# What is computed twice: by one process on the whole batch, by two on their shares.

X = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 5
Y = torch.tensor([0, 1, 2, 1, 0, 2])
LAYERS = {
    "bn": lambda synced: SyncedBatchNorm(3, momentum=0.3) if synced else nn.BatchNorm2d(3, momentum=0.3),
    "bn_without_affine": lambda synced: SyncedBatchNorm(3, affine=False) if synced else nn.BatchNorm2d(3, affine=False),
    "selfmod_bn": lambda synced: SelfModulatedBatchNorm(3, 2, synced=synced),
    "cbn": lambda synced: ConditionalBatchNorm(3, 3, synced=synced),
    "mbstd_of_3": lambda synced: MinibatchStd(3),
    "mbstd_of_all": lambda synced: MinibatchStd("all"),
    "mbdiscrimination": lambda synced: MinibatchDiscrimination(3 * 4 * 4, 2),
}


def passed(name: str, synced: bool) -> dict[str, Tensor]:
    """Pass X through a layer: outputs, the gradient penalty's two derivatives, running statistics."""
    layer = LAYERS[name](synced).double()
    for i, parameter in enumerate(layer.parameters()):
        seeded = torch.Generator().manual_seed(i)
        parameter.data = 1 + 0.3 * torch.randn(parameter.shape, generator=seeded, dtype=torch.float64)
    with ranks.sharing():
        x = ranks.share(X).clone().requires_grad_()
        more = {"selfmod_bn": [ranks.share(X)[:, :2, 0, 0]], "cbn": [ranks.share(Y)]}.get(name, [])
        out = layer(x, *more)
        (gradient,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        loss = gradient.square().flatten(1).sum(dim=1).mean() + out.tanh().mean()
        loss.backward()
        loss, logs = ranks.average(layer.parameters(), loss.detach(), {"other": out.detach().mean()})
        found = {"out": ranks.gather(out.detach()), "gradient": ranks.gather(gradient.detach()), "loss": loss, **logs}
    # A rank's loss is a mean over its share, so the mean over ranks has this derivative by x.
    found["second"] = ranks_whole(x.grad) / ranks.joined()
    found |= {f"of {key}": parameter.grad for key, parameter in layer.named_parameters()}
    return found | {f"buffer {key}": buffer.clone() for key, buffer in layer.named_buffers()}


def ranks_whole(x: Tensor) -> Tensor:
    with ranks.sharing():
        return ranks.gather(x)


def checked_derivatives() -> bool:
    """First and second derivatives of `mean` and `gather` against differences; every rank moves the same element.

    A function of x, which all ranks hold, made of shares: its gradient by x is the mean over ranks of theirs.
    """

    def function(x: Tensor) -> Tensor:
        own = ranks.share(ranks.mean(x))
        apart = (own[:, None] - ranks.gather(own)[None]).square().sum(dim=2)
        return ranks.mean((apart.sin().mean() + ranks.mean(own.tanh().mean(dim=0)).square().sum()) * apart.exp().mean())

    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(0.5).requires_grad_()
    with ranks.sharing():
        torch.manual_seed(0)  # of what the checks draw
        return gradcheck(function, x) and gradgradcheck(function, x)


def first_batches(made: Setting) -> list[dict[str, Tensor]]:
    batches = Batches(made, part(), "cpu")
    with ranks.sharing():
        return [{k: ranks.gather(v) for k, v in batches.draw(phase, 3).items()} for phase in phases(made)]


def everything(world_size: int) -> dict[str, Any]:
    """All that one rank and two do alike."""
    return {
        **{form: trained(setting(form, train__world_size=world_size)) for form in FORMS},
        **{f"batches of {form}": first_batches(setting(form, train__world_size=world_size)) for form in FORMS},
        **{f"layer {name}": passed(name, world_size > 1) for name in LAYERS},
    }


# ---------------------------------------------------------------------------------------------------------
# The pair.


def one_of_two(rank: int, port: int, out: Path) -> None:
    """What each of the two processes does, in step."""
    torch.set_num_threads(1)
    store = torch.distributed.TCPStore("127.0.0.1", port, is_master=False)
    ranks.join(store, rank, N)
    with ranks.sharing():
        whole = torch.arange(24.0).view(6, 4)
        told = {
            "share": ranks.share(whole),
            "gather": ranks.gather(ranks.share(whole)),
            "rank": ranks.mean(rank + whole),
        }
    told["agreed"] = [ranks.agreed(rank == 1, False), ranks.agreed(False, rank == 0), ranks.agreed(False, False)]
    made = setting("batch_norm_in_both_ema", train__world_size=N)
    # Rank 1 alone is asked to stop; rank 0 alone has the checkpoint.
    first = Memory(stop_after=2 if rank == 1 else None)
    stopped = trained(made, first)
    resumed = trained(made, Memory(checkpoint=first.checkpoint if rank == 0 else None, every=1))
    apart = setting("batch_norm_in_both_ema", train__world_size=N, train__sync_bn=False)
    diverging = setting("dcgan_without_norm_wgan_gp", train__world_size=N, train__lr=1e30)
    torch.save(
        {
            **everything(N),
            **{"told": told, "stopped": stopped, "resumed": resumed, "apart": trained(apart)},
            **{"diverging": trained(diverging), "derivatives": checked_derivatives()},
        },
        out / f"{rank}.pt",
    )
    ranks.leave()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two ranks made, by rank."""
    out = tmp_path_factory.mktemp("ranks")
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=one_of_two, args=(rank, store.port, out)) for rank in range(N)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(out / f"{rank}.pt", weights_only=False) for rank in range(N)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one rank makes of the same."""
    return everything(1)


def assert_close(found: Any, expected: Any, **tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance["rtol"], atol=tolerance["atol"], equal_nan=False)


@pytest.mark.parametrize("form", FORMS)
def test_two_ranks_make_the_weights_of_one(pair, alone, form):
    expected = alone[form]
    for name, net in zip("GD", build(setting(form)), strict=True):
        moved = [(expected["kept"][f"{name}.{path}"] - value).abs().max() for path, value in net.named_parameters()]
        assert max(moved) > 1e-3
    for found in pair:
        assert_close(found[form]["kept"], expected["kept"], rtol=1e-4, atol=1e-5)
        assert found[form]["status"] == "done"


@pytest.mark.parametrize("form", FORMS)
def test_logs_are_means_over_ranks(pair, alone, form):
    for one, two in zip(pair[0][form]["rows"], alone[form]["rows"], strict=True):
        assert one.keys() == two.keys()
        assert one == pytest.approx(two, rel=1e-3, abs=1e-4)
    assert pair[0][form]["rows"] == pair[1][form]["rows"]


@pytest.mark.parametrize("form", FORMS)
def test_shares_make_up_the_batch_of_one_rank(pair, alone, form):
    for found in pair:
        for one, two in zip(found[f"batches of {form}"], alone[f"batches of {form}"], strict=True):
            assert one.keys() == two.keys()
            assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("form", FORMS)
def test_all_state_is_equal_on_all_ranks(pair, form):
    """Weights, G_ema, running statistics and spectral norm's vectors, to the bit."""
    assert pair[0][form]["weights"] == pair[1][form]["weights"] != ""


@pytest.mark.parametrize("name", LAYERS)
def test_layers_read_the_whole_batch_and_so_do_their_derivatives(pair, alone, name):
    for found in pair:
        assert_close(found[f"layer {name}"], alone[f"layer {name}"], rtol=1e-9, atol=1e-11)


def test_derivatives_of_mean_and_gather(pair):
    assert [found["derivatives"] for found in pair] == [True, True]
    assert checked_derivatives()


def test_a_share_is_every_nth_row(pair):
    whole = torch.arange(24.0).view(6, 4)
    for rank, found in enumerate(pair):
        assert torch.equal(found["told"]["share"], whole[rank::2])
        assert torch.equal(found["told"]["gather"], whole)
        assert torch.equal(found["told"]["rank"], whole + 0.5)


def test_one_rank_stops_all_and_all_resume_from_the_checkpoint_of_rank_0(pair):
    for found in pair:
        assert found["told"]["agreed"] == [(True, False), (False, True), (False, False)]
        assert (found["stopped"]["status"], found["stopped"]["step"]) == ("stopped", 2)
        assert found["resumed"]["weights"] == pair[0]["batch_norm_in_both_ema"]["weights"]
        whole = found["batch_norm_in_both_ema"]["rows"]
        assert found["stopped"]["rows"] + found["resumed"]["rows"] == whole


def test_divergence_is_known_to_all(pair):
    assert pair[0]["diverging"]["status"] == pair[1]["diverging"]["status"] == "diverged"
    assert pair[0]["diverging"]["step"] == pair[1]["diverging"]["step"]


def test_without_sync_bn_statistics_are_of_a_share(pair, alone):
    """Another algorithm: other weights; the running statistics kept are those of rank 0."""
    kept, whole = pair[0]["apart"]["kept"], alone["batch_norm_in_both_ema"]["kept"]
    assert max(float((kept[name] - whole[name]).abs().max()) for name in kept) > 1e-3
    assert pair[0]["apart"]["weights"] == pair[1]["apart"]["weights"]


def test_alone_nothing_is_shared():
    x = torch.randn(3, 2)
    with ranks.sharing():
        assert ranks.share(x) is x and ranks.gather(x) is x and ranks.mean(x) is x
    assert ranks.from_rank_0(None) is None and ranks.agreed(True, False) == (True, False)


def test_a_run_of_two_ranks_does_not_train_on_one():
    with pytest.raises(ValueError, match="world_size is 2, and 1 ranks have come"):
        trained(setting("dcgan_without_norm_wgan_gp", train__world_size=2))
