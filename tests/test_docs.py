"""The docs point to what exists, and say what is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import rulebook
from bench.recipes import RECIPES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    for name in re.findall(r"`((?:bench|tests|docs|ablations)/[\w./-]+\.\w+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_tests_that_are_named_exist():
    """Those of docs/reliability.md: what it says was tried has a test."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 40
    assert {name for name in named if f"def {name}(" not in sources} == set()


def test_every_module_stands_in_the_house():
    text = (ROOT / "docs" / "design.md").read_text()
    named = set(re.findall(r"`(\w+)(?:/)?`", text))
    modules = {path.stem for path in (ROOT / "bench").glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")}
    assert (modules | folders) - named == set()


def test_systems_page_has_the_rules_marks_and_every_recipe():
    page = (ROOT / "docs" / "systems.md").read_text()
    between = re.search(r"<!-- made by .*? -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert between and between[1] == rulebook.crossed(), "paste what bench.rulebook.crossed() makes"
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) >= RECIPES.keys()


def test_examples_of_extending_run_as_they_stand(tmp_path):
    """The page's norm, loss and network, put into one file beside a study, train to a report."""
    page = (ROOT / "docs" / "extending.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert all(len(block.splitlines()) < 40 for block in blocks)
    (tmp_path / "mylab.py").write_text("\n\n".join(blocks))
    (tmp_path / "own.yaml").write_text(
        "study: own\nrecipe: dcgan\ndata: {name: faces, size: 16}\ng_width: 4\nd_width: 4\nz_dim: 8\n"
        "train: {batch: 4, g_steps: 2, snapshots_g_steps: [2]}\nseeds: 1\nmetrics: [swd]\nevaluate: {fakes: 64}\n"
        'rows:\n  norm: {g_norm: "mylab:RMSNorm", d_norm: "mylab:RMSNorm"}\n'
        '  loss: {loss: "mylab:SoftHinge", d_weight: spectral}\n  network: {network: "mylab:Small"}\n'
    )
    command = [sys.executable, "-m", "bench.run", "own.yaml", "--executor", "inline"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0 and "3 runs: 3 done" in shown.stdout, shown.stdout + shown.stderr
