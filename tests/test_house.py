"""The house rules of CONTRIBUTING.md, pinned: who may import whom, and what starts fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("registry/**/*.py"), *ROOT.glob("pipelines/**/*.py")])


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module of a file, and whether the import stands at the top of the file."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", id(node) in top
            yield from ((f"{node.module}.{alias.name}", id(node) in top) for alias in node.names)


MODULES = {module_name(path): path for path in FILES}
IMPORTS = {name: set(imports(path)) for name, path in MODULES.items()}


def importers(package: str) -> set[str]:
    return {name for name, found in IMPORTS.items() if any(m == package or m.startswith(package + ".") for m, _ in found)}


def depends_on(name: str) -> set[str]:
    return {module for module, _ in IMPORTS[name] if module in MODULES and module != name}


def test_no_import_cycle_not_even_a_hidden_one() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(depends_on(name)):
                visit(other, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("wandb", ("registry.backend", "pipelines.job")),
        ("click", ("registry.cli", "pipelines.cli", "pipelines.demo", "pipelines.starter")),
        (
            "sqlalchemy",
            (
                "registry.server.store",
                "registry.server.database",
                "registry.server.tables",
                "registry.server.migrations",
                "registry.server.context",
                "registry.server.filters",
            ),
        ),
        ("torch", ("pipelines",)),
        ("onnxruntime", ("pipelines",)),
        ("starlette", ("registry.server",)),
        ("ariadne", ("registry.server",)),
        ("rich", ("registry.cli",)),
        ("subprocess", ("registry.embedded", "registry.provenance", "pipelines")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_library_enters_through_its_door(library: str, allowed: tuple[str, ...]) -> None:
    outside = {name for name in importers(library) if not name.startswith(allowed)}
    assert outside == set()


def test_registry_never_imports_pipelines() -> None:
    assert {name for name in importers("pipelines") if name.startswith("registry")} == set()


def test_the_server_uses_only_the_ground_floor_of_registry() -> None:
    ground = {
        "registry",
        "registry.collector",
        "registry.coordinates",
        "registry.errors",
        "registry.references",
        "registry.settings",
        "registry.__version__",
    }
    for name in MODULES:
        if name.startswith("registry.server"):
            used = {m for m, _ in IMPORTS[name] if m.startswith("registry") and not m.startswith("registry.server")}
            used = {m for m in used if m in MODULES or m.rpartition(".")[0] not in MODULES}
            assert used - ground == set(), name


def test_nothing_but_the_cli_and_its_server_command_imports_the_server() -> None:
    """`serve` runs it; `gc` and `fsck` work on the home's files, which no server must be kept busy with."""
    outside = {n for n in importers("registry.server") if not n.startswith("registry.server")}
    assert outside <= {"registry.cli.serve", "registry.cli.gc", "registry.cli.fsck"}


PURE = ("registry.errors", "registry.references", "registry.records", "registry.policy", "registry.stats")
PURE += (
    "registry.gates",
    "registry.lineage",
    "registry.verdicts",
    "registry.checks",
    "registry.pairing",
    "registry.objections",
    "registry.scores",
    "registry.yaml_lines",
)
PURE += ("registry.means", "registry.corpus", "registry.resampling", "registry.matching", "registry.expressions")
PURE += ("registry.replicates", "registry.spreads")
PURE += ("registry.explanation", "registry.github", "registry.sweeps", "registry.coordinates")
PURE += tuple(name for name in MODULES if name.startswith(("registry.judging", "registry.verdicts")))


@pytest.mark.parametrize("name", PURE)
def test_the_heart_is_pure(name: str) -> None:
    foreign = {m.split(".")[0] for m, _ in IMPORTS[name]}
    assert foreign & {"os", "pathlib", "io", "socket", "subprocess", "time", "requests", "wandb", "pyarrow"} == set()
    calls = {
        n.func.id
        for n in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert calls & {"open", "print", "input"} == set()


def test_one_place_prints() -> None:
    for name, path in MODULES.items():
        if name in ("registry.cli.output", "registry.server.__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"), name


def test_every_module_says_why_it_exists() -> None:
    silent = [
        name
        for name, path in MODULES.items()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_file_is_named_after_nothing() -> None:
    names = {path.stem for path in FILES}
    assert names & {"utils", "util", "helpers", "common", "misc"} == set()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom registry.cli import run\n"
        "assert run(['--help']) == 0\n"
        "heavy = {'wandb', 'torch', 'onnxruntime', 'sqlalchemy', 'numpy', 'pydantic', 'rich', 'starlette'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
