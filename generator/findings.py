"""Findings: what only the model can say of a channel beyond its summary, one file per panel of a channel page.

The summary is arithmetic over activations and needs no model; the effect of a direction on the logits, on the loss
or the attribution of its activation to input tokens needs one. Such a stage writes a JSON value per channel; publishing reads
them where torch is not installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from generator.artifacts import to_json
from generator.blocks import (
    new_hdf5,
    open_hdf5,
    read_byte_strings,
    read_strings,
    write_byte_strings,
    write_strings,
)


@dataclass(frozen=True)
class Findings:
    """What one file holds."""

    panel: str
    """The panel that shows them, for instance ``logits``."""
    facts: dict[str, Any]
    """What holds for all of them: method, units, versions, sizes."""
    values: dict[str, bytes]  # "lora/L2/down_proj" -> b'{"top": [[17, 0.25], …], …}'
    """JSON of each channel, parsed when asked for: a large dictionary's values need not be objects all at once."""

    def of(self, channel_id: str) -> Any:
        """The value of a channel, or None when there is none."""
        found = self.values.get(channel_id)
        return None if found is None else orjson.loads(found)


def save_findings(path: Path, panel: str, values: Mapping[str, Any], facts: dict[str, Any]) -> None:
    """Writes the findings of one panel atomically; same values, same bytes.

    Args:
        path: The file.
        panel: Name of the panel.
        values: Channel id -> anything JSON can hold. Tokens stand as ids of the corpus's vocabulary.
        facts: What holds for all.
    """
    ids = sorted(values)
    with new_hdf5(path, kind="findings") as file:
        file.attrs["panel"] = panel
        file.attrs["facts"] = np.void(to_json(facts))
        write_strings(file, "ids", ids)
        write_byte_strings(file, "values", [to_json(values[i]) for i in ids])


def load_findings(path: Path) -> Findings:
    """Reads what ``save_findings`` wrote.

    Raises:
        FeaturebookError: missing, damaged or of another schema.
    """
    with open_hdf5(path, kind="findings", remedy="python -m generator build --only effects,analyze") as file:
        return Findings(
            panel=str(file.attrs["panel"]),
            facts=orjson.loads(file.attrs["facts"].tobytes()),
            values=dict(zip(read_strings(file, "ids"), read_byte_strings(file, "values"))),
        )


def join_findings(parts: list[Findings]) -> dict[str, Findings]:
    """Panel -> the findings of all files for it; facts of later files win where they name the same."""
    joined: dict[str, Findings] = {}
    for part in parts:
        before = joined.get(part.panel, Findings(part.panel, {}, {}))
        joined[part.panel] = Findings(part.panel, before.facts | part.facts, before.values | part.values)
    return joined
