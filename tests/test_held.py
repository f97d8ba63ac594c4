"""Images on the host are the images on the device, whether they were fetched ahead or not."""

import pytest
import torch
from test_train import images

from bench.batches import Batches
from bench.data import Part
from bench.held import Held, has_room
from bench.objectives import phases

PART = Part(images(), torch.arange(20) % 3)


@pytest.mark.parametrize(
    "form",
    [
        {"loss": "relativistic"},
        {"data__mirror": True, "dequantize": 0.1},
        {"g_norm": "adain", "style_source": "image", "train__n_critic": 1},
    ],
)
def test_batches_from_the_host_are_those_from_the_device(tiny, form):
    setting = tiny(**form)
    here, there = Batches(setting, PART, "cpu"), Batches(setting, PART, "cpu")
    there.held = Held(PART, torch.device("cpu"), fits=False)
    for step in range(5):
        for phase in phases(setting):
            one, other = here.draw(phase, step), there.draw(phase, step)
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_next_images_are_gathered_ahead_and_used():
    held = Held(PART, torch.device("cpu"), fits=False)
    asked = []

    def next_positions():
        asked.append(torch.tensor([4, 2]))
        return asked[-1]

    held.fetch_ahead(next_positions)
    gathered = held._ahead[1].result()
    assert torch.equal(gathered, PART.images[[4, 2]])
    assert held.images(torch.tensor([4, 2]), held.part.images).data_ptr() == gathered.data_ptr()


def test_what_was_not_asked_for_is_not_handed_out():
    held = Held(PART, torch.device("cpu"), fits=False)
    held.fetch_ahead(lambda: torch.tensor([4, 2]))
    assert torch.equal(held.images(torch.tensor([7, 1]), held.part.images), PART.images[[7, 1]])


def test_a_cpu_has_room_and_its_images_are_not_copied():
    assert has_room(PART, torch.device("cpu"))
    assert Held(PART, torch.device("cpu")).part.images.data_ptr() == PART.images.data_ptr()


def test_what_lies_beside_the_images_leaves_them_fetched():
    """Of pairs the inputs are asked for in between."""
    pairs = Part(PART.images, PART.labels, PART.images.flip(3))
    held = Held(pairs, torch.device("cpu"), fits=False)
    held.fetch_ahead(lambda: torch.tensor([4, 2]))
    gathered = held._ahead[1].result()
    assert torch.equal(held.images(torch.tensor([4, 2]), held.part.inputs), pairs.inputs[[4, 2]])
    assert held.images(torch.tensor([4, 2]), held.part.images).data_ptr() == gathered.data_ptr()
