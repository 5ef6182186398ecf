"""Documentation that fails when it lies: what exists is named, and what the guide links to is there."""

import re
from pathlib import Path

import click
import pytest
import yaml

from generator.__main__ import main
from generator.pipeline import STAGES

ROOT = Path(__file__).parents[1]
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_is_named(stage):
    assert f"`{stage.name}`" in COMMANDS
    assert f"`build/{stage.folder}/`" in COMMANDS


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_and_option_is_named(name: str):
    assert f"## `{name}`" in COMMANDS
    section = COMMANDS.split(f"## `{name}`")[1].split("\n## ")[0]
    for parameter in main.commands[name].params:
        if isinstance(parameter, click.Option):
            assert any(f"`{option}" in section for option in parameter.opts), parameter.name


def test_every_guide_page_is_in_the_navigation_and_exists():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/-]+\.md", yaml.safe_dump(yaml.safe_load(text)["nav"])))
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    written = {p for p in pages if not p.startswith(("atlas/", "notes/"))}
    assert written <= named
    assert {p for p in named if not p.startswith("atlas/")} <= written


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target
