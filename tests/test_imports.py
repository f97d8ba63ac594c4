"""The layers of design: who may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bench

ROOT = Path(bench.__file__).parent
COMMANDS = {
    "bench.run",
    "bench.plan",
    "bench.status",
    "bench.report",
    "bench.clean",
    "bench.score",
    "bench.latent",
    "bench.cancel",
    "bench.profile",
}
PLANNING = [
    "plan",
    "power",
    "run",
    "status",
    "clean",
    "cancel",
    "profile",
    "study",
    "design",
    "setting",
    "rules",
    "recipes",
    "store",
    "protocol",
    "launch.start",
    "launch.submission",
]


def module_name(path: Path) -> str:
    parts = ("bench", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(name: str, *, everywhere: bool) -> set[str]:
    """Modules that `name` imports: at its top level, or anywhere in it."""
    path = MODULES[name]
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree)) if everywhere else list(top_level(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            for _ in range(max(0, node.level - 1)):
                package = package.rpartition(".")[0]
            source = node.module or "" if node.level == 0 else f"{package}.{node.module or ''}".rstrip(".")
            for alias in node.names:
                full = f"{source}.{alias.name}"
                found.add(full if full in MODULES else source)
    return found - {name}


def top_level(tree: ast.Module):
    """Imports that run when the module does: not in functions, not under TYPE_CHECKING."""
    queue = list(tree.body)
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        queue.extend(ast.iter_child_nodes(node))


def test_no_cycles():
    graph = {name: imports(name, everywhere=False) & MODULES.keys() for name in MODULES}
    # `from bench import x` in a module of bench runs bench/__init__ first; that imports nothing.
    assert not graph["bench"]
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_nothing_imports_a_command():
    offenders = {name: imports(name, everywhere=True) & COMMANDS for name in MODULES}
    assert {name: found for name, found in offenders.items() if found} == {}


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("submitit", ("bench.launch",)),
        (
            "pandas",
            tuple(
                f"bench.{name}"
                for name in ("table", "traces", "summary", "readings", "effects", "figures", "render", "report")
            ),
        ),
        ("matplotlib", ("bench.figures", "bench.render", "bench.report")),
    ],
)
def test_library_is_imported_only_where_it_belongs(library, allowed):
    users = {name for name in MODULES if any(m.split(".")[0] == library for m in imports(name, everywhere=True))}
    assert {name for name in users if not name.startswith(allowed)} == set()


UNPICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml"}
RUNNING = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pd.read_pickle", "torch.jit.load"}
UNPACKING = {"extractall", "unpack_archive"}
FROM_SUBMITIT = {"_make_sbatch_string", "DelayedSubmission"}
"""What writes; never a Job or an Executor, which read the pickled results of jobs."""
ON_THE_USERS_WORD = {"bench.own_modules", "bench.metrics.features", "bench.metrics.arrays", "bench.fetch"}
"""Who imports a module by a name: the user's own, torchvision, torch."""


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_unpickled_run_or_unpacked(name):
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names}
            source = getattr(node, "module", None) or ""
            assert not {found.split(".")[0] for found in {*names, source}} & UNPICKLING
            if source.split(".")[0] in ("torch", "numpy"):
                assert "load" not in names, "load is told apart by its full name"
            if source.split(".")[0] == "submitit":
                assert names <= FROM_SUBMITIT
            assert "submitit" not in names
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in RUNNING and called.rpartition(".")[2] not in UNPACKING
            assert said.get("shell", "False") == "False" and said.get("allow_pickle", "False") == "False"
            if called == "torch.load":
                assert said.get("weights_only") == "True"
            if called.endswith("import_module"):
                assert name in ON_THE_USERS_WORD
            if called.endswith("YAML"):
                assert said.get("typ") in ("'rt'", "'safe'") and said.get("pure") == "True"
            if called == "torch.hub.load":
                assert name == "bench.metrics.dinov2"


@pytest.mark.parametrize("module", PLANNING)
def test_planning_needs_no_torch(module):
    """A fresh interpreter that imports the module has imported none of the heavy libraries."""
    code = (
        f"import bench.{module}, sys; "
        "print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_files_stay_small():
    long = {name: n for name, path in MODULES.items() if (n := path.read_text().count("\n")) > 400}
    assert long == {}
