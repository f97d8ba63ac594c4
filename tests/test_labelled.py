"""Label budgets: balanced, paired across cells, kept apart from the unlabelled pool; mirrored reals."""

from __future__ import annotations

import pytest
import torch

from bench.batches import Batches
from bench.data import Part, to_float
from bench.datasets import DataError
from bench.labelled import labelled, pool_indices, unlabelled
from bench.objectives import Phase
from bench.setting import Data, resolve

LABELS = torch.arange(300) % 7 % 5  # classes 0 and 1 twice as often as 2, 3, 4


def budget(n: int, **knobs: object) -> Data:
    return Data(name="digits", labels=n, **knobs)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [5, 20, 33, 100])
def test_a_balanced_budget_has_as_many_of_each_class_and_nothing_twice(n: int) -> None:
    chosen = labelled(LABELS, budget(n), seed=3)
    counts = LABELS[chosen].bincount(minlength=5)
    assert len(chosen) == len(chosen.unique()) == n
    assert int(counts.max() - counts.min()) == (1 if n % 5 else 0)
    rest = unlabelled(LABELS, budget(n), seed=3)
    assert torch.equal(torch.cat([chosen, rest]).sort().values, torch.arange(300))


def test_the_first_ones_are_the_books_and_read_no_seed() -> None:
    for seed in (0, 1):
        assert torch.equal(labelled(LABELS, budget(40, labels_drawn="first"), seed), torch.arange(40))


def test_without_a_budget_all_are_labelled_and_all_are_shown_as_reals() -> None:
    data = Data(name="digits")
    assert torch.equal(labelled(LABELS, data, 0), torch.arange(300))
    assert torch.equal(unlabelled(LABELS, data, 0), torch.arange(300))


def test_a_larger_budget_of_a_seed_holds_the_smaller_one_and_seeds_differ() -> None:
    small, large = (set(labelled(LABELS, budget(n), 0).tolist()) for n in (20, 100))
    assert small < large
    assert set(labelled(LABELS, budget(20), 1).tolist()) != small


def test_what_cannot_be_had_is_said() -> None:
    with pytest.raises(DataError, match=r"data\.labels=301 .* 300"):
        labelled(LABELS, budget(301), 0)
    with pytest.raises(DataError, match="of class 2 are due, and it has 43"):
        labelled(LABELS, budget(280), 0)


def test_a_pool_is_seen_whole_before_any_of_it_again() -> None:
    seen = torch.cat([pool_indices(7, 3, step, 0, "s") for step in range(14)]).view(6, 7)
    assert all(torch.equal(epoch.sort().values, torch.arange(7)) for epoch in seen)
    larger = torch.cat([pool_indices(7, 21, step, 0, "s") for step in range(2)])
    assert torch.equal(larger, seen.flatten())


def batches(**knobs: object) -> Batches:
    layer = {key.replace("__", "."): value for key, value in knobs.items()}
    setting = resolve({"data.name": "digits", "data.size": 8, "data.labels": 20, "train.batch": 8}, layer)
    pixels = (torch.arange(300 * 64) * 37 % 251).view(300, 1, 8, 8)
    pixels[:, 0, 0, 0], pixels[:, 0, 7, 7] = torch.arange(300) // 20, torch.arange(300) % 20 + 100  # no two alike
    pixels = pixels.to(torch.uint8)
    return Batches(setting, Part(pixels, LABELS), "cpu")


def asking(name: str, *needs: str) -> Phase:
    return Phase(name, "D", needs, lambda step: 1, lambda nets, batch: (torch.zeros(()), {}))


def test_cells_of_a_seed_see_the_same_labelled_images_and_no_label_of_others() -> None:
    phase = asking("labelled", "labelled", "y_labelled", "unlabelled")
    one, other = batches(), batches(network="sndcgan", loss="hinge", g_width=8)
    chosen = labelled(LABELS, budget(20), 0)
    shown = {bytes(image.numpy().tobytes()): int(y) for image, y in zip(one.part.images, LABELS, strict=True)}
    hidden = set()
    for index in range(5):
        a, b = one.draw(phase, index), other.draw(phase, index)
        assert all(torch.equal(a[name], b[name]) for name in a)
        for image, y in zip(a["labelled"], a["y_labelled"], strict=True):
            assert shown[((image + 1) * 127.5).round().to(torch.uint8).numpy().tobytes()] == int(y)
        hidden |= {((image + 1) * 127.5).round().to(torch.uint8).numpy().tobytes() for image in a["unlabelled"]}
    assert not hidden & {one.part.images[i].numpy().tobytes() for i in chosen}


def test_a_mirrored_real_is_the_image_or_its_mirror_each_half_the_time() -> None:
    phase = asking("D", "real")
    plain, mirrored = batches(), batches(data__mirror=True)
    flipped = 0
    for index in range(50):
        as_is, shown = plain.draw(phase, index)["real"], mirrored.draw(phase, index)["real"]
        turned = (shown != as_is).flatten(1).any(dim=1)
        assert torch.equal(shown[turned], as_is[turned].flip(3))
        flipped += int(turned.sum())
    assert abs(flipped - 200) < 5 * 10  # 400 fair coins: sd 10
    assert torch.equal(plain.draw(phase, 0)["real"], to_float(plain.part.images[plain._chosen(0)]))
