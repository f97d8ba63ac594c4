"""Features as torch tensors, as a GPU leaves them: the NumPy route's numbers, and only small matrices are moved."""

import sys

import numpy as np
import pytest
import torch

from bench import evaluate
from bench.metrics import (
    agreement,
    frechet_distance,
    frechet_infinity,
    gaussian,
    inception_score,
    kernel_distance,
    modes,
    prdc,
    reverse_kl,
    with_root,
)
from bench.metrics.nearest import nearest_distance
from bench.metrics.suite import Side
from bench.protocol import Evaluate, requests
from bench.reals import ReferenceSet
from bench.setting import Data

RNG = np.random.default_rng(20260101)
N, M, D = 330, 300, 24
REAL = RNG.standard_normal((N, D)).astype(np.float32)
FAKE = (RNG.standard_normal((M, D)) * 1.2 + 0.2).astype(np.float32)
LOGITS = (3 * RNG.standard_normal((M, 7))).astype(np.float32)
LABELS = np.arange(M) % 7


def rng():
    return np.random.default_rng(3)


def without_some_directions(real):
    """Constant features: Cholesky has no root, eigh has."""
    real = real + 0
    real[:, :5] = 1.0
    return real


FORMULAS = {
    "frechet": lambda a, b, *_: frechet_distance(with_root(gaussian(a)), gaussian(b)),
    "frechet, no root given": lambda a, b, *_: frechet_distance(gaussian(a), gaussian(b)),
    "frechet, singular": lambda a, b, *_: frechet_distance(gaussian(without_some_directions(a)), gaussian(b)),
    "frechet, few fakes": lambda a, b, *_: frechet_distance(with_root(gaussian(a)), gaussian(b[:10])),
    "frechet, few reals": lambda a, b, *_: frechet_distance(gaussian(a[:10]), gaussian(b)),
    "frechet, few of both": lambda a, b, *_: frechet_distance(gaussian(a[:9]), gaussian(b[:10])),
    "frechet infinity": lambda a, b, *_: frechet_infinity(gaussian(a), b, rng()),
    "kid, whole kernels": lambda a, b, *_: kernel_distance(a, b, rng(), 20, 200),
    "kid, by subset": lambda a, b, *_: kernel_distance(a, b, rng(), 3, 20),
    "kid of a set with itself": lambda a, b, *_: kernel_distance(a, a, rng(), 20, 100),
    "prdc": lambda a, b, *_: list(prdc(a, b).values()),
    "nearest": lambda a, b, *_: nearest_distance(a, b),
    "inception score": lambda a, b, logits, labels: inception_score(logits),
    "modes": lambda a, b, logits, labels: modes(logits.argmax(axis=1)),
    "reverse kl": lambda a, b, logits, labels: reverse_kl(labels, logits.argmax(axis=1), 7),
    "agreement": lambda a, b, logits, labels: agreement(logits, labels),
}


def on(device):
    """Reals, fakes, logits and labels as tensors."""
    return [torch.from_numpy(array).to(device) for array in (REAL, FAKE, LOGITS, LABELS)]


@pytest.fixture
def moved(monkeypatch):
    """Shapes of the tensors that are brought to NumPy while a test runs."""
    shapes = []
    numpy = torch.Tensor.numpy

    def watched(tensor):
        shapes.append(tuple(tensor.shape))
        return numpy(tensor)

    monkeypatch.setattr(torch.Tensor, "numpy", watched)
    return shapes


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("tile", [None, 64])
def test_tensors_give_the_numbers_of_arrays_and_stay_where_they_are(formula, tile, moved, monkeypatch):
    if tile:
        for module in ("kid", "prdc"):
            monkeypatch.setattr(sys.modules[f"bench.metrics.{module}"], "TILE", tile)
        monkeypatch.setattr("bench.metrics.frechet.BLOCK", tile)
    expected = FORMULAS[formula](REAL, FAKE, LOGITS, LABELS)
    assert FORMULAS[formula](*on("cpu")) == pytest.approx(expected, rel=1e-12)
    assert all(max(shape, default=0) < M for shape in moved)


def test_an_array_s_reference_serves_tensors_and_the_other_way_round():
    expected = frechet_distance(with_root(gaussian(REAL)), gaussian(FAKE))
    reals, fakes = (torch.from_numpy(x) for x in (REAL, FAKE))
    assert frechet_distance(with_root(gaussian(REAL)), gaussian(fakes)) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(with_root(gaussian(reals)), gaussian(FAKE)) == pytest.approx(expected, rel=1e-12)
    assert agreement(torch.from_numpy(LOGITS), LABELS) == agreement(LOGITS, LABELS)


def test_a_tensor_is_not_changed():
    for formula in FORMULAS.values():
        given = on("cpu")
        formula(*given)
        assert all(
            torch.equal(x, torch.from_numpy(y)) for x, y in zip(given, (REAL, FAKE, LOGITS, LABELS), strict=True)
        )


class Pixels(torch.nn.Module):
    """Twelve pixels as features, five as logits; on whatever device the images are."""

    name, weights, dim, classes = "pixels", "", 12, 5

    def forward(self, images):
        x = images.flatten(1).float()[:, :12] / 64
        return x, x[:, :5]


METRICS = ("fd", "fid_infinity", "is", "kid", "prdc", "nearest", "modes")


def all_scores(place):
    """Every metric that reads features, as a study has it: {value: number}, of fakes, reals and floors."""
    images = torch.randint(0, 256, (400, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    real, fake = images[:220], images[220:] // 2
    reals = ReferenceSet(real, {"name": "tensors"}, root=place, cache=place)
    reals._extractors["pixels", None] = Pixels()
    side = Side(fake, lambda settings: reals.extract(fake, settings), real=False)
    shape = type("Shape", (), {"channels": 3, "classes": ()})
    found = {}
    for request in requests(METRICS, Evaluate(fakes=180, kid_subset_size=50), Data(size=16), "", "", shape):
        request.settings["extractor"] = "pixels"
        record = evaluate.scored(request, reals, side)
        assert record["reason"] is None
        for kind in ("values", "real", "floor"):
            found |= {f"{kind} {name}": value for name, value in record[kind].items()}
    return found, reals.side.features({"extractor": "pixels", "batch": 64}).features


def test_a_study_s_scores_are_the_same_of_features_that_stay_tensors(tmp_path, monkeypatch):
    expected, array = all_scores(tmp_path / "arrays")
    assert isinstance(array, np.ndarray)
    for module in ("bench.metrics.features", "bench.reals"):
        monkeypatch.setattr(f"{module}.kept_on", lambda rows, device: rows)  # as on a GPU
    found, tensor = all_scores(tmp_path / "tensors")
    assert isinstance(tensor, torch.Tensor)
    assert len(expected) > 20
    assert found == pytest.approx(expected, rel=1e-12)
