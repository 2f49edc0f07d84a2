"""Imports go downwards only, and the folder of a dataset never imports another's."""

import ast
import sys
from pathlib import Path

import pytest

from irtd_datasets.catalog import DATASETS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "irtd_datasets"

# Lowest first: packages, and modules that stand alone at the top. What stands in one line is independent of each other.
LAYERS = (
    ("errors", "lazy", "version"),
    ("arrow", "display", "documents", "spec"),
    ("appended",),
    ("remote",),
    ("annotations", "boxes", "releases"),
    ("images", "schema"),
    ("captioning", "rows", "sources"),
    ("folder",),
    DATASETS,
    ("catalog",),
    ("builder",),
    ("testing", "writing"),
    ("training",),
    ("fetching", "hub"),
    ("curation", "evaluate"),
    ("construct", "review"),
    ("report",),
    ("demo", "scaffold"),
    ("cli",),
    ("__main__", ""),
)


def module_name(path):
    """The module's name below the package; empty for the package itself."""
    return (
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")
    )


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def unit_of(module):
    """The package or top-level module that a module belongs to; a package is one thing, whatever is in it."""
    return module.partition(".")[0]


def layer_of(unit):
    return next(height for height, layer in enumerate(LAYERS) if unit in layer)


def imports_of(path):
    """Modules of the package that a file imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, inner = name.partition(".")
            if top == "irtd_datasets":
                # `from a.b import c` names a module when there is one of that name, else something in a.b.
                yield (inner if inner in MODULES else inner.rpartition(".")[0]), node.lineno


def test_every_module_has_a_layer():
    """A new module or package is given its place in the order of imports."""
    entries = [entry for layer in LAYERS for entry in layer]
    homeless = {unit_of(module) for module in MODULES} - set(entries)
    assert not homeless, f"give {homeless} a place in LAYERS of {Path(__file__).name}"
    assert not set(entries) - {unit_of(module) for module in MODULES}, "entries of LAYERS without a module"
    assert len(entries) == len(set(entries))


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module):
    """A module imports what stands lower only, or what is in its own package; the same while types are checked."""
    unit = unit_of(module)
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports irtd_datasets.{target}"
        for target, line in imports_of(MODULES[module])
        if unit_of(target) != unit and layer_of(unit_of(target)) >= layer_of(unit)
    ]
    assert not wrong


def test_relative_imports_are_not_used():
    """Every import names its module in full, so that the order of imports can be read from it."""
    relative = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


@pytest.mark.parametrize("module", [m for m in MODULES if m.split(".")[0] in DATASETS and ".tasks" in m])
def test_parsers_have_no_file_access(module):
    """What makes an example of a parsed record can be tested without any file."""
    reaching_out = {"io", "os", "pathlib", "shutil", "tempfile", "urllib", "zipfile", "tarfile"}
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in names if name.split(".")[0] in reaching_out}
    assert not {name for name in names if name.startswith(("irtd_datasets.releases", "irtd_datasets.images"))}
    assert "open" not in {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def test_third_party_imports_are_declared():
    """Whatever the package imports comes with Python or stands in pyproject.toml."""
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8").lower()
    distributions = {"PIL": "pillow", "yaml": "pyyaml", "rich": "typer"}  # rich comes with typer
    undeclared = set()
    for path in MODULES.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if node in for_types:
                continue
            if isinstance(node, ast.Import):
                tops = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                tops = {str(node.module).partition(".")[0]}
            else:
                continue
            for top in tops - set(sys.stdlib_module_names) - {"irtd_datasets"}:
                if f'"{distributions.get(top, top).lower()}' not in declared:
                    undeclared.add(f"{path.relative_to(ROOT)}:{node.lineno} {top}")
    assert not undeclared
