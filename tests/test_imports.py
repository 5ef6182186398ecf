"""The one-way rule of imports, and that publishing needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "generator"
FORBIDDEN = {
    "measure": {"summarize", "publish", "pipeline", "__main__"},
    "summarize": {"measure", "publish", "pipeline", "__main__"},
    "publish": {"measure", "summarize", "pipeline", "__main__"},
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
