"""What Python and JavaScript both compute, they compute alike: addresses, visible text, numbers for people."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from generator.publish.addresses import path_of
from generator.publish.numbers import count, percent, three_digits
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

NUMBERS = [
    0.0,
    -0.0,
    1.125,
    1.375,
    2.5,
    -0.0625,
    0.001,
    0.00099949,
    0.0009995,
    99.95,
    999.5,
    999500.0,
    999499.0,
    1e6,
    1e300,
    5e-324,
]
NUMBERS += [
    sign * (i / 64) * 10.0**power for i in range(1, 200, 7) for power in range(-7, 9) for sign in (1, -1)
]
COUNTS = [0, 7, 999, 1000, 98412, 1234567, 10**12]

PROGRAM = """
import {{ number, percent, count }} from {numbers}
import {{ pathOf }} from {shards}
import {{ visible }} from {tokens}
let input = ""
for await (const part of process.stdin) input += part
const {{ ids, texts, values, counts }} = JSON.parse(input)
const made = {{ ids: ids.map(pathOf), texts: texts.map(visible), counts: counts.map(count) }}
const written = {{ values: values.map((x) => number(x)), shares: values.map(percent) }}
process.stdout.write(JSON.stringify({{ ...made, ...written }}))
"""


@pytest.fixture(scope="module")
def browser() -> dict[str, list[str]]:
    """What the browser's functions make of the same inputs."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    modules = {
        name: json.dumps((ASSETS / file).as_uri())
        for name, file in {
            "shards": "shards.mjs",
            "tokens": "heatmap/tokens.mjs",
            "numbers": "numbers.mjs",
        }.items()
    }
    done = subprocess.run(
        [node, "--input-type=module", "-e", PROGRAM.format(**modules)],
        input=json.dumps({"ids": IDS, "texts": TEXTS, "values": NUMBERS, "counts": COUNTS}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_an_id_has_one_address(browser: dict[str, list[str]]) -> None:
    assert dict(zip(IDS, browser["ids"])) == {identifier: path_of(identifier) for identifier in IDS}


def test_a_token_is_shown_alike_before_and_after_the_shard_has_come(browser: dict[str, list[str]]) -> None:
    assert dict(zip(TEXTS, browser["texts"])) == {text: visible(text) for text in TEXTS}


def test_a_number_is_written_alike(browser: dict[str, list[str]]) -> None:
    assert list(zip(NUMBERS, browser["values"])) == [(x, three_digits(x)) for x in NUMBERS]
    assert list(zip(NUMBERS, browser["shares"])) == [(x, percent(x)) for x in NUMBERS]
    assert browser["counts"] == [count(n) for n in COUNTS]
