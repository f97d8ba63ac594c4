"""What others wrote (study files, logs, names, archives, results) cannot run, leave or deface anything."""

import io
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import miniature as mini
import pytest
from PIL import Image
from rich.text import Text
from test_report import Page

from bench import folders, overview
from bench.design import expand
from bench.harmless import harmless
from bench.orders import Orders
from bench.render import report
from bench.store import Store
from bench.study import StudyError, load
from bench.terminal import Terminal

SCRIPT = "</script><script>alert(1)</script>"
BREAKOUT = "\"'><img/src=x/onerror=alert(1)>"
ANSI = "\x1b]0;title\x07\x1b[2Jgone\x9b1m\r\x08"
LINK = "javascript:alert(1)"

# ---------------------------------------------------------------------------------------------------------
# Study files.

WATCHED = """
import json, runpy, sys
events = []
watched = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "marshal.load")
sys.addaudithook(lambda event, arguments: event in watched and events.append([event, repr(arguments)]))
for module, *more in (["bench.run", "--dry-run"], ["bench.status"], ["bench.status", "--json"], ["bench.report"]):
    sys.argv = [module, "own.yaml", *more]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        assert not end.code, (module, end.code)
print("WATCHED", json.dumps([events, "mylab" in sys.modules]))
"""


def test_a_plan_a_status_and_a_report_run_nothing_of_the_study(tmp_path):
    """What a study may name is code, of its readers' own path; a job imports it, these commands do not."""
    (tmp_path / "mylab.py").write_text(
        "import os\nopen('ran', 'w').close()\nclass Norm: pass\nclass Loss: pass\nclass Net: pass\n"
    )
    (tmp_path / "own.yaml").write_text(
        "study: own\nrecipe: dcgan\ndata: {name: faces, size: 16}\ntrain: {g_steps: 2}\nseeds: 1\nmetrics: [fd]\n"
        'factors: {g_norm: [bn, "mylab:Norm"]}\nloss: mylab:Loss\nevaluate: {extractor: mylab:Net}\n'
    )
    done = subprocess.run([sys.executable, "-c", WATCHED], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    events, imported = json.loads(done.stdout.partition("WATCHED ")[2])
    assert not imported and not (tmp_path / "ran").exists()
    assert events == []
    listed = done.stdout.partition("code of your own, imported only in the runs\n")[2].splitlines()[:4]
    file = str(tmp_path / "mylab.py")
    assert [line.split() for line in listed[:3]] == [[f"mylab:{name}", file] for name in ("Loss", "Net", "Norm")]
    assert file not in listed[3]


GRAMMAR = [
    "[",
    "{",
    "]",
    "}",
    ": ",
    "\n",
    "- ",
    "&a ",
    "*a ",
    "!!int ",
    "!x ",
    "? ",
    "|",
    ">",
    "'",
    '"',
    "\\",
    "%",
    "@",
    "~",
]
GRAMMAR += [
    "1e400",
    ".inf",
    ".nan",
    "0x",
    "---",
    "...",
    "<<: ",
    "#",
    "\t",
    "\x85",
    "\u202e",
    "\0",
    "999999999999",
    "g_norm",
]


def spoilt(draw, good):
    """A study file with some of it replaced: by random bytes, or by pieces of YAML."""
    content = bytearray(good)
    if draw.random() < 0.2:
        return draw.randbytes(draw.randrange(1, 200))
    if draw.random() < 0.2:
        return "".join(draw.choice(GRAMMAR) for _ in range(draw.randrange(1, 60))).encode()
    for _ in range(draw.randrange(1, 6)):
        start = draw.randrange(len(content))
        piece = draw.randbytes(1) if draw.random() < 0.5 else draw.choice(GRAMMAR).encode()
        content[start : start + draw.randrange(12)] = piece
    return bytes(content)


@pytest.mark.parametrize("number", range(6))
def test_any_bytes_are_a_study_or_mistakes(tmp_path, number):
    draw = random.Random(number)
    path = tmp_path / "s.yaml"
    for _ in range(12):
        path.write_bytes(spoilt(draw, mini.STUDY.format(name="s", seeds=2).encode()))
        try:
            load(path)
        except StudyError as error:
            assert error.problems and "\x1b" not in str(error)


ALIASES = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ALIASES, "too long for a study"),
        ("[" * 5000, "brackets within each other"),
        ("seeds: " + "9" * 5000, "a number of 5,000 digits"),
        ("seeds: 0x" + "f" * 5000, "digits"),
        ("seeds: !!int word", "'word' is no number"),
        ("seeds: !!float ''", "'' is no number"),
        ('study: "\\e[2J"', r"a control character, '\x1b'"),
        ('"\\ud800": 1', r"a control character, '\ud800'"),
        ('g_norm: "\\u202ebn"', r"a control character, '\u202e'"),
        ("g_norm: !!python/object/apply:os.system [touch ran]", "has no meaning here"),
        ("g_norm: !!python/name:os.system x", "has no meaning here"),
    ],
)
def test_a_study_that_is_meant_to_harm(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(StudyError, match=r"s\.yaml:1:") as caught:
        load(Path("s.yaml"))
    assert said in str(caught.value)
    assert time.process_time() - began < 3 and os.listdir() == ["s.yaml"]


# ---------------------------------------------------------------------------------------------------------
# What is shown.


def test_control_characters_are_shown_not_obeyed():
    shown = harmless(f"a\tb\n{ANSI}\u202e\ud800ä😀")
    assert shown.startswith("a\tb\n␛]0;title␇␛[2Jgone\ufffd1m␍␈") and shown.endswith("\ufffd\ufffdä😀")
    shown.encode()
    terminal = Terminal(width=80)
    with terminal.capture() as captured:
        terminal.print(Text(ANSI))
        terminal.print(f"[red]x[/nothing] :bomb: {ANSI}\ud800")
    assert "[red]x[/nothing] :bomb:" in captured.get()
    assert "␛[2Jgone" in captured.get() and not set(captured.get()) & set("\x1b\x07\x08\x9b\ud800")


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A study of hostile names whose runs left hostile words; return (design, store)."""
    monkeypatch.chdir(tmp_path)
    level = json.dumps("\"'><svg/onload>")
    text = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]").replace("A miniature for tests.", f"{SCRIPT} {LINK}")
    text = text.replace("AdaIN ends lower than batch norm", f"{SCRIPT} {LINK}").format(name="hostile", seeds=2)
    text = text.replace("  d_weight: [none, spectral]", f"  <b>$: {{{level}: {{}}, '$x^{{\\frac$': {{mbstd: 4}}}}")
    text = text.replace("d_weight: none", f"<b>$: {level}")
    text += f"exclude: [{{where: {{g_norm: adain, <b>$: '$x^{{\\frac$'}}, why: {json.dumps(SCRIPT + BREAKOUT)}}}]\n"
    (tmp_path / "hostile.yaml").write_text(text)
    design = expand(load(tmp_path / "hostile.yaml"), root=tmp_path / "data", cache=tmp_path / "results" / "cache")
    store = Store(tmp_path / "results")
    words = {"host": SCRIPT, "device": BREAKOUT, "torch": ANSI, "commit": BREAKOUT, "cause": f"{SCRIPT}{ANSI}"}
    for place, run in enumerate(design.runs):
        if place == 0:
            mini.write_failed(store, run, f"{SCRIPT}{ANSI}")
        else:
            mini.write_run(store, run, status="diverged" if place == 1 else "done", **words)
            mini.write_scores(store, run, design)
        (store.run(run.run_id).attempt(1) / "log.txt").write_text(f"{SCRIPT}\n{LINK}\n{ANSI}\n")
    return design, store


def test_a_report_shows_hostile_words_and_obeys_none(hostile, tmp_path):
    design, store = hostile
    page = report.build(design, store, tmp_path / "reports").read_text()
    found = Page(page)
    assert len(found.all("script")) == 1 and "alert(1)" in page
    assert all(attributes.get("src", "data:").startswith("data:") for attributes in found.all("img"))
    for _, attributes in found.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not any(
            "javascript:" in (attributes.get(name) or "") for name in ("href", "src", "action", "xlink:href")
        )
    assert not set(page) & set("\x00\x07\x08\x1b\x9b\u202e")
    assert "default-src 'none'" in page
    drawn = set()
    for drawing in (tmp_path / "reports").rglob("*.svg"):
        drawn.update(element.tag.rpartition("}")[2] for element in ElementTree.parse(drawing).iter())
    assert "path" in drawn and not drawn & {"script", "foreignObject", "a", "image"}


def test_a_status_shows_hostile_words_and_obeys_none(hostile):
    design, store = hostile
    terminal = Terminal(width=200)
    with terminal.capture() as captured:
        terminal.print(overview.status_table(design, store))
    assert SCRIPT in captured.get() and "␛[2Jgone" in captured.get()
    assert not set(captured.get()) & set("\x1b\x07\x08\x9b\r")


# ---------------------------------------------------------------------------------------------------------
# What lies among the results, and in archives.


def command(module, *arguments, cwd):
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=cwd, capture_output=True, text=True)


def test_names_that_leave_the_results_are_refused(tmp_path):
    """A profile's name, and the snapshots that a trained.json lists."""
    inside = tmp_path / "inside"
    inside.mkdir()
    design, store = mini.a_design(inside, seeds=1), Store(inside / "results")
    for run in design.runs:
        mini.write_run(store, run)
    trained = store.run(design.runs[0].run_id).trained
    said = json.loads(trained.read_text())
    trained.write_text(json.dumps({**said, "snapshots": ["../../../../secret"]}))
    path = inside / "miniature.yaml"
    path.write_text(path.read_text() + '  "../../../away": {seeds: 1}\n')
    before = sorted(tmp_path.iterdir())
    for module, *more in (
        ["bench.status"],
        ["bench.report", "--profile", "../../../away"],
    ):
        done = command(module, "miniature.yaml", *more, cwd=inside)
        assert done.returncode == 2 and "results folder" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_setting_sends_no_job_to_another_folder(tiny, tmp_path):
    """Where images lie is said by the orders of whoever launched; what stands in a setting.json is not followed."""
    setting = tiny()
    data = setting.data.model_copy(update={"name": "folder", "folder": "/etc", "fingerprint": "0" * 16})
    edited = setting.model_copy(update={"data": data})
    orders = Orders(data_root=tmp_path, folders={"0" * 16: "/mine"})
    assert orders.placed(edited).data.folder == "/mine"
    assert Orders(data_root=tmp_path).placed(edited).data.folder is None


def test_nothing_behind_a_link_is_deleted(tmp_path):
    precious = tmp_path / "elsewhere" / "attempts" / "1" / "checkpoints" / "precious.pt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    store = Store(tmp_path / "results")
    (store.root / "runs").mkdir(parents=True)
    (store.root / "runs" / "0123456789abcdef").symlink_to(tmp_path / "elsewhere")
    (store.root / "cache").symlink_to(tmp_path / "elsewhere")
    done = command("bench.clean", "checkpoints", "unreferenced", "caches", "--yes", cwd=tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert precious.read_text() == "mine"
    assert "a link" in done.stderr


def test_members_of_a_zip_are_names_and_never_files(tmp_path, monkeypatch):
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    (tmp_path / "a").mkdir()
    place = tmp_path / "a" / "set.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("../../up.png", "/root.png", "in/side.png"):
            archive.writestr(name, picture.getvalue())
        archive.writestr("in/bomb.png", b"\0" * 2**20)
    monkeypatch.setattr(folders, "LARGEST", 2**19)
    found = folders.listing(place)
    read = folders.reader(found)
    assert sum(name.endswith(".png") for name in found.files) == 3  # what starts with a dot is hidden
    with pytest.raises(OSError, match="too large"):
        read(found.files.index("in/bomb.png"))
    assert folders.channels(found) == 3
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "set.zip"]
