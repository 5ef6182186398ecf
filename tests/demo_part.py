"""The demo's own run over a part of its text, without what crosscoders do not need: for tests of their pages.

python -m tests.demo_part ROOT     writes ROOT/build and ROOT/docs/atlas
"""

import sys
from pathlib import Path

import generator
from generator.config import RunConfig, load_run
from generator.pipeline import Folders, build

DOCUMENTS = 60
CROSSCODERS = ("crosslayer", "modeldiff")


def part_of_demo() -> RunConfig:
    """The run file, with fewer documents, the two crosscoders alone, and neither analysis nor bundle."""
    config = load_run(Path(generator.__file__).parent / "runs" / "demo.toml")
    assert config.effects is not None
    changes = {
        "corpus": config.corpus.model_copy(update={"max_documents": DOCUMENTS}),
        "collections": [table for table in config.collections if table.name in CROSSCODERS],
        "effects": config.effects.model_copy(update={"attribution": 1, "latents": 4, "examples": 2}),
        "analyze": None,
        "publish": config.publish.model_copy(update={"bundle": []}),
    }
    return config.model_copy(update=changes)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    build(part_of_demo(), Folders(root / "build", root / "docs", root / "labels"))
