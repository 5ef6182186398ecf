"""The bundle of a real, small analysis: tables equal what was measured, files open, two processes give the same bytes."""

import csv
import hashlib
import io
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from generator.artifacts import Writer, read_json
from generator.config import load_run
from generator.errors import FeaturebookError
from generator.pipeline import Folders, build
from generator.progress import Silent
from generator.publish import publish
from generator.publish.exchange.bundle import PARTS, export_bundle
from generator.publish.exchange.bundle.csvs import cell
from tests.toy import toy_config, toy_run

DEMO = Path(sys.modules["generator"].__file__).parent / "demo"
HOSTILE = '=1+1 $x$ #eval("1") <script>alert(1)</script>'


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """A build folder: the toy's shards, and an analysis of the demo's model made by the stage."""
    folder = tmp_path_factory.mktemp("bundle")
    run = folder / "run.toml"
    run.write_text(
        f"""
[model]
base = "{DEMO / "base"}"
adapter = "{DEMO / "adapter"}"
device = "cpu"
[corpus]
source = "{DEMO / "corpus.jsonl"}"
name = "id"
max_documents = 2
[analyze]
prompts = [{HOSTILE!r}]
documents = 0
text_tokens = 16
attention_tokens = 16
nodes = 4
max_nodes = 4
continuation_tokens = 3
sample_tokens = 64
repeat_length = 8
ablation_documents = 1
divergence_documents = 2
"""
    )
    build(load_run(run), Folders(folder / "build"), only=["corpus", "analyze"])
    shutil.copytree(shards, folder / "build" / "shards")
    return folder / "build"


def command(folder: Path, out: Path) -> list[str]:
    """The command line that writes the bundle."""
    return [
        sys.executable, "-m", "generator", "export", "--to", "bundle", "--out", str(out), "--build-dir", str(folder),
    ]  # fmt: skip


def exported(folder: Path, out: Path) -> bytes:
    """The bundle as the command line writes it, in a process of its own."""
    done = subprocess.run(command(folder, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


def test_an_export_that_is_terminated_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    stopped = subprocess.Popen(command(folder, tmp_path / "out.zip"), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()):
        assert stopped.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    stopped.terminate()
    _, said = stopped.communicate(timeout=60)
    assert (stopped.returncode, list(tmp_path.iterdir())) == (143, []), said
    assert "Interrupted." in said


@pytest.fixture(scope="session")
def bundle(folder: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(exported(folder, folder.parent / "first.zip")))


def table(bundle: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    text = bundle.read(f"tables/{name}.csv").decode("utf-8")
    assert text.count("\r\n") and not re.search(r"(?<!\r)\n", re.sub(r'"[^"]*"', "", text))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_second_process_gives_the_same_bytes(folder: Path, bundle: zipfile.ZipFile):
    again = exported(folder, folder.parent / "second.zip")
    assert (
        hashlib.sha256(again).digest() == hashlib.sha256((folder.parent / "first.zip").read_bytes()).digest()
    )
    entries = bundle.infolist()
    assert [e.filename for e in entries] == sorted(e.filename for e in entries)
    assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_the_readme_names_every_file(bundle: zipfile.ZipFile):
    readme = bundle.read("README.md").decode()
    for name in bundle.namelist():
        assert name == "README.md" or f"`{name}`" in readme


def test_curves_and_scores_stand_in_the_tables_with_all_digits(folder: Path, bundle: zipfile.ZipFile):
    expected = set()
    for entry in read_json(folder / "analysis" / "main" / "layers.json")["variants"]:
        for curve in entry["curves"]:
            for layer, value in enumerate(curve["values"]):
                method = curve["method"]
                where = (entry["variant"], curve["metric"], method["point"], method["positions"], str(layer))
                expected.add((*where, value["value"], value["n"]))
    rows = [row for row in table(bundle, "layers") if row["of"] == "corpus"]
    columns = ("variant", "metric", "method.point", "method.positions", "layer")
    found = {
        (*(row[c] for c in columns), float(row["value"]) if row["value"] else None, int(row["n"]))
        for row in rows
    }
    assert found == expected
    assert all(row["undefined"].startswith("undefined") for row in rows if not row["value"])
    scores = read_json(folder / "analysis" / "main" / "heads.json")["variants"][1]["scores"]
    induction = next(
        s for s in scores if s["metric"] == "induction" and s["method"]["position_0"] == "included"
    )
    where = {
        "variant": "adapted",
        "metric": "induction",
        "method.position_0": "included",
        "layer": "3",
        "head": "1",
    }
    (row,) = [row for row in table(bundle, "heads") if where.items() <= row.items()]
    assert float(row["value"]) == induction["values"][3][1]["value"]
    assert row["method.source"].startswith("Olsson et al. 2022")


def test_parts_of_the_logit_add_up_and_the_last_layer_of_the_lens_is_the_model(bundle: zipfile.ZipFile):
    parts = [row for row in table(bundle, "logit-parts") if row["variant"] == "adapted"]
    by_name = {row["part"]: float(row["value"]) for row in parts if row["part"] in ("logit", "gap")}
    total = sum(float(row["value"]) for row in parts if row["part"] not in by_name)
    assert total == pytest.approx(by_name["logit"], abs=1e-3)
    lens = [row for row in table(bundle, "lens") if row["layer"] == "6"]
    assert max(abs(float(row["divergence"])) for row in lens) < 1e-4
    first = [row for row in table(bundle, "predictions") if row["rank"] == "1" and row["variant"] == "base"]
    ends = [row for row in lens if row["rank"] == "1" and row["variant"] == "base"]
    assert [row["predicted"] for row in first] == [row["predicted"] for row in ends]


def test_channels_are_those_of_the_site(folder: Path, bundle: zipfile.ZipFile):
    rows = table(bundle, "channels")
    ids = read_json(folder / "shards" / "explorer" / "columns" / "id.json")["values"]
    assert {row["id"] for row in rows} == set(ids)
    assert len(rows) == len(ids)
    for row in rows[:3]:
        shard = read_json(folder / "shards" / f"{row['id']}.json")
        for name in ("mean", "max", "density"):
            assert cell(shard["stats"][name]) == row[name]


def test_no_text_of_a_corpus_is_a_formula(bundle: zipfile.ZipFile):
    (prompt,) = table(bundle, "texts")
    assert prompt["content"] == f"'{HOSTILE}"
    for name in bundle.namelist():
        if name.endswith(".csv"):
            for row in csv.DictReader(io.StringIO(bundle.read(name).decode(), newline="")):
                for text in row.values():
                    assert not text.startswith(("=", "+", "@", "\t", "\r")), (name, text)
                    assert not text.startswith("-") or re.fullmatch(r"-[\d.]+(e-?\d+)?", text), (name, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1.5, "-1.5"), (0.1, "0.1"), (True, "1"), (None, ""), ("-1", "'-1"), ("@x", "'@x"), ("\t=1", "'\t=1"),
     ("＝1", "'＝1"), ("a=1", "a=1"), ("\x00a", "\\x00a"), ("\ud800", "�"), ({"b": 1, "a": [2]}, '{"a":[2],"b":1}')],
)  # fmt: skip
def test_cells(value: object, text: str):
    assert cell(value) == text


def test_figures_open_and_run_nothing(bundle: zipfile.ZipFile):
    names = [name for name in bundle.namelist() if name.startswith("figures/")]
    assert {name[:-4] for name in names if name.endswith(".png")} == {
        name[:-4] for name in names if name.endswith(".svg")
    }
    for wanted in ("layers/effective_rank", "layers/cka-residual", "layers/correlations", "layers/normalised", "heads/induction",
                   "heads/map-adapted", "ablation/divergence", "ablation/directions", "divergence"):  # fmt: skip
        assert f"figures/main/{wanted}.svg" in names
    for wanted in (
        "attention-mean",
        "rollout",
        "attention-entropy",
        "lens-adapted",
        "attribution",
        "logit-parts",
    ):
        assert any(name.endswith(f"/{wanted}.png") for name in names)
    for name in names:
        content = bundle.read(name)
        if name.endswith(".png"):
            picture = Image.open(io.BytesIO(content))
            picture.load()
            assert picture.width > 500 and not {"Software", "Creation Time"} & picture.info.keys()
            assert len(np.unique(np.asarray(picture.convert("L")))) > 8, name
        else:
            root = ElementTree.fromstring(content)
            tags = {element.tag.split("}")[1] for element in root.iter()}
            assert not tags & {"script", "foreignObject", "a", "iframe", "date"}, name
            links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
            assert all(link.startswith(("#", "data:image/png")) for link in links)


def test_the_animation_has_a_frame_per_layer(bundle: zipfile.ZipFile):
    names = [name for name in bundle.namelist() if name.startswith("animation/")]
    assert {name.rsplit(".")[-1] for name in names} == {"apng", "gif"}
    for name in names:
        picture = Image.open(io.BytesIO(bundle.read(name)))
        frames = []
        for index in range(picture.n_frames):
            picture.seek(index)
            frames.append(picture.convert("RGB").tobytes())
        assert len(frames) == 6 and len(set(frames)) == 6, name


def test_weights_are_the_measured_ones(folder: Path, bundle: zipfile.ZipFile):
    (name,) = [name for name in bundle.namelist() if name.startswith("attention/")]
    with np.load(io.BytesIO(bundle.read(name))) as weights:
        assert weights["adapted"].shape[:2] == (6, 4) and weights["adapted"].dtype == np.float16
        assert np.allclose(weights["adapted"].sum(-1), 1, atol=0.01)
    (text,) = (folder / "analysis" / "main" / "texts").glob("*/attention.npz")
    assert bundle.read(name) == text.read_bytes()


def test_the_report_is_a_pdf_without_a_date(bundle: zipfile.ZipFile):
    content = bundle.read("report.pdf")
    assert content.startswith(b"%PDF-1.") and content.rstrip().endswith(b"%%EOF")
    assert b"CreationDate" not in content and b"ModDate" not in content and b"/StructTreeRoot" in content
    assert b"/JavaScript" not in content
    n_charts = sum(name.endswith(".svg") for name in bundle.namelist())
    assert 5 < len(re.findall(rb"/Type\s*/Page\b", content)) <= n_charts + 12


def test_the_provenance_page_names_the_hash_of_every_file(bundle: zipfile.ZipFile):
    page = bundle.read("provenance.html").decode()
    assert "<script" not in page and "src=" not in page and "default-src 'none'" in page
    for name in bundle.namelist():
        if name not in ("provenance.html", "README.md"):
            assert f"{name}</th><td><code>{hashlib.sha256(bundle.read(name)).hexdigest()}" in page
    assert page.count("<h2>") == 9


def test_without_libraries_the_rest_is_made_and_the_bundle_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("generator.publish.exchange.bundle.assemble.find_spec", lambda name: None)
    facts = export_bundle(folder, tmp_path / "b.zip")
    assert len(facts["notes"]) == 3 and all("featurebook[export]" in note for note in facts["notes"])
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {
            "README.md",
            "attention",
            "provenance.html",
            "tables",
        }
        assert "typst is not installed" in archive.read("README.md").decode()
    with pytest.raises(
        FeaturebookError, match=r"matplotlib and typst is not installed.*featurebook\[export\]"
    ):
        export_bundle(folder, tmp_path / "c.zip", parts=["report"])
    assert not (tmp_path / "c.zip").exists()


def test_a_run_without_analysis_has_tables_of_channels(shards: Path, tmp_path: Path):
    facts = export_bundle(shards.parent, tmp_path / "b.zip", collection="sae")
    assert len(facts["notes"]) == len(PARTS) - 2
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        rows = table(archive, "channels")
        assert rows and {row["collection"] for row in rows} == {"sae"}
    with pytest.raises(FeaturebookError, match="no analysis"):
        export_bundle(shards.parent, tmp_path / "c.zip", parts=["figures"])
    with pytest.raises(FeaturebookError, match=r"no part 'table'.*tables"):
        export_bundle(shards.parent, tmp_path / "c.zip", parts=["table"])
    with pytest.raises(FeaturebookError, match="no collection 'sea'"):
        export_bundle(shards.parent, tmp_path / "c.zip", collection="sea")


def test_the_index_of_layers_links_to_it_where_the_site_offers_it(tmp_path: Path):
    corpus, summary = toy_run()
    pages = []
    for parts in ([], ["tables"]):
        config = toy_config()
        config = config.model_copy(update={"publish": config.publish.model_copy(update={"bundle": parts})})
        docs = Writer(tmp_path / f"docs{len(parts)}")
        publish(config, corpus, summary, Writer(tmp_path / "shards"), docs, tmp_path / "notes", Silent())
        pages.append((docs.root / "atlas" / "layers.md").read_text())
    assert ["shards/bundle.zip" in page for page in pages] == [False, True]
