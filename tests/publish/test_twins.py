"""What Python and JavaScript both compute, they compute alike: addresses, and visible text."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from generator.publish.addresses import path_of
from generator.publish.visible import visible
from tests.publish.test_addresses import HOSTILE as HOSTILE_NAMES
from tests.toy import FAMILY, HOSTILE

ASSETS = Path(__file__).parents[2] / "site_assets" / "assets"

IDS = ["lora/L12/gate_proj", "lora/L0/attn.c_proj/r3", "lora/model.embed_tokens", "sae-16x/1234"]
IDS += [f"lora/{name}" for name in HOSTILE_NAMES if "\ud800" not in name]

TEXTS = [
    *HOSTILE,
    *(chr(code) for code in [*range(0xC0), *range(0x2000, 0x2070), 0x600, 0xFEFF, 0xFFF9, 0xE0041]),
]
TEXTS += [
    " wait",
    "wait ",
    "",
    "  ",
    "\r\n",
    "\t\t",
    FAMILY.decode(),
    "❤\ufe0f\u200d🔥",
    "👩🏽\u200d🚀",
    "a\u200db",
    "\u200d",
    "你好 مرحبا é\u0301",
]

PROGRAM = """
import {{ pathOf }} from {shards}
import {{ visible }} from {tokens}
let input = ""
for await (const part of process.stdin) input += part
const {{ ids, texts }} = JSON.parse(input)
process.stdout.write(JSON.stringify({{ ids: ids.map(pathOf), texts: texts.map(visible) }}))
"""


@pytest.fixture(scope="module")
def browser() -> dict[str, list[str]]:
    """What the browser's functions make of the same inputs."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    modules = {
        "shards": json.dumps((ASSETS / "shards.mjs").as_uri()),
        "tokens": json.dumps((ASSETS / "heatmap" / "tokens.mjs").as_uri()),
    }
    done = subprocess.run(
        [node, "--input-type=module", "-e", PROGRAM.format(**modules)],
        input=json.dumps({"ids": IDS, "texts": TEXTS}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_an_id_has_one_address(browser: dict[str, list[str]]) -> None:
    assert dict(zip(IDS, browser["ids"])) == {identifier: path_of(identifier) for identifier in IDS}


def test_a_token_is_shown_alike_before_and_after_the_shard_has_come(browser: dict[str, list[str]]) -> None:
    assert dict(zip(TEXTS, browser["texts"])) == {text: visible(text) for text in TEXTS}
