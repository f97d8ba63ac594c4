"""One run in its own process: killed anywhere and resumed, it equals one never killed."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from bench import job, own_modules, sample
from bench.files import read_json, read_rows
from bench.heartbeat import Heartbeat
from bench.keeper import RunKeeper
from bench.orders import Orders
from bench.protocol import Evaluate
from bench.stop import Stop
from bench.store import RunFolder

LONG = {"train__g_steps": 120, "g_width": 8, "d_width": 8, "train__batch": 8}


def start(folder, orders):
    command = [sys.executable, "-m", "bench.job", str(folder.path), "--orders", str(orders)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(folder, orders):
    process = start(folder, orders)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def uninterrupted(folder, orders, tmp_path):
    """The same run in a folder of its own, by a call in this process."""
    other = RunFolder(tmp_path / "other" / "runs" / folder.path.name)
    other.write_setting(folder.setting())
    assert job.run(other, Orders.read(orders), stop=Stop()) == 0
    return other


def wait_for_rows(folder, attempt, process, more_than=0):
    """Until the attempt has logged; then a random moment more."""
    deadline = time.monotonic() + 60
    path = folder.attempt(attempt) / "train.jsonl"
    while process.poll() is None and time.monotonic() < deadline and len(read_rows(path)) <= more_than:
        time.sleep(0.005)


def without_time(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def kill_and_resume(make_run, tmp_path, kills, seed, **knobs):
    folder, orders = make_run(checkpoint_minutes=0.0005, **knobs)
    chance = random.Random(seed)
    for attempt in range(1, kills + 1):
        process = start(folder, orders)
        wait_for_rows(folder, attempt, process)
        time.sleep(chance.uniform(0.0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, output = finish(folder, orders)
    assert code == 0, output
    expected = uninterrupted(folder, orders, tmp_path)
    one, other = folder.state().trained, expected.state().trained
    assert one["weights"] == other["weights"]
    assert without_time(folder.log()) == without_time(expected.log())
    assert [row["step"] for row in folder.log()] == list(range(1, folder.setting().train.g_steps + 1))
    for label in one["snapshots"]:
        for kind in ("snapshots", "samples"):
            name = f"{label}.{'pt' if kind == 'snapshots' else 'png'}"
            assert (folder.path / kind / name).read_bytes() == (expected.path / kind / name).read_bytes()
    return folder, expected


def test_killed_and_resumed_it_ends_with_the_same_weights(make_run, tmp_path):
    folder, _ = kill_and_resume(make_run, tmp_path, kills=1, seed=0, ema=0.9, d_weight="spectral", **LONG)
    assert not list(folder.path.glob("attempts/*/checkpoints/*.pt"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_twenty_random_moments(make_run, tmp_path, seed):
    form = [{}, {"penalty": "gp", "loss": "wasserstein"}, {"g_norm": "adain"}, {"equalized": True}, {"mbstd": 4}][seed]
    kill_and_resume(make_run, tmp_path, kills=4, seed=seed, **LONG, **form)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGUSR2])
def test_a_signal_stops_in_order_and_the_run_goes_on(make_run, tmp_path, number):
    folder, orders = make_run(**LONG)
    process = start(folder, orders)
    wait_for_rows(folder, 1, process, more_than=3)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    state = folder.state()
    assert (state.status, state.cause) == ("stopped", f"stopped by {number.name}")
    assert len(list(folder.path.glob("attempts/1/checkpoints/*.pt"))) == 1
    code, output = finish(folder, orders)
    assert code == 0
    assert "resuming from step" in output
    assert folder.state().trained["weights"] == uninterrupted(folder, orders, tmp_path).state().trained["weights"]


def test_a_supervised_job_stops_when_its_supervisor_is_gone(make_run):
    folder, orders = make_run(**{**LONG, "train__g_steps": 100_000})
    command = [sys.executable, "-m", "bench.job", str(folder.path), "--orders", str(orders), "--supervised"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    wait_for_rows(folder, 1, process)
    process.stdin.close()
    assert process.wait(timeout=60) == 75
    assert folder.state().cause == "its supervisor is gone"


def test_a_preparation_ends_with_its_driver(make_run, tmp_path):
    """Else it would decode and compute beside the next driver's."""
    folder, orders = make_run()
    code = (
        "import sys, time; from bench import job; job.prepare = lambda *given: (print('at it', flush=True), "
        "time.sleep(60)); sys.exit(job.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(folder.path), "--orders", str(orders)]
    command += ["--prepare", str(tmp_path / "results/studies/test"), "--supervised"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"at it\n"
        process.stdin.close()
        assert process.wait(timeout=30) == 75


def test_a_stop_while_scoring_keeps_each_score(make_run, monkeypatch):
    """A job whose time is short gets further with every life."""
    folder, orders = make_run(metrics=["swd", "ms_ssim"], evaluate={"fakes": 64})
    stop, real = Stop(), job.write_json

    def write(path, content):
        real(path, content)
        stop.ask("stopped by SIGUSR2")

    monkeypatch.setattr(job, "write_json", write)
    assert job.run(folder, Orders.read(orders), stop=stop) == 75
    assert len(list(folder.scores.iterdir())) == 1


def test_a_damaged_checkpoint_is_passed_over_aloud(make_run, tmp_path, capfd):
    folder, _orders = make_run(checkpoint_minutes=1e-6)
    setting = folder.setting()
    stop = Stop()
    attempt = folder.claim()
    keeper = RunKeeper(folder, attempt, setting, stop, Heartbeat(folder.attempt(attempt)))
    keeper.save_checkpoint(1, {"step": 1, "x": torch.ones(3)})
    keeper.save_checkpoint(2, {"step": 2, "x": torch.ones(3)})
    keeper.save_checkpoint(3, {"step": 3, "x": torch.ones(3)})
    kept = sorted(folder.path.glob("attempts/1/checkpoints/*.pt"))
    assert [path.name[:9] for path in kept] == ["000000002", "000000003"]
    content = kept[-1].read_bytes()
    for damaged in (content[: len(content) // 2], b"", content[:-1] + b"x"):
        kept[-1].write_bytes(damaged)
        assert keeper.load_checkpoint()["step"] == 2
        assert "damaged and passed over" in capfd.readouterr().out
    assert len(keeper.notes) == 3
    keeper.close()


def test_a_half_written_trained_json_is_set_aside(make_run, capfd):
    folder, orders = make_run()
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    weights = folder.state().trained["weights"]
    folder.trained.write_text(folder.trained.read_text()[:40])
    assert folder.state().status == "stopped"
    assert "half-written" in folder.state().cause
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    assert folder.state().trained["weights"] == weights
    assert folder.reason(2) == "trained.json was half-written and is made again"
    assert folder.path.joinpath("trained.json.torn-1").exists()


def test_a_half_written_score_is_made_again_and_said(make_run):
    folder, orders = make_run(metrics=["swd"], evaluate={"fakes": 64})
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    score = sorted(folder.scores.iterdir())[0]
    whole = json.loads(score.read_bytes())
    score.write_bytes(score.read_bytes()[:50])
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    assert json.loads(score.read_bytes())["values"] == whole["values"]
    assert folder.reason(2) == f"{score.name} was half-written and is made again"


def test_a_damaged_snapshot_is_a_failed_score_with_the_remedy(make_run):
    folder, orders = make_run(metrics=["swd", "ms_ssim"], evaluate={"fakes": 64}, train__snapshots_g_steps=[3, 6])
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    snapshot = sorted(folder.snapshots.iterdir())[0]
    snapshot.write_bytes(snapshot.read_bytes()[:100])
    for score in folder.scores.iterdir():
        score.unlink()
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    assert folder.state().status == "done"
    scores = [json.loads(path.read_bytes()) for path in folder.scores.iterdir()]
    assert sorted(score["status"] for score in scores) == ["failed", "failed", "ok", "ok"]
    assert all("delete the folder" in score["reason"] for score in scores if score["status"] == "failed")
    assert folder.reason(2).startswith("2 scores failed")


def test_a_generator_that_makes_nan_has_failed_scores_that_are_tried_again(make_run, monkeypatch):
    folder, orders = make_run(metrics=["swd", "colour"], evaluate={"fakes": 64})
    draw = sample.draw_z
    with monkeypatch.context() as patch:
        patch.setattr(sample, "draw_z", lambda *args: draw(*args) * float("nan"))
        assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    assert folder.state().status == "done"
    scores = [read_json(path) for path in folder.scores.iterdir()]
    assert {(score["status"], score["reason"]) for score in scores} == {
        ("failed", "G makes values that are not finite")
    }
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    assert {read_json(path)["status"] for path in folder.scores.iterdir()} == {"ok"}


def test_a_module_edited_since_the_plan_is_refused(make_run, tmp_path, monkeypatch):
    """The run's id is of the source that was planned; another source must not train under it."""
    (tmp_path / "lab.py").write_text("from torch import nn\nclass Norm(nn.BatchNorm2d): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder, orders = make_run(g_norm="lab:Norm", sources={"lab": own_modules.source_hash("lab:Norm")})
    (tmp_path / "lab.py").write_text("from torch import nn\nclass Norm(nn.InstanceNorm2d): pass\n")
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 2
    assert "its source has changed" in folder.state().cause
    assert not folder.trained.exists()


def test_an_extractor_that_is_gone_is_bad_input(make_run, capfd):
    folder, orders = make_run(metrics=("fd",), evaluate=Evaluate(fakes=8, extractor="gone_lab.nets:Net"))
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 2
    assert folder.reason(1).startswith("there is no module gone_lab")
    said = capfd.readouterr().err
    assert "there is no module gone_lab" in said
    assert "Traceback" not in said


def test_an_edited_setting_is_refused(make_run, capfd):
    folder, orders = make_run()
    path = folder.path / "setting.json"
    path.write_text(path.read_text().replace('"g_width": 4', '"g_width": 6'))
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 2
    assert "edited" in capfd.readouterr().err
    assert not folder.trained.exists()


def test_a_crash_is_a_failure_with_its_reason(make_run, monkeypatch, capfd):
    folder, orders = make_run()

    def broken(*args, **kwargs):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(job, "train", broken)
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 1
    state = folder.state()
    assert (state.status, state.cause) == ("failed", "RuntimeError: the disk is on fire")
    assert "Traceback" in capfd.readouterr().err


def test_a_diverged_run_is_an_outcome(make_run):
    folder, orders = make_run(loss="wasserstein", train__optimizer="sgd", train__lr=1e30, train__g_steps=20)
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    state = folder.state()
    assert state.status == "diverged"
    assert "not finite" in state.cause


def test_scores_are_made_once_and_alone(make_run):
    folder, orders = make_run(metrics=["swd", "ms_ssim", "fd"], evaluate={"fakes": 128})
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    trained = folder.trained.stat().st_mtime_ns
    before = {path.name: path.read_bytes() for path in folder.scores.iterdir()}
    assert len(before) == 3 * len(folder.state().trained["snapshots"])
    assert all(json.loads(content)["status"] == "ok" for content in before.values())
    gone = next(iter(before))
    (folder.scores / gone).unlink()
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.scores.iterdir()}
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    assert folder.trained.stat().st_mtime_ns == trained
    assert {p.name: p.stat().st_mtime_ns for p in folder.scores.iterdir() if p.name != gone} == stamps
    again, once = json.loads((folder.scores / gone).read_bytes()), json.loads(before[gone])
    assert again["values"] == once["values"]


def test_provenance_says_code_machine_and_command(make_run):
    folder, orders = make_run()
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    said = read_json(folder.attempt(1) / "provenance.json")
    assert said["torch"] == torch.__version__
    assert said["threads"] == 1
    assert said["numerics"] >= 1
    ended = read_json(folder.attempt(1) / "ended.json")
    assert ended["exit"] == 0
