"""Stage ``bundle``: the analysis with all its figures as one archive that the site offers."""

from pathlib import Path
from typing import Any

from generator.artifacts import Artifact, path_key
from generator.config import RunConfig
from generator.progress import Progress
from generator.stages.stage import Folders


def is_wanted(config: RunConfig) -> bool:
    return bool(config.publish.bundle)


def depends_on(config: RunConfig, folders: Folders) -> Any:
    code = path_key(str(Path(__file__).parents[1] / "publish" / "exchange" / "bundle" / "*"))
    return [config.publish.bundle, code]


def run(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.publish.exchange.bundle import export_bundle

    path = bundle_path(folders)
    facts = export_bundle(folders.build, path, parts=config.publish.bundle, progress=progress)
    return {name: facts[name] for name in ("n_files", "n_bytes")}


def bundle_path(folders: Folders) -> Path:
    """Beside the shards, so that it is served with them."""
    return folders.build / "shards" / "bundle.zip"


def is_whole(folders: Folders, manifest: dict[str, Any]) -> bool:
    """Whether the archive is where it was written."""
    return bundle_path(folders).exists()
