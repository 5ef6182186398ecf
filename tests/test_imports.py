"""The one-way rule of imports, and that publishing needs no torch."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "generator"
FORBIDDEN = {
    "measure": {"summarize", "publish", "stages", "pipeline", "__main__"},
    "summarize": {"measure", "publish", "stages", "pipeline", "__main__"},
    "publish": {"measure", "summarize", "stages", "pipeline", "__main__"},
    "stages": {"pipeline", "__main__"},
}
SPINE = {"errors", "artifacts", "config", "blocks", "summaries", "progress"}


def imported(path: Path) -> set[str]:
    """First parts of everything that a file imports from this package: {"blocks", "measure"}."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("generator"):
            parts = node.module.split(".")[1:]
            found |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("generator.")}
    return found


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_parts_meet_on_disk_only(part: str):
    for path in (PACKAGE / part).rglob("*.py"):
        assert not imported(path) & FORBIDDEN[part], path


def test_nothing_imports_the_demo():
    """The recipe stands above the pipeline: it trains the demo's dictionary by the stages of a run."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent != PACKAGE / "demo":
            assert "demo" not in imported(path), path


def test_the_spine_imports_nothing_above_it():
    for name in SPINE:
        assert imported(PACKAGE / f"{name}.py") <= SPINE


@pytest.mark.parametrize(
    "module", ["generator.__main__", "generator.pipeline", "generator.summarize", "generator.publish"]
)
def test_neither_the_command_line_nor_summarize_nor_publish_needs_torch(module: str):
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft', 'accelerate', 'datasets'): sys.modules[name] = None\n"
        f"import {module}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def third_party(paths: list[Path]) -> set[str]:
    """Distributions that files import at any level: {"numpy", "pillow"}."""
    owners = packages_distributions()
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {owners[n.split(".")[0]][0].lower() for n in names if n.split(".")[0] in owners}
    return found - {"featurebook"}


def names_of(requirements: list[str]) -> set[str]:
    """Names without versions: {"numpy"}."""
    return {re.split(r"[<>=\[; ]", line)[0].lower() for line in requirements if line and line[0] != "#"}


def test_every_import_is_a_declared_dependency():
    """A library that only comes along with another one is missing on the day the other one drops it."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    everything = names_of(project["dependencies"] + extras["export"] + extras["nnsight"])
    # torch's, transformers' and pydantic's own foundations cannot be absent where those are
    come_along = {"huggingface_hub", "tokenizers", "pyarrow", "pydantic_core"}
    assert third_party(list(PACKAGE.rglob("*.py"))) <= everything | come_along

    bundle = PACKAGE / "publish" / "exchange" / "bundle"
    rest = [p for part in ("summarize", "publish") for p in (PACKAGE / part).rglob("*.py")]
    rest += PACKAGE.glob("*.py")
    needed = third_party([path for path in rest if bundle not in path.parents])
    assert (
        needed
        <= names_of((PACKAGE.parent / "requirements-publish.txt").read_text().splitlines()) | come_along
    )
    assert "pillow" in needed and "torch" not in needed
