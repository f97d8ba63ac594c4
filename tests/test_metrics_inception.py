"""Networks that others trained: Inception by clean-fid's wrapper and DINOv2, each on a stand-in of its own face."""

import hashlib
import io
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from bench import evaluate
from bench.metrics import MetricError
from bench.metrics import inception as inception_module
from bench.metrics.dinov2 import DinoV2
from bench.metrics.features import extract
from bench.metrics.inception import FILE, SHA256, VARIABLE, Inception, locate
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
