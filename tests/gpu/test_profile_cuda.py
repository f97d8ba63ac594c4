"""On a CUDA device: spans by events change nothing and add up; ceilings, memory and the busy share are of the GPU."""

import pytest
import torch
from test_profile import PART, TIMED
from test_train import Memory

from bench import timing
from bench.device import ceilings
from bench.schedule import schedule
from bench.stopwatch import Spans, throw
from bench.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")


def test_a_timed_loop_ends_with_the_weights_of_one_that_is_not(tiny):
    setting = tiny(**TIMED)
    plain, timed = (
        train(setting, PART, schedule(setting, 20), Memory(), "cuda", **how) for how in ({}, {"span": Spans(CUDA)})
    )
    assert plain.status == "done" and plain.weights == timed.weights


def test_parts_of_a_step_fit_into_it(tiny):
    steps = throw(tiny(**TIMED), PART, CUDA, 4).block().steps
    assert [step.counts["D"] for step in steps] == [3] * 4
    assert all(0 < sum(step.parts.values()) <= 1.01 * step.whole for step in steps)


def test_what_a_run_takes_of_a_gpu(tiny):
    subject = timing.look(throw(tiny(**TIMED), PART, CUDA, 4))
    held = subject.memory_mib
    assert held.peak > held.weights + held.optimizer + held.data
    assert subject.busy is not None and 0 < subject.busy <= 1
    assert subject.flop_a_step == timing.look(throw(tiny(**TIMED), PART, torch.device("cpu"), 4)).flop_a_step


def test_ceilings_rise_with_coarser_arithmetic():
    found = ceilings(CUDA).matmul_tflops
    assert found["float32"] < found["tf32"] < found["bfloat16"]
