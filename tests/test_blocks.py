import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from generator.blocks import (
    SCHEMA,
    Activations,
    Channel,
    Corpus,
    Directions,
    block_bounds,
    new_hdf5,
    open_hdf5,
    read_byte_strings,
    write_byte_strings,
)
from generator.errors import FeaturebookError


def corpus_of(lengths: list[int]) -> Corpus:
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    n = int(offsets[-1])
    return Corpus(
        token_ids=np.arange(n, dtype=np.int32) % 5,
        doc_offsets=offsets,
        is_measured=np.arange(n) % 3 > 0,
        pieces=np.array([[a, a, b] for a, b in zip(offsets[:-1], offsets[1:]) if b > a], np.int64).reshape(
            -1, 3
        ),
        token_bytes=[b" a", b"\x00", b"\xf0\x9f", b"", b"</script>"],
        is_special=np.array([False, False, False, True, False]),
        doc_names=[f"doc {i}" for i in range(len(lengths))],
        doc_metadata=[{"kind": "x", "n": i} for i in range(len(lengths))],
        tokenizer={"name": "toy"},
    )


def test_a_corpus_survives_the_disk(tmp_path: Path):
    corpus = corpus_of([3, 0, 4])
    corpus.save(tmp_path / "corpus.h5")
    read = Corpus.load(tmp_path / "corpus.h5")
    for name in ("token_ids", "doc_offsets", "is_measured", "pieces", "is_special"):
        np.testing.assert_array_equal(getattr(read, name), getattr(corpus, name))
    assert read.token_bytes == corpus.token_bytes
    assert (read.doc_names, read.doc_metadata, read.tokenizer) == (
        corpus.doc_names,
        corpus.doc_metadata,
        corpus.tokenizer,
    )
    with h5py.File(tmp_path / "corpus.h5") as file:
        assert file["token_ids"].dims[0].label == "token"


def test_positions_and_documents_of_tokens():
    corpus = corpus_of([3, 0, 2])
    assert corpus.doc.tolist() == [0, 0, 0, 2, 2]
    assert corpus.position.tolist() == [0, 1, 2, 0, 1]
    assert corpus.tokens_of(1) == slice(3, 3)


@pytest.mark.parametrize("lengths", [[5, 5, 5], [0, 0, 7, 0, 1], [100, 1, 0, 1], [1] * 50, [0], [0, 3, 0]])
@pytest.mark.parametrize("size", [1, 4, 10, 1000])
def test_chunks_and_blocks_tile_the_corpus_at_document_boundaries(lengths: list[int], size: int):
    corpus = corpus_of(lengths)
    chunks = corpus.chunks(size)
    tokens = [i for chunk in chunks for i in range(chunk.start, chunk.stop)]
    assert tokens == list(range(corpus.n_tokens))
    for chunk in chunks:
        bounds = list(block_bounds(corpus, chunk, 4))
        assert [i for a, b in bounds for i in range(a, b)] == list(range(chunk.start, chunk.stop))
        assert all(a in corpus.doc_offsets and b in corpus.doc_offsets and b > a for a, b in bounds)


def test_channels_and_directions_survive_the_disk(tmp_path: Path):
    channels = [
        Channel(
            id="lora/L0/q_proj", collection="lora", kind="lora", layer=0, module="q_proj", write_norm=2.5
        ),
        Channel(id="lora/score", collection="lora", kind="lora", is_signed=False, threshold=0.1, basis="svd"),
    ]
    directions = [
        Directions(
            "residual", "read", np.array([0]), np.ones((1, 4), np.float32), np.full((1, 4), 2, np.float32)
        ),
        Directions("L0.mlp", "write", np.array([1]), np.zeros((1, 3), np.float32)),
    ]
    activations = Activations(tmp_path)
    activations.save_channels(channels, directions, {"model": "toy"})
    read_channels, read_directions, facts = activations.load_channels()
    assert read_channels == channels
    assert facts == {"model": "toy"}
    assert [(d.space, d.side) for d in read_directions] == [("residual", "read"), ("L0.mlp", "write")]
    np.testing.assert_array_equal(read_directions[0].folded, directions[0].folded)
    assert read_directions[1].folded is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_chunks_of_activations(tmp_path: Path, dtype: type):
    corpus = corpus_of([3, 0, 4, 2])
    activations = Activations(tmp_path)
    chunk = slice(0, 9)
    values = np.random.default_rng(0).normal(size=(9, 2)).astype(dtype)
    assert not activations.has_chunk(chunk, key="k")
    activations.write_chunk(chunk, values, corpus.is_measured, key="k")
    assert activations.has_chunk(chunk, key="k")
    assert not activations.has_chunk(chunk, key="other")
    blocks = list(activations.blocks(corpus, chunk, block_tokens=4))
    assert [(b.start, b.stop) for b in blocks] == [(0, 3), (3, 7), (7, 9)]
    np.testing.assert_array_equal(np.concatenate([b.values for b in blocks]), values.astype(np.float32))
    np.testing.assert_array_equal(np.concatenate([b.is_measured for b in blocks]), corpus.is_measured)


def test_a_damaged_file_is_named_with_its_remedy(tmp_path: Path):
    corpus = corpus_of([3])
    activations = Activations(tmp_path)
    activations.write_chunk(slice(0, 3), np.zeros((3, 2), np.float32), corpus.is_measured, key="k")
    path = activations.chunk_path(slice(0, 3))
    path.write_bytes(path.read_bytes()[:100])
    assert not activations.has_chunk(slice(0, 3), key="k")
    with pytest.raises(FeaturebookError, match=r"damaged.*Delete it and run"):
        list(activations.blocks(corpus, slice(0, 3)))
    with pytest.raises(FeaturebookError, match="is missing"):
        Corpus.load(tmp_path / "corpus.h5")


def test_another_schema_says_what_it_got_and_what_it_wants(tmp_path: Path):
    with new_hdf5(tmp_path / "x.h5", kind="corpus") as file:
        file.attrs["schema"] = SCHEMA + 1
    with pytest.raises(
        FeaturebookError, match=f"schema {SCHEMA + 1}; wanted 'corpus' of schema {SCHEMA}. Run `again`"
    ):
        open_hdf5(tmp_path / "x.h5", kind="corpus", remedy="again")
    with pytest.raises(FeaturebookError, match="wanted 'summary'"):
        open_hdf5(tmp_path / "x.h5", kind="summary", remedy="again")


def test_byte_strings_keep_every_byte(tmp_path: Path):
    strings = [b"", b"\x00", bytes(range(256)), b""]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        write_byte_strings(file, "s", strings)
        assert read_byte_strings(file, "s") == strings


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make a small disk")
def test_a_disk_that_is_really_full_is_one_clear_message_and_keeps_what_is_finished(tmp_path: Path):
    """A process of its own: HDF5 was seen to crash the one that closes a file on a full disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("no right to mount a small disk")
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from generator.blocks import Activations\n"
        "from generator.errors import FeaturebookError\n"
        "activations = Activations(Path(sys.argv[1]))\n"
        "for start, rows in ((0, 100), (100, 100_000)):\n"
        "    try:\n"
        "        values = np.ones((rows, 8), np.float32)\n"
        "        activations.write_chunk(slice(start, start + rows), values, np.ones(rows, bool), key='k')\n"
        "    except FeaturebookError as error:\n"
        "        print(error)\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", program, str(disk)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "disk is full" in done.stdout
        assert [path.name for path in disk.iterdir()] == ["tokens-000000000000.h5"]
        assert Activations(disk).has_chunk(slice(0, 100), key="k")
    finally:
        subprocess.run(["umount", disk], check=True)
