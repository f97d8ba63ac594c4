"""Extractors: the stand-ins' worth, the one pass of each image, and the user's own."""

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench import data as datasets
from bench import draws
from bench.metrics import MetricError, frechet_distance, gaussian, inception_score, standins, with_root
from bench.metrics.features import extract, own_extractor
from bench.metrics.standins import RandomConv, SmallClassifier, train_classifier
from bench.setting import Data

# Stand-ins ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The two embedded sets, all parts: images and labels."""
    cache = tmp_path_factory.mktemp("cache")
    loaded = {}
    for name, size in (("faces", 32), ("digits", 16)):
        found = datasets.load(Data(name=name, size=size), cache / "data", cache)
        loaded[name] = (found.images, found.labels)
    return loaded


@pytest.fixture(scope="module")
def digit_classifier(sets):
    images, labels = sets["digits"]
    return train_classifier(images, labels, 10)


def blurred(images: Tensor, sigma: float) -> Tensor:
    reach = int(3 * sigma) + 1
    taps = torch.exp(-torch.arange(-reach, reach + 1.0).square() / (2 * sigma**2))
    kernel = (taps / taps.sum()).view(1, 1, -1, 1)
    padded = F.pad(images.float(), (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel), kernel.transpose(2, 3)).round().clamp(0, 255).to(torch.uint8)


def noisy(images: Tensor, sd: float) -> Tensor:
    added = images.float() + sd * draws.normal(images.shape, 0, "test.noise", 0)
    return added.round().clamp(0, 255).to(torch.uint8)


def ladder(extractor, images, labels, kind):
    """Distance of one half of the reals to the other half, degraded more and more; first, not at all: the floor."""
    order = draws.permutation(len(images), 0, "test.halves", 0)
    a, b = order.chunk(2)
    b = b[: len(a)]
    reference = with_root(gaussian(extract(extractor, images[a], 64).features))
    half = images[b]
    rungs = {
        "blur": [half, *(blurred(half, sigma) for sigma in (0.5, 0.8, 1.2, 2.0))],
        "noise": [half, *(noisy(half, sd) for sd in (12, 24, 48, 96))],
        "classes": [half, *(half[labels[b] >= lost] for lost in (2, 4, 6, 8))],
    }[kind]
    return [frechet_distance(reference, gaussian(extract(extractor, rung, 64).features)) for rung in rungs]


@pytest.mark.parametrize(
    ("extractor", "name", "kind"),
    [
        ("random", "faces", "blur"),
        ("random", "faces", "noise"),
        ("random", "digits", "blur"),
        ("random", "digits", "noise"),
        ("random", "digits", "classes"),
        ("classifier", "digits", "blur"),
        ("classifier", "digits", "noise"),
        ("classifier", "digits", "classes"),
    ],
)
def test_stand_ins_rank_graded_damage_beyond_the_noise_floor(sets, digit_classifier, extractor, name, kind):
    images, labels = sets[name]
    net = RandomConv(1) if extractor == "random" else digit_classifier
    floor, *damaged = ladder(net, images, labels, kind)
    assert damaged == sorted(damaged)
    assert damaged[0] > 1.5 * floor
    assert damaged[-1] > 8 * floor


def test_the_random_net_sees_what_swd_cannot(sets):
    images, _ = sets["faces"]
    a, b = images[:50], images[50:]
    reference = gaussian(extract(RandomConv(1), a, 64).features)
    floor, dim = (frechet_distance(reference, gaussian(extract(RandomConv(1), x, 64).features)) for x in (b, b // 2))
    assert dim > 5 * floor


def test_the_classifier_learns_its_set_and_loses_score_with_classes(sets, digit_classifier):
    images, labels = sets["digits"]
    logits = extract(digit_classifier, images, 64).logits
    assert (logits.argmax(axis=1) == labels.numpy()).mean() > 0.97
    order = draws.permutation(len(images), 0, "test.order", 0).numpy()
    whole, _ = inception_score(logits[order])
    half, _ = inception_score(logits[order][labels.numpy()[order] < 5])
    assert whole > 9
    assert half < 5.2


def test_the_same_set_trains_the_same_classifier_whatever_the_threads(sets, monkeypatch):
    monkeypatch.setattr(standins, "STEPS", (20, 20))
    images, labels = (x[:200] for x in sets["digits"])
    before = torch.get_num_threads()
    digests = set()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        digests.add(train_classifier(images, labels, 10).weights)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert len(digests) == 1


@pytest.mark.parametrize("size", [4, 7, 32, 100])
@pytest.mark.parametrize("channels", [1, 3])
def test_stand_ins_take_any_size(size, channels):
    images = torch.zeros(2, channels, size, size, dtype=torch.uint8)
    for net in (RandomConv(channels), SmallClassifier(channels, 3)):
        found = extract(net, images, 2)
        assert found.features.shape == (2, net.dim)
        assert (found.logits is None) == (net.classes == 0)


# One pass -------------------------------------------------------------------------------------------------


class Spy:
    """An extractor that counts its batches."""

    name, weights, dim, classes = "spy", "", 2, 0

    def __init__(self):
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(len(images))
        x = images.float().flatten(1)
        return torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1), None


def test_every_batch_is_full_and_each_image_keeps_its_row():
    images = torch.randint(0, 256, (10, 1, 4, 4), dtype=torch.uint8)
    spy = Spy()
    found = extract(spy, images, 4)
    assert spy.shapes == [4, 4, 4]
    assert found.features == pytest.approx(Spy()(images)[0].numpy())


def test_features_that_are_not_finite_or_images_that_are_not_there_are_said():
    class Broken(Spy):
        def __call__(self, images):
            features, _ = super().__call__(images)
            features[images.float().mean(dim=(1, 2, 3)) == 0] = float("nan")
            return features, None

    images = torch.ones(5, 1, 4, 4, dtype=torch.uint8)
    images[3] = 0
    with pytest.raises(MetricError, match="not finite for 1 of 5 images"):
        extract(Broken(), images, 2)
    with pytest.raises(MetricError, match="no images"):
        extract(Spy(), images[:0], 2)
    with pytest.raises(TypeError, match="uint8"):
        extract(Spy(), images.float(), 2)


OWN = """
import torch
class Good:
    name, weights, dim, classes = "good", "", 3, 0
    def __call__(self, images): return images.float().mean(dim=(2, 3)).repeat(1, 3), None
class Nameless:
    weights, dim, classes = "", 3, 0
class Wrong(Good):
    dim = 4
class Untold(Good):
    classes = 2
class Fails(Good):
    def __call__(self, images): raise ValueError("too small")
"""


def test_an_extractor_of_one_s_own_is_tried_before_it_is_used(tmp_path, monkeypatch, caplog):
    (tmp_path / "own_extractors.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    caplog.set_level(logging.WARNING)
    assert own_extractor("own_extractors:Good", 1, 16).dim == 3
    for name, said in {
        "Nameless": "attribute `name`",
        "Wrong": r"\[2, 3\], not \[2, 4\]",
        "Untold": "classes = 2",
        "Fails": "too small",
        "Absent": "cannot be made",
    }.items():
        with pytest.raises(MetricError, match=said):
            own_extractor(f"own_extractors:{name}", 1, 16)
