"""Length and snapshots in whole steps."""

import pytest

from bench.schedule import d_updates, d_updates_before, label, nimg_after, schedule
from bench.setting import resolve


def test_quickstart_length():
    # 32 kimg at batch 16 are 2,000 D updates; at 5:1 that is 400 G updates.
    setting = resolve({"train.kimg": 32, "train.batch": 16, "train.n_critic": 5})
    plan = schedule(setting, 80)
    assert plan.steps == 400
    assert plan.snapshots == {100: "000008.000", 200: "000016.000", 300: "000024.000", 400: "000032.000"}


def test_epochs_count_images_shown_to_d():
    # Kwak & Ko: 202,599 images at batch 64 and 5:1; 20 epochs are 4,051,980 images, 12,663 G updates.
    setting = resolve({"train.epochs": 20, "train.snapshots_epochs": [5, 10, 20], "train.n_critic": 5})
    plan = schedule(setting, 202_599)
    assert plan.steps == -(-202_599 * 20 // 320)
    assert list(plan.snapshots) == [-(-202_599 * epochs // 320) for epochs in (5, 10, 20)]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("n_critic", [1, 5])
def test_closed_form_of_d_updates(warm, n_critic):
    train = resolve({"train.g_steps": 1, "train.n_critic": n_critic, "train.critic_warmup": warm}).train
    total = 0
    for step in range(1200):
        assert d_updates_before(train, step) == total
        total += d_updates(train, step)


def test_kimg_with_warmup_ends_at_the_first_step_that_reaches_it():
    setting = resolve({"train.kimg": 500, "train.n_critic": 5, "train.critic_warmup": True})
    steps = schedule(setting, 1000).steps
    assert nimg_after(setting, steps) >= 500_000 > nimg_after(setting, steps - 1)


def test_the_end_is_always_kept():
    plan = schedule(resolve({"train.g_steps": 7, "train.snapshots_g_steps": [3]}), 10)
    assert list(plan.snapshots) == [3, 7]


def test_no_length_and_snapshots_beyond_the_end():
    with pytest.raises(ValueError, match="no length"):
        schedule(resolve({}), 10)
    with pytest.raises(ValueError, match="beyond the run's end"):
        schedule(resolve({"train.g_steps": 5, "train.snapshots_g_steps": [6]}), 10)


def test_labels_sort_as_numbers():
    assert label(8000) == "000008.000"
    assert sorted([label(12_000_000), label(900)]) == [label(900), label(12_000_000)]
