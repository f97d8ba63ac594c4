"""Extractors: the Inception path on a stand-in network, the stand-ins' worth, and the user's own."""

import hashlib
import io
import logging
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from bench import data as datasets
from bench import draws, evaluate
from bench.metrics import MetricError, frechet_distance, gaussian, inception_score, standins, with_root
from bench.metrics import inception as inception_module
from bench.metrics.dinov2 import DinoV2
from bench.metrics.features import extract, own_extractor
from bench.metrics.inception import FILE, SHA256, VARIABLE, Inception, locate
from bench.metrics.standins import RandomConv, SmallClassifier, train_classifier
from bench.protocol import Evaluate, measure, requests
from bench.setting import Data

# Inception ------------------------------------------------------------------------------------------------


class TinyLayers(nn.Module):
    """Stands for the graph up to pool3: 299 px in, 2048 features out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2048, 16, stride=94, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean(dim=[2, 3])


class TinyInception(nn.Module):
    """The published file's face: `layers`, `output`, `forward(img, return_features)`, resizing inside."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = TinyLayers()
        self.output = nn.Linear(2048, 1008)

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        x = F.interpolate(img.float(), size=[299, 299], mode="bilinear", align_corners=False)
        features = self.layers((x - 128) / 128)
        return features if return_features else self.output(features).softmax(dim=1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    net = TinyInception()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(net).save(str(folder / FILE))
    return folder, net


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch", "legacy_tensorflow"])
def test_features_and_logits_are_those_of_the_resized_images(weights, mode, channels):
    folder, net = weights
    images = torch.randint(0, 256, (3, channels, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    extractor = Inception(folder, mode)
    found = extract(extractor, images, batch=2)
    rgb = images.repeat(1, 3 // channels, 1, 1)
    if mode == "clean":
        resized = torch.stack(
            [
                torch.stack(
                    [
                        torch.from_numpy(np.array(Image.fromarray(plane.numpy()).resize((299, 299), Image.BICUBIC)))
                        for plane in image.float()
                    ]
                )
                for image in rgb
            ]
        ).clamp(0, 255)
    else:
        resized = F.interpolate(rgb.float(), size=(299, 299), mode="bilinear", align_corners=False)
    with torch.no_grad():
        features = net.layers((resized - 128) / 128)
    assert found.features == pytest.approx(features.numpy(), abs=1e-4)
    assert found.logits == pytest.approx((features @ net.output.weight.T).detach().numpy(), abs=1e-4)
    assert (extractor.dim, extractor.classes, len(extractor.weights)) == (2048, 1008, 64)


def test_clean_fid_leaves_the_warning_filters_alone(weights):
    before = list(warnings.filters)
    Inception(weights[0], "legacy_pytorch")
    assert list(warnings.filters) == before


def test_a_file_without_the_output_layer_is_refused(tmp_path):
    bare = nn.Module()
    bare.layers = TinyLayers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(bare).save(str(tmp_path / FILE))
    with pytest.raises(MetricError, match=r"output\.weight"):
        Inception(tmp_path, "clean")


def test_inception_s_scores_carry_their_count_and_resize_in_their_names(weights, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(weights[0]))
    digits = Data(name="digits", size=8)
    asked = Evaluate(fakes=20, extractor="inception", part="held_out", kid_subsets=2, resize="legacy_tensorflow")
    places = {"root": tmp_path, "cache": tmp_path / "cache"}
    listed = requests(
        ("fid", "fd", "is", "kid", "prdc"), asked, digits, "r", "s", SimpleNamespace(channels=1, classes=("a", "b"))
    )
    images = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    records = list(evaluate.score(listed, images, digits, asked, **places))
    assert [record["reason"] for record in records] == [None] * 4
    assert {name for record in records for name in record["values"]} == {
        f"{stem}_legacy_tensorflow" for stem in ("fid20", "is20", "kid", *(f"{m}20" for m in PRDC))
    }
    assert all(measure(name) for record in records for name in record["values"])
    stamp = records[0]["protocol"]
    assert (stamp["extractor"], stamp["extractor_resize"]) == ("inception", "legacy_tensorflow")
    assert stamp["weights"] == hashlib.sha256((weights[0] / FILE).read_bytes()).hexdigest()


PRDC = ("precision", "recall", "density", "coverage")


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No variable, no file in clean-fid's place, no network."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(inception_module, "CLEAN_FID_PLACE", tmp_path / "clean_fid")

    def offline(url, timeout):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    return tmp_path / "data"


def test_offline_the_error_says_which_file_how_large_and_where(nowhere, capsys):
    with pytest.raises(MetricError) as caught:
        locate(nowhere)
    said = str(caught.value)
    assert all(part in said for part in (FILE, "96 MB", str(nowhere / FILE), VARIABLE, "no route to host"))
    assert "downloading" in capsys.readouterr().err
    with pytest.raises(MetricError, match="downloads nothing"):
        locate(nowhere, download=False)
    assert capsys.readouterr().err == ""


def test_a_download_that_is_not_the_published_file_is_not_kept(nowhere, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(b"a captive portal"))
    with pytest.raises(MetricError, match="not the published file"):
        locate(nowhere)
    assert list(nowhere.iterdir()) == []


def test_a_download_is_checked_and_kept(nowhere, monkeypatch):
    content = b"weights" * 1000
    monkeypatch.setattr(inception_module, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(content))
    assert locate(nowhere) == nowhere
    assert (nowhere / FILE).read_bytes() == content
    assert [path.name for path in nowhere.iterdir()] == [FILE]


def test_a_damaged_file_is_refused_unless_its_folder_was_named(nowhere, monkeypatch):
    nowhere.mkdir()
    (nowhere / FILE).write_bytes(b"torn")
    with pytest.raises(MetricError, match=SHA256[:16]):
        locate(nowhere)
    monkeypatch.setenv(VARIABLE, str(nowhere))
    assert locate(nowhere) == nowhere
    monkeypatch.setenv(VARIABLE, str(nowhere / "empty"))
    (nowhere / FILE).unlink()
    with pytest.raises(MetricError, match="in that folder"):
        locate(nowhere)


# DINOv2 ---------------------------------------------------------------------------------------------------


class TinyViT(nn.Module):
    """Stands for the hub's network: 224 px in, 1024 features out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 1024, 14, stride=14)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 224, 224)
        return self.embed(x).mean(dim=(2, 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_dinov2_sees_images_as_its_authors_normalise_them(monkeypatch, channels):
    torch.manual_seed(0)
    net = TinyViT()
    monkeypatch.setattr(torch.hub, "load", lambda repository, model, **options: net)
    images = torch.randint(0, 256, (3, channels, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    extractor = DinoV2()
    found = extract(extractor, images, 2)
    rows = []
    for image in images.expand(-1, 3, -1, -1):
        planes = [Image.fromarray(plane.numpy()).resize((224, 224), Image.BICUBIC) for plane in image.float()]
        x = torch.stack([torch.from_numpy(np.array(plane)) for plane in planes]).clamp(0, 255) / 255
        shift, scale = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        rows.append((x - shift) / scale)
    assert found.features == pytest.approx(net(torch.stack(rows)).detach().numpy(), abs=1e-4)
    assert (found.logits, extractor.dim, len(extractor.weights)) == (None, 1024, 64)


def test_without_the_hub_dinov2_says_what_to_fetch_and_fails_alone(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load", offline)
    faces = Data(name="faces", size=16)
    asked = Evaluate(fakes=20, extractor="dinov2")
    listed = requests(("fd", "colour"), asked, faces, "r", "s", SimpleNamespace(channels=1, classes=()))
    images = torch.randint(0, 256, (20, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    records = evaluate.score(listed, images, faces, asked, root=tmp_path, cache=tmp_path / "cache")
    found = {record["metric"]: record for record in records}
    assert found["colour"]["status"] == "ok"
    assert all(
        part in found["fd"]["reason"] for part in ("no route to host", "torch.hub.load(", "1.2 GB", "TORCH_HOME")
    )


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
