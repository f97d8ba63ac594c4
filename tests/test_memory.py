"""What a run records of its size: memory at most, and parameters."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import job, memory
from bench.orders import Orders
from bench.stop import Stop

CPU = torch.device("cpu")
linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux forgets peaks")


@linux
def test_the_peak_is_of_what_came_since_it_was_forgotten():
    memory.forget_peak(CPU)
    before = memory.peaks(CPU)["peak_rss_mib"]
    held = bytearray(200 * 2**20)  # written as zeros, so resident
    assert memory.peaks(CPU)["peak_rss_mib"] >= before + 150
    del held
    high = memory.peaks(CPU)["peak_rss_mib"]
    assert high >= before + 150  # gone, and still the peak
    memory.forget_peak(CPU)
    assert memory.peaks(CPU)["peak_rss_mib"] < high - 100
    assert memory.peaks(CPU)["peak_gpu_mib"] is None


@linux
def test_a_peak_is_not_the_parents():
    """A process that was started by a large one begins with its ru_maxrss: jobs are started by a supervisor."""
    child = (
        "import resource; from bench.memory import resident; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, resident())"
    )
    parent = f"import subprocess, sys; held = bytearray(300 * 2**20); subprocess.run([sys.executable, '-c', {child!r}])"
    shown = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True).stdout
    inherited, own = map(float, shown.split())
    assert inherited > 290 and own < 100


def test_a_run_records_its_peak_and_its_parameters(make_run):
    folder, orders = make_run()
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    said = folder.state().trained
    resident = float(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024
    assert said["peak_rss_mib"] > 50 and abs(said["peak_rss_mib"] - resident) < 400
    assert said["peak_gpu_mib"] is None
    # Tc 8→8 and its norm's two vectors, Tc 8→4 and its norm's, Tc 4→1; c 1→4, c 4→8 and its bias, c 8→1; all 4x4
    assert said["parameters"] == {"G": 8 * 8 * 16 + 2 * 8 + 8 * 4 * 16 + 2 * 4 + 4 * 16, "D": 16 * (4 + 32 + 8) + 8}
