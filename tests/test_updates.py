"""Updates as they are written, recorded, lazily penalised and in bfloat16.

CUDA graphs want a GPU (tests/gpu/test_train_cuda.py).  What could go wrong in recording an update does not: a number
of Python's that changes from update to update, a tensor that is another one each time.  `Tape` stands in for the
graph on a CPU: it takes down each operator with its very tensors, and does them again on these tensors alone.
"""

import math

import pytest
import torch
from test_train import FORMS, Memory, images, run
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from bench.batches import Batches
from bench.data import Part
from bench.models import build
from bench.objectives import Nets, phases
from bench.optimizers import make_optimizer
from bench.schedule import schedule, stage
from bench.train import train
from bench.updates import Updates


def written(function, args, kwargs):
    """The tensors that an operator writes, by its schema."""
    for number, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[number] if number < len(args) else kwargs.get(argument.name)
            yield from (one for one in tree_flatten(value)[0] if isinstance(one, torch.Tensor))
    if "batch_norm" in str(function) and "backward" not in str(function):  # running statistics, which it does not say
        yield from (one for one in args[3:5] if one is not None)


class Taking(TorchDispatchMode):
    """Takes down operators, and what they write over as it was."""

    def __init__(self):
        super().__init__()
        self.done, self.before = [], {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for tensor in written(function, args, kwargs):
            place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
            self.before.setdefault(place, (tensor, tensor.detach().clone()))
        made = function(*args, **kwargs)
        self.done.append((function, args, kwargs, made))
        return made


class Tape:
    """Records on a CPU as a CUDA graph does: the work is not done, and each launch does it on the same memory."""

    def __init__(self):
        self.recorded = self.launched = 0

    def record(self, work):
        self.recorded += 1
        with Taking() as taken:
            told = work()
        for tensor, before in reversed(taken.before.values()):
            tensor.detach().copy_(before)
        return told, lambda: self.launch(taken.done)

    def launch(self, done):
        self.launched += 1
        with torch.no_grad():
            for function, args, kwargs, made in done:
                if "empty" in str(function) or function is torch.ops.aten.detach.default:
                    continue
                again = function(*args, **kwargs)
                for kept, value in zip(tree_flatten(made)[0], tree_flatten(again)[0], strict=True):
                    if isinstance(kept, torch.Tensor) and kept.data_ptr() != value.data_ptr():
                        kept.detach().copy_(value)


def recorded(setting, keeper, tape):
    part = Part(images(), torch.zeros(20, dtype=torch.int64))
    return train(setting, part, schedule(setting, 20), keeper, recorder=tape)


LONG = {"train__g_steps": 9}
MORE = {
    "lazy_r1": {"penalty": "r1", "penalty_every": 3},
    "lazy_gp": {"loss": "wasserstein", "penalty": "gp", "penalty_every": 2},
    "batch_norm_noise": {"d_norm": "bn", "g_noise": True, "d_dropout": 0.3},
    "bf16_gp": {"loss": "wasserstein", "penalty": "gp", "train__precision": "bf16"},
}
GROWING = {
    **{"network": "progan", "growth": True, "growth_start": 8, "growth_stable_kimg": 0.048, "growth_fade_kimg": 0.032},
    **{"g_norm": "none", "pixel_norm": True, "equalized": True, "ema": 0.9, "train__g_steps": 22},
}
NEVER = ("mlp_momentum_dropout", "clip_rmsprop")


@pytest.mark.parametrize("form", [form for form in FORMS if "decay" not in str(FORMS[form]) and form not in NEVER])
def test_recorded_updates_give_the_very_weights_of_plain_ones(tiny, form):
    setting = tiny(**FORMS[form], **LONG)
    tape, plain, taped = Tape(), Memory(), Memory()
    expected = run(setting, plain)
    found = recorded(setting, taped, tape)
    assert found.plain_because == ""
    assert tape.recorded == 2
    assert tape.launched > 6
    assert found.weights == expected.weights
    assert taped.rows == plain.rows


@pytest.mark.parametrize("form", MORE)
def test_lazy_noisy_and_bf16_updates_are_recorded_as_well(tiny, form):
    setting = tiny(**MORE[form], **LONG)
    tape = Tape()
    assert recorded(setting, Memory(), tape).weights == run(setting, Memory()).weights
    assert tape.recorded == (3 if form.startswith("lazy") else 2)


def test_a_stop_between_recorded_updates_changes_nothing(tiny):
    setting = tiny(ema=0.9, **LONG)
    parts = Memory(stop_after=6)
    recorded(setting, parts, Tape())
    found = recorded(setting, Memory(checkpoint=parts.checkpoint), Tape())
    assert found.weights == run(setting, Memory()).weights


def test_growth_is_recorded_anew_at_each_stage(tiny):
    tape = Tape()
    assert recorded(tiny(**GROWING), Memory(), tape).weights == run(tiny(**GROWING), Memory()).weights
    assert tape.recorded == 4  # D and G, at 8 px and at 16 px; a fade moves in each step, and is done as written


@pytest.mark.parametrize("decay", ["linear", "second_half", "exponential"])
def test_a_step_size_that_moves_is_a_tensor_that_recordings_read(tiny, decay, monkeypatch):
    """As Adam's is on CUDA; a checkpoint leaves the tensor in its place."""

    def on_tensors(*given):
        optimizer = make_optimizer(*given)
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"])
        return optimizer

    monkeypatch.setattr("bench.train.make_optimizer", on_tensors)
    setting, parts = tiny(train__lr_decay=decay, train__lr=0.01, **LONG), Memory(stop_after=6)
    expected = run(setting, Memory()).weights
    assert recorded(setting, Memory(), Tape()).weights == expected
    recorded(setting, parts, Tape())
    assert recorded(setting, Memory(checkpoint=parts.checkpoint), Tape()).weights == expected


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({"train__optimizer": "sgd", "train__final_momentum": 0.7}, "momentum"),
        ({"train__optimizer": "rmsprop", "train__lr_decay": "linear"}, "step size"),
    ],
)
def test_what_moves_in_python_is_not_recorded_and_says_why(tiny, knobs, reason):
    setting = tiny(**knobs, **LONG)
    tape = Tape()
    found = recorded(setting, Memory(), tape)
    assert reason in found.plain_because
    assert tape.recorded == 0
    assert found.weights == run(setting, Memory()).weights


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_cannot_be_recorded_is_done_as_written_and_says_why(tiny, when):
    """Also where it fails after its layers have drawn noise."""

    class Refusing(Tape):
        def record(self, work):
            if when == "after":
                super().record(work)
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    setting = tiny(**MORE["batch_norm_noise"], **LONG)
    found = recorded(setting, Memory(), Refusing())
    assert found.plain_because == "the phase D cannot be recorded: operation not permitted when stream is capturing"
    assert found.weights == run(setting, Memory()).weights


def test_tape_notices_a_number_that_is_not_on_the_tape():
    """The stand-in can fail: a Python number that changes between launches is lost on it."""
    x, number = torch.ones(3), iter((2.0, 2.0, 5.0))

    def work():
        return x.mul(next(number)).sum(), {}

    tape = Tape()
    (told, _), launch = tape.record(work)
    launch()
    assert float(told) == 6.0
    plain, _ = work()
    launch()
    assert float(told) == float(plain) == 6.0
    assert float(work()[0]) == 15.0
    launch()
    assert float(told) == 6.0


# ---------------------------------------------------------------------------------------------------------
# Lazy penalties.


def parts_of(setting):
    nets = Nets(*(net.train() for net in build(setting)))
    batches = Batches(setting, Part(images(), torch.zeros(20, dtype=torch.int64)), "cpu")
    return nets, batches, phases(setting)[0]


@pytest.mark.parametrize("penalty", ["gp", "gp0", "r1", "r2", "r1r2", "dragan"])
def test_a_lazy_penalty_is_as_heavy_on_average(tiny, penalty):
    """Every third update has three times the penalty; the others have the loss of a run without a penalty."""
    lazy, eager, none = (tiny(penalty=penalty, penalty_every=3), tiny(penalty=penalty), tiny())
    nets, batches, phase = parts_of(lazy)
    others = {name: parts_of(setting)[2] for name, setting in {"eager": eager, "none": none}.items()}
    for index in range(6):
        at = phase.at(index)
        _, logs = at.loss(nets, batches.draw(phase, index))
        due = index % 3 == 0
        same = others["eager" if due else "none"]
        _, expected = same.loss(nets, batches.draw(same, index))
        assert logs.keys() == expected.keys()
        if due:
            assert float(logs["penalty"]) == pytest.approx(3 * float(expected["penalty"]), rel=1e-6)
        assert float(logs["loss_D"]) == pytest.approx(float(expected["loss_D"]), rel=1e-5)


def test_acgan_keeps_its_classes_in_updates_without_the_penalty(tiny):
    setting = tiny(
        data__name="digits",
        data__classes=10,
        data__size=16,
        condition="acgan",
        penalty="gp",
        penalty_every=2,
        loss="wasserstein",
    )
    phase = phases(setting)[0]
    nets = Nets(*(net.train() for net in build(setting)))
    part = Part(images(), torch.arange(20) % 10)
    batches = Batches(setting, part, "cpu")
    logs = [phase.at(index).loss(nets, batches.draw(phase, index))[1] for index in (0, 1)]
    assert "penalty" in logs[0]
    assert logs[1].keys() == logs[0].keys() - {"penalty"}
    assert "loss_classes_D" in logs[1]


# ---------------------------------------------------------------------------------------------------------
# bfloat16.


def first_update(setting, name="D"):
    """Loss, logs and gradients of a phase's first update."""
    nets, batches, _ = parts_of(setting)
    plan = phases(setting)
    optimizers = {phase.name: make_optimizer(getattr(nets, phase.trains), phase.trains, setting) for phase in plan}
    for optimizer in optimizers.values():
        optimizer.step = lambda: None
    update = Updates(setting, nets, optimizers)
    phase = next(phase for phase in plan if phase.name == name)
    loss, logs = update(phase, 0, batches.draw(phase, 0), stage(setting, 0))
    return float(loss), logs, [p.grad for p in getattr(nets, phase.trains).parameters() if p.grad is not None]


BF16 = {
    "gp": {"loss": "wasserstein", "penalty": "gp"},
    "r1_spectral": {"penalty": "r1", "d_weight": "spectral"},
    "adain_orthogonal": {"g_norm": "adain", "d_weight": "orthogonal", "loss": "hinge"},
    "pixel_norm_mbstd": {"g_norm": "none", "pixel_norm": True, "mbstd": 4, "equalized": True, "d_norm": "ln"},
    "self_modulation": {"g_norm": "selfmod_bn", "d_norm": "gn", "sle": "sle", "loss": "relativistic"},
}


@pytest.mark.parametrize("form", BF16)
@pytest.mark.parametrize("phase", ["D", "G"])
def test_bf16_rounds_and_no_more(tiny, form, phase):
    """The gradient keeps its direction: each of a few layers rounds by at most 2^-9 of a value."""
    whole = first_update(tiny(**BF16[form], g_width=8, d_width=8), phase)
    low = first_update(tiny(**BF16[form], g_width=8, d_width=8, train__precision="bf16"), phase)
    assert low[0] != whole[0]
    assert low[0] == pytest.approx(whole[0], rel=0.05, abs=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in low[2])
    one, other = (torch.cat([gradient.flatten() for gradient in found[2]]) for found in (whole, low))
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=0)
    assert float(cosine) > 0.98


@pytest.mark.parametrize("penalty", ["gp", "r1"])
def test_bf16_leaves_penalties_in_float32(tiny, penalty):
    """Of equal weights and images the penalty is that of float32 to its rounding; bfloat16's is hundreds of times that.

    R1's images are reals, and alike; the interpolates are of fakes, which come from G in bfloat16.
    """
    form = {"loss": "wasserstein", "penalty": penalty}
    whole, low = (first_update(tiny(**form, train__precision=p))[1]["penalty"] for p in ("fp32", "bf16"))
    assert float(low) == pytest.approx(float(whole), rel=1e-5 if penalty == "r1" else 2e-3)


@pytest.mark.parametrize(
    ("knobs", "allowed"),
    [
        ({}, False),
        ({"train__precision": "tf32"}, True),
        ({"train__precision": "bf16"}, False),
        ({"train__precision": "bf16", "train__penalty_precision": "tf32", "penalty": "r1"}, True),
    ],
)
def test_tf32_is_for_updates_alone(tiny, knobs, allowed, monkeypatch):
    """Forward, backward and step; what comes after, as samples and scores, is float32's."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    seen = []

    def looking(parameters, loss, logs):  # between the backward pass and the step
        seen.append((torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()))
        return loss, dict(logs)

    monkeypatch.setattr("bench.ranks.average", looking)
    run(tiny(**knobs), Memory())
    assert set(seen) == {(allowed, "high" if allowed else "highest")}
    assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (False, "highest")


def test_a_bf16_run_trains_and_resumes_bit_for_bit(tiny):
    setting = tiny(train__precision="bf16", ema=0.9, d_weight="spectral", loss="hinge")
    whole, parts = run(setting, Memory()), Memory(stop_after=3)
    assert math.isfinite(whole.seconds)
    run(setting, parts)
    assert run(setting, Memory(checkpoint=parts.checkpoint)).weights == whole.weights
    assert whole.weights != run(tiny(ema=0.9, d_weight="spectral", loss="hinge"), Memory()).weights
