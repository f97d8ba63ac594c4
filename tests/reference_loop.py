"""GAN training written out plainly in float64, to compare `bench.train` with.

Every loss, penalty, optimizer and average is written here from its paper; of the project it takes the networks with
their first weights, the drawn batches, and at which size and fade a growing net is (tests/test_growth.py has that).
Nothing is fast: reals and fakes go through D one after the other, fakes are made with a graph and detached, gradients
come from `torch.autograd.grad`, memory is contiguous.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from types import MethodType

import torch
from torch import Tensor, nn

from bench.batches import Batches
from bench.models import build, set_chance, set_stage
from bench.models.layers import MinibatchStd, PixelNorm
from bench.norms import AdaIN, SpectralNorm
from bench.objectives import Phase
from bench.schedule import stage

Named = dict[str, Tensor]


@dataclass
class Update:
    """What one update of a phase did."""

    phase: str
    loss: float
    gradients: Named
    """Of the trained net, by parameter; without those that the loss does not reach."""
    parameters: Named
    """Of the trained net, after the step."""
    lengths: dict[str, float] = field(default_factory=dict)
    """Of the gradients, by parameter: the lengths of those of the loss's terms, added up."""
    buffers: Named = field(default_factory=dict)
    """Running statistics and power iterations of G and D, after the last update of a step."""


# ---------------------------------------------------------------------------------------------------------
# Networks.


class Smooth(nn.Module):
    """LeakyReLU without its kink: a x + (1 - a) x sigma(x)."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * x + (1 - self.slope) * x * torch.sigmoid(x)


def smooth(setting) -> tuple[nn.Module, nn.Module]:
    """The project's networks with first weights, each ReLU smooth.

    At a kink a gradient jumps: of some ten thousand activations of an update, now and then one lies within rounding of
    0, and takes one slope in float32 and the other in float64.  It would be a matter of the machine which.
    """
    made = build(setting)
    for net in made:
        for parent in list(net.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.ReLU | nn.LeakyReLU):
                    setattr(parent, name, Smooth(getattr(child, "negative_slope", 0.0)))
    return made


def in_float64(net: nn.Module) -> nn.Module:
    """Cast a net, and give the layers that compute in float32 on purpose, or by hand, their papers' formulas."""
    for module in net.double().modules():
        if type(module) in FORMULAS:
            module.forward = MethodType(FORMULAS[type(module)], module)
    return net.train()


def pixel_norm(self: PixelNorm, x: Tensor) -> Tensor:
    """b = a / sqrt(1/N sum a^2 + 1e-8) at each pixel (Karras et al. 2018, section 4.2)."""
    return x / torch.sqrt((x**2).sum(dim=1, keepdim=True) / x.shape[1] + 1e-8)


def minibatch_std(self: MinibatchStd, x: Tensor) -> Tensor:
    """A map of the mean, over features and pixels, of their standard deviation over the batch (same, section 3)."""
    assert self.group == "all" or self.group >= len(x)  # one group is all that is needed here
    variance = ((x - x.mean(dim=0)) ** 2).mean(dim=0)
    return torch.cat([x, torch.sqrt(variance + 1e-8).mean().expand(len(x), 1, *x.shape[2:])], dim=1)


def adain(self: AdaIN, x: Tensor, z: Tensor) -> Tensor:
    """sigma(y) (x - mu(x)) / sigma(x) + mu(y), over the pixels of each map (Huang & Belongie 2017, eqs. 5 to 8)."""
    scale, shift = self.affine(z)[:, :, None, None].chunk(2, dim=1)
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    return scale * (x - mean) / torch.sqrt(variance + 1e-5) + shift


def spectral_norm(self: SpectralNorm, weight: Tensor) -> Tensor:
    """W / u'Wv after one power iteration (Miyato et al. 2018, algorithm 1); rows are output channels."""
    rows = weight.transpose(0, self.axis).flatten(1)
    with torch.no_grad():
        v = rows.T @ self.u
        v = v / v.norm()
        u = rows @ v
        u = u / u.norm()
    self.u = u
    return weight / (u @ rows @ v)


FORMULAS = {PixelNorm: pixel_norm, MinibatchStd: minibatch_std, AdaIN: adain, SpectralNorm: spectral_norm}


# ---------------------------------------------------------------------------------------------------------
# Losses and penalties.


def d_loss(name: str, r: Tensor, f: Tensor) -> list[Tensor]:
    """The terms that D minimises, of its logits of reals and fakes."""
    if name == "nonsaturating":  # Goodfellow et al. 2014, eq. 1
        return [-torch.log(torch.sigmoid(r)).mean(), -torch.log(1 - torch.sigmoid(f)).mean()]
    if name == "wasserstein":  # Arjovsky et al. 2017, algorithm 1
        return [-r.mean(), f.mean()]
    if name == "hinge":  # Miyato et al. 2018, eq. 16
        return [-torch.clamp(r - 1, max=0).mean(), -torch.clamp(-f - 1, max=0).mean()]
    if name == "leastsquares":  # Mao et al. 2017, eq. 2 with a = 0, b = c = 1
        return [((r - 1) ** 2).mean() / 2, (f**2).mean() / 2]
    if name == "relativistic":  # Jolicoeur-Martineau 2019, RSGAN
        return [-torch.log(torch.sigmoid(r - f)).mean()]
    if name == "relativistic_average":  # Jolicoeur-Martineau 2019, RaSGAN
        return [-torch.log(torch.sigmoid(r - f.mean())).mean(), -torch.log(1 - torch.sigmoid(f - r.mean())).mean()]
    raise NotImplementedError(name)


def g_loss(name: str, f: Tensor, r: Tensor | None) -> list[Tensor]:
    """The terms that G minimises; of the same papers."""
    if name == "nonsaturating":
        return [-torch.log(torch.sigmoid(f)).mean()]
    if name in ("wasserstein", "hinge"):
        return [-f.mean()]
    if name == "leastsquares":
        return [((f - 1) ** 2).mean() / 2]
    assert r is not None
    return d_loss(name, f, r)  # relativistic losses exchange the roles


def squared_slopes(logits: Tensor, x: Tensor) -> Tensor:
    """|gradient of D at x|^2 of each sample, differentiable again."""
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return (slope**2).flatten(1).sum(dim=1)


# ---------------------------------------------------------------------------------------------------------
# Optimizers.


class Optimizer:
    """Steps of one phase; a parameter that the loss does not reach is left alone and its count stands still."""

    def __init__(self, setting) -> None:
        self.knobs = setting.train
        self.moments: dict[str, tuple[int, Tensor, Tensor]] = {}

    def forget(self) -> None:
        self.moments = {}

    def stepped(self, name: str, theta: Tensor, g: Tensor, lr: float) -> Tensor:
        t, m, v = self.moments.get(name, (0, torch.zeros_like(g), torch.zeros_like(g)))
        t += 1
        if self.knobs.optimizer == "adam":  # Kingma & Ba 2015, algorithm 1
            beta1, beta2 = self.knobs.betas
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
            theta = theta - lr * m_hat / (torch.sqrt(v_hat) + 1e-8)
        elif self.knobs.optimizer == "rmsprop":  # Tieleman & Hinton 2012, with torch's decay of 0.99
            v = 0.99 * v + 0.01 * g**2
            theta = theta - lr * g / (torch.sqrt(v) + 1e-8)
        else:  # Polyak's momentum
            m = self.knobs.momentum * m + g
            theta = theta - lr * m
        self.moments[name] = (t, m, v)
        return theta


# ---------------------------------------------------------------------------------------------------------
# The loop.


class Reference:
    """G and D, their optimizers and G_ema.

    `together`: D sees reals and fakes in one pass.  Where D has spectral norm this is another algorithm, of one power
    iteration in an update of D and not two; elsewhere it is the same.
    """

    def __init__(self, setting, part, *, together: bool = False) -> None:
        self.setting, self.together = setting, together
        G, D = smooth(setting)
        self.nets = {"G": in_float64(G), "D": in_float64(D)}
        self.G, self.D, self.G_ema = G, D, copy.deepcopy(G)
        self.batches = Batches(setting, part, "cpu")
        self.optimizers: dict[str, Optimizer] = {}
        self.updates: list[Update] = []
        self.followed: list[Update] | None = None

    def train(self, steps: int, follow: list[Update] | None = None) -> list[Update]:
        """Train for `steps` and return all updates.

        `follow`: the updates of another run.  Each update then begins at the weights that the other had there, and
        steps by the other's gradient: rounding of one update is not carried into the next.
        """
        setting, self.followed = self.setting, follow
        for step in range(steps):
            now = self.batches.stage = stage(setting, step)
            for net in (self.G, self.D, self.G_ema):
                set_stage(net, now.size, now.fade)
            if setting.growth_reset and step and now.period != stage(setting, step - 1).period:
                for optimizer in self.optimizers.values():
                    optimizer.forget()
            self.left = 1 - step / steps  # share of the run that is to come
            if setting.data.pairs != "none":
                self.pix2pix(step)
            elif setting.condition == "sgan":
                self.sgan(step)
            else:
                for critic in range(setting.train.n_critic):
                    self.d_update(step * setting.train.n_critic + critic)
                self.g_update(step)
            self.updates[-1].buffers = {
                f"{name}.{path}": buffer.clone()
                for name in self.nets
                for path, buffer in self.nets[name].named_buffers()
            }
            self.average()
        return self.updates

    def d_update(self, index: int) -> None:
        """D on reals and on fakes, with what keeps it in bounds."""
        knobs = self.setting
        if knobs.penalty == "clip":  # Arjovsky et al. 2017, algorithm 1, where it comes last: here ahead of an update
            for p in self.D.parameters():
                p.data = p.data.clamp(-knobs.clip_value, knobs.clip_value)
        batch = self.drawn("D", index, "real", "z", *(["gp_alpha"] if knobs.penalty == "gp" else []))
        fake, self.real = self.G(batch["z"]).detach(), batch["real"]
        self.minimise("D", "D", *self.d_side(batch, fake, index))

    def d_side(self, batch: Named, fake: Tensor, index: int) -> list[Tensor]:
        """The terms of D's loss; of pairs, both images stand beside the input.

        A lazy penalty is due in every n-th update, n times as heavy (Karras et al. 2020, appendix B).
        """
        knobs, real = self.setting, batch["real"].requires_grad_()
        y = [batch["y"]] if "y" in batch else []
        due = 0 if index % knobs.penalty_every else knobs.penalty_every
        if self.together:
            r, f = self.D(torch.cat([real, fake])).chunk(2)
        else:
            r, f = self.D(real, *y), self.D(fake, *y)
        terms = d_loss(knobs.loss, r, f)
        if knobs.penalty == "gp" and due:  # Gulrajani et al. 2017, eq. 3; gamma as in Karras et al. 2018, released code
            between = ((1 - batch["gp_alpha"]) * real + batch["gp_alpha"] * fake).detach().requires_grad_()
            slopes = torch.sqrt(squared_slopes(self.D(between), between))
            terms.append(due * knobs.gp_weight / knobs.gp_target**2 * ((slopes - knobs.gp_target) ** 2).mean())
        if knobs.penalty == "r1" and due:  # Mescheder et al. 2018, eq. 9
            terms.append(due * knobs.r1_weight / 2 * squared_slopes(r, real).mean())
        if knobs.drift:  # Karras et al. 2018, appendix A.1
            terms.append(knobs.drift * (r**2).mean())
        return [knobs.d_loss_weight * term for term in terms]

    def g_update(self, index: int) -> None:
        """G against D; relativistic losses compare with the reals of D's last update."""
        relativistic = self.setting.loss.startswith("relativistic")
        fake = self.G(self.drawn("G", index, "z")["z"])
        r = self.D(self.real) if relativistic else None
        self.minimise("G", "G", *g_loss(self.setting.loss, self.D(fake), r))

    def sgan(self, step: int) -> None:
        """Three steps of D, each with its optimizer, and one of G.

        D has K class logits l.  With Z = sum exp l, a class has probability exp(l_k) / Z and an image is real with
        Z / (Z + 1) (Salimans et al. 2016, section 5).
        """

        def Z(x: Tensor) -> Tensor:
            return torch.exp(self.D.see(x).classes).sum(dim=1)

        batch = self.drawn("D_labelled", step, "labelled", "y_labelled")
        classes = torch.softmax(self.D.see(batch["labelled"]).classes, dim=1)
        right = classes[torch.arange(len(classes)), batch["y_labelled"]]
        self.minimise("D_labelled", "D", -torch.log(right).mean())
        z = Z(self.drawn("D_real", step, "unlabelled")["unlabelled"])
        self.minimise("D_real", "D", -torch.log(z / (z + 1)).mean())
        z = Z(self.G(self.drawn("D_fake", step, "z")["z"]).detach())
        self.minimise("D_fake", "D", -torch.log(1 / (z + 1)).mean())
        z = Z(self.G(self.drawn("G", step, "z")["z"]))
        self.minimise("G", "G", -torch.log(z / (z + 1)).mean())

    def pix2pix(self, step: int) -> None:
        """G makes one image; D's step is on it, then G's (Isola et al. 2017, eqs. 1, 3 and 4)."""
        batch = self.drawn("D", step, "real", "z", "y")
        fake = self.G(batch["z"], batch["y"])
        self.minimise("D", "D", *self.d_side(batch, fake.detach(), step))
        (adversarial,) = g_loss(self.setting.loss, self.D(fake, batch["y"]), None)
        l1 = torch.abs(batch["real"] - fake).mean()
        self.minimise("G", "G", self.setting.gan_weight * adversarial, self.setting.l1_weight * l1)

    def drawn(self, phase: str, index: int, *needs: str) -> Named:
        """The batch of an update, drawn in float32 and cast; dropout's masks are drawn at the same address."""
        for net in self.nets.values():
            set_chance(net, self.setting.seed, phase, index)
        batch = self.batches.draw(Phase(phase, phase[0], needs, lambda step: 1, lambda nets, batch: (None, {})), index)
        return {name: x.double().contiguous() if x.is_floating_point() else x for name, x in batch.items()}

    def minimise(self, phase: str, trains: str, *terms: Tensor) -> None:
        """One step of the phase's optimizer down the sum of the terms."""
        parameters = dict(self.nets[trains].named_parameters())
        gradients: Named = {}
        lengths: dict[str, float] = {}
        for term in terms:
            found = torch.autograd.grad(term, list(parameters.values()), retain_graph=True, allow_unused=True)
            for name, g in zip(parameters, found, strict=True):
                if g is not None:
                    gradients[name] = gradients.get(name, 0) + g
                    lengths[name] = lengths.get(name, 0.0) + g.norm().item()
        theirs = self.followed[len(self.updates)] if self.followed is not None else None
        descent = gradients if theirs is None else {name: g.double() for name, g in theirs.gradients.items()}
        optimizer = self.optimizers.setdefault(phase, Optimizer(self.setting))
        knobs = self.setting.train
        lr = knobs.d_lr if trains == "D" and knobs.d_lr is not None else knobs.lr
        lr *= {"none": 1.0, "linear": self.left, "second_half": min(1.0, 2 * self.left)}[knobs.lr_decay]
        for name, g in descent.items():
            parameters[name].data = optimizer.stepped(name, parameters[name].data, g, lr)
        after = {name: p.detach().clone() for name, p in parameters.items()}
        self.updates.append(Update(phase, sum(terms).item(), gradients, after, lengths))
        for name, p in parameters.items():
            if theirs is not None:
                p.data = theirs.parameters[name].double()

    @torch.no_grad()
    def average(self) -> None:
        """Move G_ema: kept = decay kept + (1 - decay) current; buffers are G's, or running statistics averaged too."""
        decay = self.setting.ema
        for kept, current in zip(self.G_ema.parameters(), self.G.parameters(), strict=True):
            kept.copy_(decay * kept + (1 - decay) * current)
        for (name, kept), current in zip(self.G_ema.named_buffers(), self.G.buffers(), strict=True):
            averaged = self.setting.ema_buffers == "average" and "running" in name
            kept.copy_(decay * kept + (1 - decay) * current if averaged else current)
