"""Corpus, channels, directions and blocks, and how they lie on disk: the narrow waist of Featurebook.

After extraction everything is a stream of blocks of shape (token, channel). A LoRA direction, an SAE latent and
a crosscoder latent are all channels; nothing downstream of this module knows which. No torch here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from generator.artifacts import remove_dead_temporaries, write_bytes
from generator.errors import FeaturebookError

SCHEMA = 1
"""Version of every HDF5 file described here. A reader that meets another one refuses it; none reads old ones."""

BLOCK_TOKENS = 8192
"""Tokens that are summarised at once: a block of some hundred channels stays in the processor's cache."""

AXES = ("token", "doc", "channel", "feature", "layer", "place", "head", "d_in", "d_out", "rank", "k", "bin")
"""The closed vocabulary of axis names, the same in annotations, HDF5 dimension labels and docs."""


# --- HDF5 ------------------------------------------------------------------------------------------------------


def open_hdf5(path: Path, *, kind: str, remedy: str) -> h5py.File:
    """Opens one of our files for reading and checks what it is.

    Args:
        path: The file.
        kind: What it must hold, as ``new_hdf5`` recorded it.
        remedy: The command that makes the file anew, for the error message.

    Raises:
        FeaturebookError: missing, damaged, of another kind or of another schema.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise FeaturebookError(f"{path} is missing. Run `{remedy}`.") from None
    except OSError as error:
        raise FeaturebookError(
            f"{path} is damaged and cannot be read ({error}). Delete it and run `{remedy}`."
        ) from error
    got = file.attrs.get("kind"), file.attrs.get("schema")
    if got != (kind, SCHEMA):
        file.close()
        raise FeaturebookError(
            f"{path} holds {got[0]!r} of schema {got[1]}; wanted {kind!r} of schema {SCHEMA}. Run `{remedy}`."
        )
    return file


@contextmanager
def new_hdf5(path: Path, *, kind: str) -> Iterator[h5py.File]:
    """A new file of ours, marked with its kind and schema; it takes its place when the block ends without an error.

    It is built in memory and written as bytes: HDF5 itself crashes the process when it closes a file on a full disk.

    Raises:
        FeaturebookError: the disk is full; what stood there before is untouched.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False, block_size=2**22) as file:
        file.attrs["kind"] = kind
        file.attrs["schema"] = SCHEMA
        yield file
        file.flush()
        image = file.id.get_file_image()
    write_bytes(path, image)


def write_array(group: h5py.Group, name: str, array: np.ndarray, *axes: str, **options: Any) -> None:
    """Writes one array with its axis names as HDF5 dimension labels."""
    dataset = group.create_dataset(name, data=array, **options)
    for index, axis in enumerate(axes):
        dataset.dims[index].label = axis


def write_strings(group: h5py.Group, name: str, strings: Sequence[str]) -> None:
    """Writes a list of strings (UTF-8, any content)."""
    write_byte_strings(group, name, [s.encode("utf-8", "surrogatepass") for s in strings])


def read_strings(group: h5py.Group, name: str) -> list[str]:
    """Reads what ``write_strings`` wrote."""
    return [b.decode("utf-8", "surrogatepass") for b in read_byte_strings(group, name)]


def write_byte_strings(group: h5py.Group, name: str, strings: Sequence[bytes]) -> None:
    """Writes a list of byte strings, zero bytes included, as one run of bytes and its offsets."""
    sub = group.create_group(name)
    sub.create_dataset("bytes", data=np.frombuffer(b"".join(strings), np.uint8))
    sub.create_dataset("offsets", data=np.cumsum([0, *map(len, strings)], dtype=np.int64))


def read_byte_strings(group: h5py.Group, name: str) -> list[bytes]:
    """Reads what ``write_byte_strings`` wrote."""
    joined, offsets = group[name]["bytes"][()].tobytes(), group[name]["offsets"][()].tolist()
    return [joined[start:stop] for start, stop in zip(offsets, offsets[1:])]


# --- Corpus ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """The text as tokens. Documents lie one after another; a token's index in that row is its *global* index."""

    token_ids: Int[np.ndarray, " token"]
    doc_offsets: Int[np.ndarray, " doc_bound"]
    """Document ``d`` has the tokens ``doc_offsets[d]:doc_offsets[d + 1]``."""
    is_measured: Bool[np.ndarray, " token"]
    """Whether a token counts in statistics and examples (BOS, special tokens, … may be excluded)."""
    pieces: Int[np.ndarray, "piece 3"]
    """What goes through the model at once: global (context_start, start, stop). The model reads
    ``context_start:stop``, values are kept for ``start:stop``; the pieces' ``start:stop`` tile the corpus. A document
    that fits the model's context is one piece whose context_start is its start."""
    token_bytes: list[bytes]  # of every vocabulary entry: 220 -> b" "
    is_special: Bool[np.ndarray, " vocabulary"]
    doc_names: list[str]  # a readable name each: "traces/0012"
    doc_metadata: list[dict[str, Any]]  # what the source had beside the text: {"kind": "trace"}
    tokenizer: dict[str, Any] = field(default_factory=dict)
    """How the text became tokens: name, vocabulary size, template; for the pages."""

    @property
    def n_docs(self) -> int:
        """Number of documents."""
        return len(self.doc_offsets) - 1

    @property
    def n_tokens(self) -> int:
        """Number of tokens, excluded ones included."""
        return len(self.token_ids)

    @cached_property
    def doc(self) -> Int[np.ndarray, " token"]:
        """The document of every token."""
        return np.repeat(np.arange(self.n_docs, dtype=np.int32), np.diff(self.doc_offsets))

    @cached_property
    def position(self) -> Int[np.ndarray, " token"]:
        """The position of every token in its document, from 0."""
        return (np.arange(self.n_tokens) - self.doc_offsets[self.doc]).astype(np.int32)

    def tokens_of(self, doc: int) -> slice:
        """The global indices of a document's tokens."""
        return slice(int(self.doc_offsets[doc]), int(self.doc_offsets[doc + 1]))

    def chunks(self, chunk_tokens: int) -> list[slice]:
        """Cuts the corpus into runs of whole documents of about ``chunk_tokens`` tokens: the unit of resuming.

        A document is never cut, so a chunk is longer than asked for when one document is. Depends on nothing but
        the corpus and ``chunk_tokens``.

        Returns:
            Global token ranges that tile the corpus, in order.
        """
        bounds, start = [], 0
        for offset in self.doc_offsets[1:].tolist():
            if offset - start >= chunk_tokens:
                bounds.append(slice(start, offset))
                start = offset
        if start < self.n_tokens:
            bounds.append(slice(start, self.n_tokens))
        return bounds

    def save(self, path: Path) -> None:
        """Writes ``corpus.h5``."""
        import orjson

        with new_hdf5(path, kind="corpus") as file:
            write_array(file, "token_ids", self.token_ids, "token")
            write_array(file, "doc_offsets", self.doc_offsets, "doc")
            write_array(file, "is_measured", self.is_measured, "token")
            write_array(file, "pieces", self.pieces)
            write_byte_strings(file, "token_bytes", self.token_bytes)
            write_array(file, "is_special", self.is_special)
            write_strings(file, "doc_names", self.doc_names)
            write_byte_strings(file, "doc_metadata", [orjson.dumps(m) for m in self.doc_metadata])
            file.attrs["tokenizer"] = orjson.dumps(self.tokenizer)

    @classmethod
    def load(cls, path: Path) -> "Corpus":
        """Reads ``corpus.h5``."""
        import orjson

        with open_hdf5(path, kind="corpus", remedy="python -m generator build --only corpus") as file:
            return cls(
                token_ids=file["token_ids"][()],
                doc_offsets=file["doc_offsets"][()],
                is_measured=file["is_measured"][()],
                pieces=file["pieces"][()],
                token_bytes=read_byte_strings(file, "token_bytes"),
                is_special=file["is_special"][()],
                doc_names=read_strings(file, "doc_names"),
                doc_metadata=[orjson.loads(m) for m in read_byte_strings(file, "doc_metadata")],
                tokenizer=orjson.loads(file.attrs["tokenizer"]),
            )


# --- Channels --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Channel:
    """One scalar per token, and what is known of the direction behind it."""

    id: str
    """Stable and readable, the same in the config, the JSON, the address and the title: ``lora/L12/gate_proj``."""
    collection: str
    """All channels of one adapter or dictionary; the first part of the id."""
    kind: str
    """``lora``, ``sae``, ``crosscoder``, …"""
    layer: int = -1
    """The numbered layer it belongs to; −1 for none (a dictionary over several layers, an embedding)."""
    module: str = ""
    """Shortest dotted suffix that is unique in the layer (``gate_proj``, ``attn.c_proj``)."""
    rank_index: int = 0
    """Index within the module's rank, or within the dictionary."""
    rank: int = 1
    """Number of channels that the module (or dictionary) has."""
    basis: str = ""
    """``rows`` or ``svd`` for LoRA; how the directions of a module of rank > 1 were chosen."""
    is_signed: bool = True
    """Whether both signs mean something. A latent behind a ReLU is not signed: it has no bottom examples."""
    scaling: float = 1.0
    """LoRA's scaling (alpha/r or alpha/√r); the write at a token has norm scaling · |activation| · write_norm."""
    read_norm: float = 0.0
    """‖A‖: Euclidean norm of the vector that reads."""
    write_norm: float = 0.0
    """‖B‖: Euclidean norm of the vector that writes."""
    reference_rms: float = 1.0
    """Root mean square over the calibration documents (a fixed subset chosen by hash): the unit in which channels
    of different scale are compared, for instance to name the strongest at a token."""
    threshold: float = 0.0
    """The channel counts as *active* at a token where |activation| > threshold."""


def save_channels(group: h5py.Group, channels: Sequence[Channel]) -> None:
    """Writes the channel table: one dataset per column."""
    for f in fields(Channel):
        column = [getattr(channel, f.name) for channel in channels]
        if f.type in (str, "str"):
            write_strings(group, f.name, column)
        else:
            dtype = {bool: np.bool_, int: np.int64, float: np.float64}[f.type]  # type: ignore[index]
            write_array(group, f.name, np.array(column, dtype), "channel")


def load_channels(group: h5py.Group) -> list[Channel]:
    """Reads the channel table."""
    columns = [
        read_strings(group, f.name) if f.type in (str, "str") else group[f.name][()].tolist()
        for f in fields(Channel)
    ]
    return [Channel(*row) for row in zip(*columns)]


@dataclass(frozen=True)
class Directions:
    """Vectors of several channels that live in one space, so that their cosines mean something."""

    space: str
    """``residual``, ``L12.mlp`` (the neurons of one MLP), ``L3.q_proj.out``, …: equal names, same space."""
    side: str
    """``read`` (the channel's A or encoder row) or ``write`` (its B or decoder row)."""
    channels: Int[np.ndarray, " channel"]
    """Index into the channel table, ascending."""
    vectors: Float[np.ndarray, "channel d"]
    folded: Float[np.ndarray, "channel d"] | None = None
    """Read vectors in the residual space with the gain of the norm in front of them folded in (A ⊙ g), which is what
    meets a write vector; None when there is no norm in between or the space is another."""


def save_directions(group: h5py.Group, directions: Sequence[Directions]) -> None:
    """Writes a list of direction sets."""
    for index, d in enumerate(directions):
        sub = group.create_group(f"{index:05d}")
        sub.attrs["space"], sub.attrs["side"] = d.space, d.side
        write_array(sub, "channels", d.channels, "channel")
        write_array(sub, "vectors", d.vectors, "channel")
        if d.folded is not None:
            write_array(sub, "folded", d.folded, "channel")


def load_directions(group: h5py.Group) -> list[Directions]:
    """Reads a list of direction sets."""
    return [
        Directions(
            space=sub.attrs["space"],
            side=sub.attrs["side"],
            channels=sub["channels"][()],
            vectors=sub["vectors"][()],
            folded=sub["folded"][()] if "folded" in sub else None,
        )
        for _, sub in sorted(group.items())
    ]


# --- Blocks ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """The values of all channels on a run of whole documents."""

    start: int
    """Global index of the first token; ``corpus.doc[start:stop]`` and so on say the rest."""
    values: Float[np.ndarray, "token channel"]
    """float32, after the cast to the stored dtype."""
    is_measured: Bool[np.ndarray, " token"]
    """The corpus's mask, less what extraction excluded (positions of outlying norm)."""

    @property
    def stop(self) -> int:
        """Global index after the last token."""
        return self.start + len(self.values)


@dataclass(frozen=True)
class SparseBlock:
    """The non-zero latents on a run of whole documents: a CSR matrix (token, channel). Everything else is 0."""

    start: int
    """Global index of the first token."""
    offsets: Int[np.ndarray, " offset"]
    """Token ``t`` of the block has the entries ``offsets[t]:offsets[t + 1]``; one more than tokens."""
    channel: Int[np.ndarray, " k"]
    """Latent of every entry, ascending within a token."""
    values: Float[np.ndarray, " k"]
    """float32, not 0."""
    is_measured: Bool[np.ndarray, " token"]
    """The source block's mask, less tokens whose input was not finite."""
    n_channels: int

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return len(self.is_measured)

    @property
    def stop(self) -> int:
        """Global index after the last token."""
        return self.start + self.n_tokens

    @property
    def token(self) -> Int[np.ndarray, " k"]:
        """Token of every entry, within the block."""
        return np.repeat(np.arange(self.n_tokens), np.diff(self.offsets))

    def dense(self) -> Block:
        """The same as a block with all its zeros."""
        values = np.zeros((self.n_tokens, self.n_channels), np.float32)
        values[self.token, self.channel] = self.values
        return Block(start=self.start, values=values, is_measured=self.is_measured)


@runtime_checkable
class ChunkSink(Protocol):
    """Where extraction puts its chunks: activation files, or states of the summary. Can be sent to another process."""

    def save_channels(
        self, channels: Sequence[Channel], directions: Sequence[Directions], facts: dict[str, Any]
    ) -> None:
        """Takes the channel table, before the first chunk."""

    def has_chunk(self, chunk: slice, *, key: str) -> bool:
        """Whether this chunk was finished by a run with this key."""

    def write_chunk(
        self,
        chunk: slice,
        values: Float[np.ndarray, "token channel"],
        is_measured: Bool[np.ndarray, " token"],
        *,
        key: str,
    ) -> None:
        """Takes one chunk's values in their stored dtype."""

    def remove_stale(self, chunks: Sequence[slice], *, key: str) -> None:
        """Removes what other runs left: chunks of other keys or bounds, half-written files."""


CHUNK_ROWS = 1024
"""Rows of an HDF5 chunk: the layout that read fastest at 448 channels (11 GB/s, docs/performance.md)."""


@dataclass(frozen=True)
class Activations:
    """The output of extraction: ``channels.h5`` and one file per chunk of the corpus."""

    folder: Path

    def chunk_path(self, chunk: slice) -> Path:
        """The file of the chunk that begins at this global token."""
        return self.folder / f"tokens-{chunk.start:012d}.h5"

    def save_channels(
        self, channels: Sequence[Channel], directions: Sequence[Directions], facts: dict[str, Any]
    ) -> None:
        """Writes ``channels.h5``: the table, the vectors and facts of the model for the pages."""
        import orjson

        with new_hdf5(self.folder / "channels.h5", kind="channels") as file:
            save_channels(file.create_group("channels"), channels)
            save_directions(file.create_group("directions"), directions)
            file.attrs["facts"] = orjson.dumps(facts, option=orjson.OPT_SERIALIZE_NUMPY)

    def load_channels(self) -> tuple[list[Channel], list[Directions], dict[str, Any]]:
        """Reads ``channels.h5``."""
        import orjson

        remedy = "python -m generator build --only extract --force"
        with open_hdf5(self.folder / "channels.h5", kind="channels", remedy=remedy) as file:
            return (
                load_channels(file["channels"]),
                load_directions(file["directions"]),
                orjson.loads(file.attrs["facts"]),
            )

    def write_chunk(
        self,
        chunk: slice,
        values: Float[np.ndarray, "token channel"],
        is_measured: Bool[np.ndarray, " token"],
        *,
        key: str,
    ) -> None:
        """Writes one chunk's values in their stored dtype, under a temporary name until complete."""
        with new_hdf5(self.chunk_path(chunk), kind="activations") as file:
            rows = (min(CHUNK_ROWS, len(values)), values.shape[1])
            write_array(file, "values", values, "token", "channel", chunks=rows if min(rows) else None)
            write_array(file, "is_measured", is_measured, "token")
            file.attrs["start"], file.attrs["stop"], file.attrs["key"] = chunk.start, chunk.stop, key

    def has_chunk(self, chunk: slice, *, key: str) -> bool:
        """Whether this chunk was written whole, by a run with this key."""
        try:
            with h5py.File(self.chunk_path(chunk), "r") as file:
                return bool(file.attrs.get("key") == key and file.attrs.get("stop") == chunk.stop)
        except OSError:
            return False

    def remove_stale(self, chunks: Sequence[slice], *, key: str) -> None:
        """Removes chunk files of other keys or other bounds, and half-written ones."""
        kept = {self.chunk_path(chunk) for chunk in chunks if self.has_chunk(chunk, key=key)}
        for path in self.folder.glob("*.h5"):
            if path not in kept:
                path.unlink()
        remove_dead_temporaries(self.folder)

    def blocks(self, corpus: Corpus, chunk: slice, block_tokens: int = 8192) -> Iterator[Block]:
        """The chunk's values as blocks of whole documents of about ``block_tokens`` tokens.

        Raises:
            FeaturebookError: the chunk's file is missing or damaged.
        """
        remedy = "python -m generator build --only extract"
        with open_hdf5(self.chunk_path(chunk), kind="activations", remedy=remedy) as file:
            values, is_measured = file["values"], file["is_measured"][()]
            for start, stop in block_bounds(corpus, chunk, block_tokens):
                rows = slice(start - chunk.start, stop - chunk.start)
                try:
                    read = values[rows].astype(np.float32, copy=False)
                except OSError as error:
                    raise FeaturebookError(
                        f"{self.chunk_path(chunk)} is damaged ({error}). Delete it and run `{remedy}`."
                    ) from error
                yield Block(start=start, values=read, is_measured=is_measured[rows])


def block_bounds(corpus: Corpus, chunk: slice, block_tokens: int) -> Iterator[tuple[int, int]]:
    """Cuts a chunk at document boundaries into runs of at most ``block_tokens`` tokens (or one document)."""
    first = int(np.searchsorted(corpus.doc_offsets, chunk.start, side="left"))
    start = chunk.start
    while start < chunk.stop:
        last = (
            int(np.searchsorted(corpus.doc_offsets, min(start + block_tokens, chunk.stop), side="right")) - 1
        )
        stop = int(corpus.doc_offsets[max(last, first + 1)])
        if stop <= start:  # only empty documents so far: take the next one
            stop = int(corpus.doc_offsets[np.searchsorted(corpus.doc_offsets, start, side="right")])
        yield start, stop
        first, start = last, stop
