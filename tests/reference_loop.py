"""Training as a textbook has it, in float64: what the fast loop is held against.

It shares networks, first weights and drawn batches with `bench.train`, and nothing else: losses, penalties, Adam and
the averaging of G are written here from the papers; reals and fakes go through D in two passes, in the usual memory
order; fakes are made with a graph and detached.
"""

import copy

import torch
from torch.nn import functional as F

from bench.batches import Batches
from bench.models import build, set_stage
from bench.objectives import phases
from bench.schedule import d_updates, d_updates_before, stage


class Adam:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self, parameters, lr, betas, eps=1e-8):
        self.parameters, self.lr, (self.b1, self.b2), self.eps = list(parameters), lr, betas, eps
        self.forget()

    def forget(self):
        self.t = 0
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, gradients):
        self.t += 1
        for p, g, m, v in zip(self.parameters, gradients, self.m, self.v, strict=True):
            if g is None:  # no part in the loss: a level that has not grown yet
                continue
            m.mul_(self.b1).add_((1 - self.b1) * g)
            v.mul_(self.b2).add_((1 - self.b2) * g * g)
            m_hat, v_hat = m / (1 - self.b1**self.t), v / (1 - self.b2**self.t)
            p.sub_(self.lr * m_hat / (v_hat.sqrt() + self.eps))


def of_sides(loss):
    """(D's side, G's side) of a loss on logits of reals and fakes."""
    sigmoid = torch.sigmoid
    return {
        # Gulrajani et al. 2017, eq. 3 without its penalty
        "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda f, r: -f.mean()),
        # Miyato et al. 2018, eqs. 16 and 17
        "hinge": (lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda f, r: -f.mean()),
        # Goodfellow et al. 2014, eq. 1, and the G that maximises log D(G(z))
        "nonsaturating": (
            lambda r, f: -sigmoid(r).log().mean() - (1 - sigmoid(f)).log().mean(),
            lambda f, r: -sigmoid(f).log().mean(),
        ),
        # Jolicoeur-Martineau 2019: pairs of real and fake
        "relativistic": (
            lambda r, f: -sigmoid(r - f).log().mean(),
            lambda f, r: -sigmoid(f - r).log().mean(),
        ),
    }[loss]


class Reference:
    """G, D and their optimizers in float64, trained step by step."""

    def __init__(self, setting, part, *, wrong=1.0):
        """`wrong`: a factor on the penalty, or on G's L1: 1 is right."""
        self.setting, self.part, self.wrong = setting, part, wrong
        self.G, self.D = (net.double().train() for net in build(setting))
        self.G_ema = copy.deepcopy(self.G)
        self.plan = {phase.name: phase for phase in phases(setting)}
        self.batches = Batches(setting, part, "cpu")
        train = setting.train
        self.adams = {
            name: Adam(
                (self.G if name == "G" else self.D).parameters(),
                train.lr if name == "G" else train.d_lr or train.lr,
                train.betas,
            )
            for name in self.plan
        }
        self.done = 0

    def batch(self, name, index):
        drawn = self.batches.draw(self.plan[name], index)
        return {key: x.double().contiguous() if x.is_floating_point() else x for key, x in drawn.items()}

    def update(self, name, loss):
        """Take one step down the loss."""
        adam = self.adams[name]
        adam.step(torch.autograd.grad(loss, adam.parameters, allow_unused=True))

    def step(self, steps):
        """One G update of a run of `steps`, with the D updates before it."""
        setting, train, n = self.setting, self.setting.train, self.done
        now = self.batches.stage = stage(setting, n)
        for net in (self.G, self.D, self.G_ema):
            set_stage(net, now.size, now.fade)
        if n and setting.growth and now.period != stage(setting, n - 1).period:
            for adam in self.adams.values():
                adam.forget()
        if train.lr_decay == "linear":
            for adam in self.adams.values():
                adam.lr = train.lr * (1 - n / steps)
        first = d_updates_before(train, n)
        for name in self.plan:
            if name != "G":
                for index in range(first, first + d_updates(train, n)):
                    self.update(name, self.of_d(name, self.batch(name, index)))
        self.update("G", self.of_g(self.batch("G", n)))
        self.done += 1
        if setting.ema:
            with torch.no_grad():
                for kept, p in zip(self.G_ema.parameters(), self.G.parameters(), strict=True):
                    kept.copy_(setting.ema * kept + (1 - setting.ema) * p)
                for kept, b in zip(self.G_ema.buffers(), self.G.buffers(), strict=True):
                    kept.copy_(b)

    # -- What the phases minimise -------------------------------------------------------------------------

    def of_d(self, name, batch):
        if name != "D":
            return self.of_sgan(name, batch)
        setting, D = self.setting, self.D
        given = (batch["y_fake"],) if "y_fake" in batch else ()
        seen = (batch["y"],) if "y" in batch else ()
        # pix2pix's G is shown this step's batch once more in its own update, with the running statistics of before.
        before = [b.clone() for b in self.G.buffers()]
        fake = self.G(batch["z"], *given).detach()
        if setting.data.pairs != "none":
            for buffer, b in zip(self.G.buffers(), before, strict=True):
                buffer.copy_(b)
        real = batch["real"].clone().requires_grad_(setting.penalty == "r1")
        if setting.d_weight == "spectral":  # one power iteration an update: one pass
            r, f = D(torch.cat([real, fake])).chunk(2)
        else:
            r, f = D(real, *seen), D(fake, *given)
        total = of_sides(setting.loss)[0](r, f)
        if setting.penalty == "gp":
            # Gulrajani et al. 2017, eq. 3: x between real and fake, one alpha a sample
            alpha = batch["gp_alpha"]
            x = ((1 - alpha) * real + alpha * fake).detach().requires_grad_()
            (slope,) = torch.autograd.grad(D(x, *seen).sum(), x, create_graph=True)
            length = slope.flatten(1).pow(2).sum(1).sqrt()
            total = total + self.wrong * setting.gp_weight * ((length - 1) ** 2).mean()
        if setting.penalty == "r1":
            # Mescheder et al. 2018, eq. 9
            (slope,) = torch.autograd.grad(r.sum(), real, create_graph=True)
            total = total + self.wrong * setting.r1_weight / 2 * slope.flatten(1).pow(2).sum(1).mean()
        if setting.drift:
            total = total + setting.drift * (r**2).mean()  # Karras et al. 2018, A.1
        return setting.d_loss_weight * total

    def of_g(self, batch):
        setting = self.setting
        given = (batch["y_fake"],) if "y_fake" in batch else ()
        fake = self.G(batch["z"], *given)
        if setting.condition == "sgan":
            return -(self.sgan_real(fake)).log().mean()
        r = self.D(batch["real"]) if setting.loss == "relativistic" else None
        total = setting.gan_weight * of_sides(setting.loss)[1](self.D(fake, *given), r)
        if setting.l1_weight:
            total = total + self.wrong * setting.l1_weight * (batch["real"] - fake).abs().mean()  # Isola et al., eq. 3
        return total

    def sgan_real(self, x):
        """Z / (Z + 1), Z the sum of exp of D's K class logits (Salimans et al. 2016, section 5)."""
        z = self.D.see(x).classes.exp().sum(1)
        return z / (z + 1)

    def of_sgan(self, name, batch):
        if name == "D_labelled":
            logits = self.D.see(batch["labelled"]).classes
            chosen = logits.softmax(1)[torch.arange(len(logits)), batch["y_labelled"]]
            return -chosen.log().mean()
        if name == "D_real":
            return -self.sgan_real(batch["unlabelled"]).log().mean()
        return -(1 - self.sgan_real(self.G(batch["z"]).detach())).log().mean()


def angle(found, expected):
    """(relative difference of length, of direction) of two lists of gradients, taken whole."""
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if b is not None]
    a, b = (torch.cat([one.double().flatten() for one in side]) for side in zip(*pairs, strict=True))
    return abs(float(a.norm() / b.norm()) - 1), float((a - b).norm() / b.norm())
