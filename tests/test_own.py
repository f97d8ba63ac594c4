"""A network, a norm and a loss of the user's own: a file outside the project, through a whole study."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.models import build
from bench.models.own import check_own_network
from bench.own_modules import OwnModuleError
from bench.run import main
from bench.setting import Setting, resolve

LAB = '''
import torch
from torch import nn
from torch.nn import functional as F

class HalfNorm(nn.Module):
    """x over the root mean square of each sample."""
    def __init__(self, channels):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
    def forward(self, x):
        return self.gain * x / (x.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-6).sqrt()

class Squared:
    """Least squares on -1 and 1."""
    def d(self, r, f):
        return (r - 1).square().mean() + (f + 1).square().mean()
    def g(self, f, r):
        return (f - 1).square().mean()

class Tiny:
    @staticmethod
    def generator(setting, channels):
        size = setting.data.size
        return nn.Sequential(nn.Linear(setting.z_dim, channels * size * size), nn.Unflatten(1, (channels, size, size)),
                             nn.Conv2d(channels, channels, 3, 1, 1), nn.Tanh())
    @staticmethod
    def discriminator(setting, channels):
        pixels = (setting.data.size // 4) ** 2
        return nn.Sequential(nn.Conv2d(channels, setting.d_width, 4, 4), nn.PReLU(), nn.Flatten(),
                             nn.Linear(setting.d_width * pixels, 1), nn.Flatten(0))

class Linear(Tiny):
    @staticmethod
    def generator(setting, channels):
        return nn.Sequential(nn.Linear(setting.z_dim, channels * setting.data.size ** 2), Scale(),
                             nn.Unflatten(1, (channels, setting.data.size, setting.data.size)))

class Scale(nn.Module):
    def forward(self, x):
        return 100 * (x - x.mean() + 0.1)

class Small(Tiny):
    @staticmethod
    def generator(setting, channels):
        return nn.Sequential(nn.Linear(setting.z_dim, channels * 16), nn.Unflatten(1, (channels, 4, 4)), nn.Tanh())

class Column(Tiny):
    @staticmethod
    def discriminator(setting, channels):
        return nn.Sequential(nn.Conv2d(channels, 1, 4, 4))

class Clumsy(Tiny):
    @staticmethod
    def discriminator(setting, channels):
        return nn.Linear(3, 1)

class Half:
    generator = Tiny.generator

class Breaks(Tiny):
    @staticmethod
    def generator(setting, channels):
        raise RuntimeError("out of ideas")

class Nothing(Tiny):
    @staticmethod
    def discriminator(setting, channels):
        return None

class Kept(Tiny):
    @staticmethod
    def generator(setting, channels):
        G = Tiny.generator(setting, channels)
        G.keeps_weights = True
        return G

class Labelled(Tiny):
    @staticmethod
    def generator(setting, channels):
        return Told(setting, channels)
    @staticmethod
    def discriminator(setting, channels):
        return Asked(setting, channels)

class Told(nn.Module):
    def __init__(self, setting, channels):
        super().__init__()
        self.net, self.embed = Tiny.generator(setting, channels), nn.Embedding(setting.data.classes, setting.z_dim)
    def forward(self, z, y):
        return self.net(z + self.embed(y))

class Paired(Tiny):
    @staticmethod
    def generator(setting, channels):
        return Inverse()
    @staticmethod
    def discriminator(setting, channels):
        return Beside(setting, channels)

class Inverse(nn.Module):
    def forward(self, z, y):
        return -y.expand(-1, 3, -1, -1)

class Beside(nn.Module):
    def __init__(self, setting, channels):
        super().__init__()
        self.net = Tiny.discriminator(setting, channels + setting.data.input_channels)
    def forward(self, x, y):
        return self.net(torch.cat([x, y], dim=1))

class Asked(nn.Module):
    def __init__(self, setting, channels):
        super().__init__()
        self.net = Tiny.discriminator(setting, channels)
    def forward(self, x, y):
        return self.net(x) + y
'''
STUDY = """\
# Mine against theirs.
study: mine
recipe: dcgan
data: {name: faces, size: 16}
d_width: 4
g_width: 4
d_norm: none
train: {kimg: 0.08, batch: 8, snapshots_kimg: [0.08]}
factors:
  g_norm: ["lab_of_mine.parts:HalfNorm"]
  network: [dcgan, "lab_of_mine.parts:Tiny"]
loss: lab_of_mine.parts:Squared
seeds: 1
metrics: [swd]
evaluate: {fakes: 64}
resources: {gpus: 0}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "lab_of_mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "parts.py").write_text(LAB)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("lab_of_mine")]:
        monkeypatch.delitem(sys.modules, name)
    return "lab_of_mine.parts"


def setting(network: str, **knobs: Any) -> Setting:
    tiny = {"network": network, "data.size": 16, "data.channels": 1, "d_width": 4, "z_dim": 6}
    return resolve(tiny, {name.replace("__", "."): value for name, value in knobs.items()})


@pytest.fixture
def run_study(lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Run a study in this process; its child finds the lab's file by PYTHONPATH."""

    def run(text: str) -> int:
        (tmp_path / "mine.yaml").write_text(text)
        command = ["bench.run", str(tmp_path / "mine.yaml"), "--executor", "inline"]
        command += ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(sys, "argv", command)
        return main()

    return run


def test_network_norm_and_loss_of_ones_own_go_through_a_study(run_study: Callable[[str], int], tmp_path: Path) -> None:
    assert run_study(STUDY) == 0
    runs = list((tmp_path / "results" / "runs").iterdir())
    assert len(runs) == 2
    assert all(json.loads((run / "trained.json").read_text())["status"] == "done" for run in runs)
    settings = [json.loads((run / "setting.json").read_text()) for run in runs]
    assert all("lab_of_mine.parts" in json.dumps(said) for said in settings)
    assert list((tmp_path / "reports").rglob("index.html"))


def test_a_network_that_does_not_hold_is_said_before_any_run(
    run_study: Callable[[str], int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_study(STUDY.replace("parts:Tiny", "parts:Small")) == 2
    assert "lab_of_mine.parts:Small: G must make images of shape (4, 1, 16, 16)" in capfd.readouterr().err
    assert not list((tmp_path / "results" / "runs").glob("*/trained.json"))


def test_own_networks_that_hold(lab: str) -> None:
    for knobs in ({}, {"d_weight": "spectral", "g_weight": "weight"}, {"equalized": True}, {"mbstd": 3}):
        made = setting(f"{lab}:Tiny", **knobs)
        check_own_network(*build(made), made)
    loud = setting(f"{lab}:Linear", output="linear")
    check_own_network(*build(loud), loud)
    told = setting(f"{lab}:Labelled", condition="concat", data__classes=3)
    check_own_network(*build(told), told)
    paired = setting(f"{lab}:Paired", data__pairs="grayscale", data__channels=3)
    check_own_network(*build(paired), paired)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Absent", "has no Absent"),
        ("Half", "no function discriminator"),
        ("Breaks", r"generator\(setting, 1\) fails: RuntimeError: out of ideas"),
        ("Nothing", "discriminator gives NoneType, not a torch.nn.Module"),
        ("Small", r"G must make images of shape \(4, 1, 16, 16\); it makes \(4, 1, 4, 4\)"),
        ("Linear", r"images in \[-1, 1\]; it makes"),
        ("Column", r"logits of shape \(4,\) or \(4, patches\); it gives \(4, 1, 4, 4\)"),
        ("Clumsy", r"D on images of shape \(4, 1, 16, 16\) fails: RuntimeError"),
    ],
)
def test_own_networks_that_do_not(lab: str, name: str, says: str) -> None:
    made = setting(f"{lab}:{name}")
    with pytest.raises(OwnModuleError, match=says):
        check_own_network(*build(made), made)


def test_weights_of_an_own_network_come_from_the_seed(lab: str) -> None:
    made = setting(f"{lab}:Labelled", condition="concat", data__classes=3)
    torch.manual_seed(1)
    first = build(made)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    second, other = build(made), build(made.model_copy(update={"seed": 1}))
    assert torch.equal(torch.rand(1), expected)  # the global generator is not moved
    for one, two, three in zip(first, second, other, strict=True):
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert torch.equal(a, b)
        assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), three.parameters(), strict=True))


def test_own_weights_are_kept_where_the_net_says_so(lab: str) -> None:
    """`normal002` draws N(0, 0.02) and no bias; torch's own start is uniform, with biases."""
    drawn, kept = (build(setting(f"{lab}:{name}"))[0] for name in ("Tiny", "Kept"))
    for net, biased in ((drawn, False), (kept, True)):
        layer = net[0]
        assert isinstance(layer, nn.Linear) and bool(layer.bias.any()) == biased
