"""SWD, MS-SSIM and colour moments: closed forms, invariances, and other implementations on single steps."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.stats
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.metrics import MetricError, colour_distance, colour_moments, l1, ms_ssim, psnr, ssim, swd
from bench.metrics.ms_ssim import C1, C2, SIGMA, WEIGHTS, WINDOW, scales, shuffled_pairs, stream_pairs
from bench.metrics.swd import directions, draw_places, levels, patches, sliced_distance, split_level, standardise

swd_module = sys.modules["bench.metrics.swd"]  # the package's `swd` is the function
WORKERS = ThreadPoolExecutor(1)


def photos(n: int, size: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Smooth random images with some noise, uint8."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand((n, channels, 6, 6), generator=g)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")
    return (255 * smooth + 8 * torch.randn(smooth.shape, generator=g)).clamp(0, 255).to(torch.uint8)


# SWD ------------------------------------------------------------------------------------------------------


def test_levels_halve_down_to_sixteen():
    assert levels(128) == [128, 64, 32, 16]
    assert levels(16) == [16]
    assert levels(8) == [8]
    assert levels(48) == [48, 24]
    assert levels(100) == [100, 50, 25]
    assert levels(24) == [24]
    with pytest.raises(MetricError, match="7×7"):
        levels(6)


def test_constants_are_those_of_the_published_protocol():
    """16,384 images a set, 128 patches of 7 × 7 each (2²¹ of length 147), 4 × 128 directions, down to 16 px."""
    assert swd_module.IMAGES * swd_module.PATCHES == 2**21
    assert 3 * swd_module.PATCH**2 == 147
    assert swd_module.REPEATS * swd_module.DIRECTIONS == 512
    assert levels(1024)[-1] == 16
    assert (WINDOW, SIGMA) == (11, 1.5)
    assert (C1, C2) == ((0.01 * 255) ** 2, (0.03 * 255) ** 2)


def test_pyramid_equals_progan_s_convolutions():
    """5 × 5 binomial / 256, mirror borders, every second pixel; back by zero insertion and four times the filter."""
    images = photos(2, 64)
    binomial = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256.0
    current = images.double().numpy()
    ours = images
    for _ in range(2):
        down = scipy.ndimage.convolve(current, binomial[None, None], mode="mirror")[:, :, ::2, ::2]
        spread = np.zeros_like(current)
        spread[:, :, ::2, ::2] = down
        detail = current - scipy.ndimage.convolve(spread, 4 * binomial[None, None], mode="mirror")
        found, ours = split_level(ours)
        assert np.abs(found.numpy() - detail).max() < 1e-3
        assert np.abs(ours.numpy() - down).max() < 1e-3
        current = down


def test_directions_are_unit_and_a_tiled_grey_patch_projects_alike():
    unit = directions(0, 32, 1)
    assert torch.allclose(unit.norm(dim=0), torch.ones(128), atol=1e-6)
    grey = torch.randn(10, 49)
    tiled = grey.repeat(1, 3)
    assert torch.allclose(tiled @ unit, grey @ directions(0, 32, 1, channels=1), atol=1e-5)


def test_sorted_projections_are_the_wasserstein_distance_in_one_dimension():
    g = torch.Generator().manual_seed(1)
    a, b = torch.randn(4000, 1, generator=g), 0.5 + 2 * torch.rand(4000, 1, generator=g)
    expected = scipy.stats.wasserstein_distance(a[:, 0].numpy(), b[:, 0].numpy())
    assert sliced_distance(a, b, torch.ones(1, 1), WORKERS) == pytest.approx(expected, rel=1e-5)


def test_distance_of_two_point_masses_is_their_projected_gap():
    a, b = torch.zeros(50, 2), torch.tensor([[3.0, 4.0]]).repeat(50, 1)
    angles = torch.arange(360.0).deg2rad()
    projection = torch.stack([angles.cos(), angles.sin()])
    # The mean of |5 cos| over the circle.
    assert sliced_distance(a, b, projection, WORKERS) == pytest.approx(5 * 2 / np.pi, rel=1e-3)


def test_distance_of_a_shifted_uniform_is_the_shift():
    """U(0, 1) against U(0.25, 1.25), both at the mid-points of equal cells: W1 is 0.25 exactly."""
    grid = ((torch.arange(1000) + 0.5) / 1000)[:, None]
    shuffled = grid[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    assert sliced_distance(grid, shuffled + 0.25, torch.ones(1, 1), WORKERS) == pytest.approx(0.25, rel=1e-5)


def test_distance_is_blind_to_order_and_to_a_common_rotation():
    g = torch.Generator().manual_seed(2)
    a, b = torch.randn(500, 6, generator=g), torch.randn(500, 6, generator=g) ** 2
    projection = torch.randn(6, 40, generator=g)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=g))
    one = sliced_distance(a, b, projection, WORKERS)
    assert sliced_distance(a.flip(0), b, projection, WORKERS) == one
    assert sliced_distance(a @ rotation, b @ rotation, rotation.T @ projection, WORKERS) == pytest.approx(one, rel=1e-5)
    with pytest.raises(MetricError, match="equal counts"):
        sliced_distance(a, b[:-1], projection, WORKERS)


@pytest.mark.parametrize("length", [1, 1000, 40_000])
def test_every_sort_is_numpy_s(length):
    """Signed zeros, infinities and numbers below the normal ones, among others; radix and comparison."""
    row = torch.randn(length, generator=torch.Generator().manual_seed(0))
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1e-45, -1e-45, 3e38, -3e38])
    mixed = torch.cat([row, special, -row])
    expected = np.sort(mixed.numpy())
    for sort in swd_module.SORTS:
        found = mixed.clone()
        sort(found)
        assert np.array_equal(found.numpy(), expected)
    assert swd_module._sort(length) in swd_module.SORTS


def test_swd_does_not_depend_on_the_sort(monkeypatch):
    real, fake = photos(300, 16), photos(300, 16, seed=1)
    found = []
    for sort in swd_module.SORTS:
        monkeypatch.setattr(swd_module, "_sort", lambda length, sort=sort: sort)
        found.append(swd(real, fake))
    assert found[0] == found[1]


def test_channel_gain_and_offset_leave_swd_unchanged():
    """Exact in integers: a doubled image less its offset has the same standardised patches."""
    real, fake = photos(40, 32), photos(40, 32, seed=1)
    dim = fake // 2
    gained = dim * torch.tensor([2, 1, 2], dtype=torch.uint8).view(3, 1, 1) + torch.tensor(
        [0, 90, 1], dtype=torch.uint8
    ).view(3, 1, 1)
    assert swd(real, gained) == pytest.approx(swd(real, dim), rel=1e-4)
    assert colour_distance(colour_moments(dim), colour_moments(gained)) > 30


def test_swd_sees_blur_and_names_its_levels():
    real, fake = photos(60, 32), photos(60, 32, seed=1)
    blurred = torch.nn.functional.avg_pool2d(fake.float(), 3, 1, 1).round().to(torch.uint8)
    near, far = swd(real, fake), swd(real, blurred)
    assert set(near) == {"swd", "swd_32", "swd_16"}
    assert near["swd"] == pytest.approx((near["swd_32"] + near["swd_16"]) / 2)
    assert far["swd_32"] > 2 * near["swd_32"]


def test_swd_of_grey_equals_swd_of_its_rgb_copy():
    real, fake = photos(30, 16, 1), photos(30, 16, 1, seed=1)
    assert swd(real, fake) == pytest.approx(swd(real.repeat(1, 3, 1, 1), fake.repeat(1, 3, 1, 1)), rel=1e-5)


def test_patches_are_cut_where_their_seed_says_and_reach_every_border():
    place = torch.arange(16.0 * 16).view(1, 1, 16, 16).repeat(50, 2, 1, 1)
    places = draw_places(50, 16, 3, "swd.real")
    cut = patches(place, places).view(-1, 2, 7, 7)
    assert cut.shape == (50 * 128, 2, 7, 7)
    corners = cut[:, 1, 0, 0].long()
    assert torch.equal(corners, (places[0] * 16 + places[1]).flatten())
    assert set((corners // 16).tolist()) == set(range(10))
    assert set((corners % 16).tolist()) == set(range(10))
    assert torch.equal(places, draw_places(50, 16, 3, "swd.real"))
    assert not torch.equal(places, draw_places(50, 16, 4, "swd.real"))
    assert not torch.equal(places[:, 0], places[:, 1])
    inside = cut[0, 0] - cut[0, 0, 0, 0]
    assert torch.equal(inside, (torch.arange(7.0)[:, None] * 16 + torch.arange(7.0)))


def test_standardised_patches_have_mean_zero_and_sd_one_in_each_channel():
    rows = standardise(photos(300, 7).float().flatten(1), 3, WORKERS).view(300, 3, 49)
    assert rows.mean(dim=(0, 2)).abs().max() < 1e-5
    assert (rows.std(dim=(0, 2), correction=0) - 1).abs().max() < 1e-5


def test_flat_or_unequal_sets_have_no_swd_and_input_is_left_alone():
    real = photos(10, 16)
    before = real.clone()
    with pytest.raises(MetricError, match="flat colour"):
        swd(real, torch.full_like(real, 7))
    with pytest.raises(MetricError, match="flat colour"):
        swd(photos(10, 64), torch.full((10, 3, 64, 64), 113, dtype=torch.uint8))
    with pytest.raises(MetricError, match="one shape"):
        swd(real, real[:5])
    with pytest.raises(TypeError, match="uint8"):
        swd(real, real.float())
    assert torch.equal(real, before)
    collapsed = real[:1].repeat(10, 1, 1, 1)
    assert swd(real, collapsed)["swd"] > swd(real, photos(10, 16, seed=3))["swd"]


# MS-SSIM --------------------------------------------------------------------------------------------------


def test_weights_are_wang_s_and_scales_end_at_odd_sides():
    assert sum(WEIGHTS) == pytest.approx(1.0001)
    assert [scales(size) for size in (128, 64, 32, 16, 8, 24, 7)] == [5, 5, 5, 5, 4, 4, 1]


@pytest.mark.parametrize("size", [7, 16, 24, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_like_itself(size, channels):
    images = photos(4, size, channels)
    assert torch.allclose(ms_ssim(images, images), torch.ones(4, dtype=torch.float64), atol=1e-12)


def test_one_scale_equals_scikit_image():
    """At an odd side there is one scale: plain SSIM to the first weight, over the windows that fit."""
    a, b = photos(3, 41, 1), photos(3, 41, 1, seed=1)
    found = ms_ssim(a, b) ** (1 / WEIGHTS[0])
    for index in range(3):
        _, full = structural_similarity(
            *(x[index, 0].double().numpy() for x in (a, b)),
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True,
        )  # fmt: skip
        assert float(found[index]) == pytest.approx(max(full[5:-5, 5:-5].mean(), 0), abs=2e-6)
        assert float(ssim(a, b)[index]) == pytest.approx(full[5:-5, 5:-5].mean(), abs=2e-6)


def reference_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """ProGAN's definition on one pair [R, R, C], by SciPy's direct correlation."""
    value = 1.0
    for scale in range(5):
        size = min(11, len(a))
        x = np.arange(size) - (size - 1) / 2
        window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * (1.5 * size / 11) ** 2))
        window /= window.sum()

        def blur(image, window=window):
            return np.stack(
                [scipy.signal.correlate2d(image[..., c], window, mode="valid") for c in range(image.shape[-1])], -1
            )

        mean_a, mean_b = blur(a), blur(b)
        var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
        structure = (2 * cov + C2) / (var_a + var_b + C2)
        whole = structure * (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
        value *= max((whole if scale == 4 else structure).mean(), 0) ** WEIGHTS[scale]
        if scale == 4:
            return value
        a, b = (x.reshape(len(x) // 2, 2, len(x) // 2, 2, -1).mean(axis=(1, 3)) for x in (a, b))
    raise AssertionError


@pytest.mark.parametrize("size", [16, 32, 64])
def test_five_scales_equal_the_definition_by_direct_correlation(size):
    a, b = photos(3, size), photos(3, size, seed=1)
    b[0] = (a[0].float() * 0.8 + 20).to(torch.uint8)
    expected = [reference_ms_ssim(*(x[index].permute(1, 2, 0).double().numpy() for x in (a, b))) for index in range(3)]
    assert ms_ssim(a, b).numpy() == pytest.approx(np.array(expected), abs=2e-6)


def test_equals_pytorch_msssim_where_that_is_defined():
    """One channel at 192 px, where it accepts five scales and there is nothing to average over."""
    theirs = pytest.importorskip("pytorch_msssim").ms_ssim
    a = photos(2, 192, 1)
    b = (a.float() + 25 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255).byte()
    expected = theirs(a.double(), b.double(), data_range=255, size_average=False)
    assert torch.allclose(ms_ssim(a, b), expected, atol=2e-6)


def test_psnr_and_l1_equal_scikit_image_and_hand_counts():
    a, b = photos(3, 20), photos(3, 20, seed=1)
    b[0] = a[0]
    expected = [
        peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=255) for x, y in zip(a[1:], b[1:], strict=True)
    ]
    assert psnr(a, b)[1:].numpy() == pytest.approx(expected, rel=1e-12)
    assert float(psnr(a, b)[0]) == float("inf")
    black = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    white = black + torch.tensor([255, 100], dtype=torch.uint8).view(2, 1, 1, 1)
    assert l1(black, white).tolist() == [255, 100]
    assert l1(white, black).tolist() == [255, 100]
    assert float(psnr(black, white)[0]) == pytest.approx(0)


@pytest.mark.parametrize("metric", [psnr, l1, ssim, ms_ssim])
def test_pairs_must_be_images_of_one_shape(metric):
    a = photos(2, 16)
    with pytest.raises(TypeError, match="uint8"):
        metric(a, a.float())
    with pytest.raises(MetricError, match="one shape"):
        metric(a, photos(2, 20))


def test_opposite_images_are_clipped_at_zero_and_never_nan():
    a = photos(4, 32)
    value = ms_ssim(a, 255 - a)
    assert bool((value == 0).all())


def test_pairs():
    assert [x.tolist() for x in stream_pairs(5)] == [[0, 2], [1, 3]]
    first, second = shuffled_pairs(7, 100, seed=0)
    assert len(first) == len(second) == 100
    assert bool((first != second).all())
    assert len({frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)}) == 21
    again, other = shuffled_pairs(7, 100, seed=0), shuffled_pairs(7, 100, seed=1)
    assert torch.equal(first, again[0])
    assert not torch.equal(first, other[0])
    with pytest.raises(MetricError, match="two images"):
        stream_pairs(1)
    with pytest.raises(TypeError, match="uint8"):
        ms_ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))


# Colour ---------------------------------------------------------------------------------------------------


def test_colour_moments_are_numpy_s_and_their_distance_is_in_grey_levels():
    images = photos(20, 16)
    pixels = images.permute(1, 0, 2, 3).reshape(3, -1).numpy().astype(float)
    moments = colour_moments(images)
    assert moments[0].numpy() == pytest.approx(pixels.mean(axis=1), rel=1e-12)
    assert moments[1].numpy() == pytest.approx(pixels.std(axis=1), rel=1e-12)
    brighter = moments.clone()
    brighter[0] += 10
    assert colour_distance(moments, brighter) == pytest.approx(10)
    assert colour_distance(moments, moments) == 0
    with pytest.raises(TypeError, match="uint8"):
        colour_moments(images.float())
