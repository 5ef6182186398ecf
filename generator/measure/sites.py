"""Where in the model each channel is read and written: ids, shared inputs, shared spaces."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from generator.blocks import Channel, Directions
from generator.errors import FeaturebookError, nearest
from generator.measure.lora import AdaptedModule, Recorder, Site
from generator.measure.trace import Call, Stream, Trace, neuron_sources


@dataclass(frozen=True)
class Place:
    """The address of one module."""

    path: str
    """Dotted path in the base model."""
    layer: int
    """−1 outside the numbered layers."""
    module: str
    """Shortest dotted suffix that is unique in its layer, or the whole path outside of them."""

    def id(self, collection: str, rank_index: int, rank: int) -> str:
        """The channel's id: ``lora/L12/gate_proj``, ``lora/L12/gate_proj/r3``, ``lora/model.embed_tokens``."""
        where = f"L{self.layer}/{self.module}" if self.layer >= 0 else self.path
        return f"{collection}/{where}" + (f"/r{rank_index}" if rank > 1 else "")

    @property
    def dotted(self) -> str:
        """For names of spaces: ``L12.gate_proj``."""
        return f"L{self.layer}.{self.module}" if self.layer >= 0 else self.path


def find_places(paths: Sequence[str], all_paths: Sequence[str], layers: str | None) -> list[Place]:
    """Addresses of modules.

    Args:
        paths: The modules wanted.
        all_paths: All modules of the base model, the wanted ones among them.
        layers: Path of the list of numbered layers (``model.layers``), None when there is none.
    """
    members: dict[int, list[str]] = defaultdict(list)
    for path in all_paths:
        number, rest = _split(path, layers)
        if number >= 0 and rest:
            members[number].append(rest)
    places = []
    for path in paths:
        number, rest = _split(path, layers)
        suffix = unique_suffix(rest, members[number]) if number >= 0 else path
        places.append(Place(path, number if suffix else -1, suffix or path))
    return places


def _split(path: str, layers: str | None) -> tuple[int, str]:
    """("model.layers.12.mlp.up_proj", "model.layers") -> (12, "mlp.up_proj")."""
    if layers is None or not path.startswith(f"{layers}."):
        return -1, path
    number, _, rest = path[len(layers) + 1 :].partition(".")
    return (int(number), rest) if number.isdigit() else (-1, path)


def unique_suffix(path: str, others: Sequence[str]) -> str:
    """The shortest dotted suffix of ``path`` that ends no other path; the whole path when there is none.

    >>> unique_suffix("attn.c_proj", ["attn.c_proj", "mlp.c_proj", "attn"])
    'attn.c_proj'
    """
    parts = path.split(".")
    for n in range(1, len(parts)):
        suffix = ".".join(parts[-n:])
        if not any(o != path and (o == suffix or o.endswith(f".{suffix}")) for o in others):
            return suffix
    return path


def choose_modules(places: Sequence[Place], globs: Sequence[str]) -> list[bool]:
    """Which modules the run file's globs take: any suffix of the dotted path may match; ``!glob`` takes away.

    Raises:
        FeaturebookError: a glob matches none; the nearest names are listed.
    """
    chosen = [False] * len(places)
    for glob in globs:
        pattern = glob.removeprefix("!")
        hits = [_matches(place, pattern) for place in places]
        if not any(hits):
            names = {place.module for place in places} | {place.path for place in places}
            raise FeaturebookError(
                f"extract.modules: no adapted module matches {glob!r}. {nearest(pattern, {p.module for p in places} or names)}"
            )
        for i, hit in enumerate(hits):
            if hit:
                chosen[i] = not glob.startswith("!")
    if globs and all(glob.startswith("!") for glob in globs):
        chosen = [not any(_matches(p, g[1:]) for g in globs) for p in places]
    if not any(chosen):
        raise FeaturebookError(f'extract.modules = {list(globs)} leaves no module. Use ["*"] for all.')
    return chosen


def _matches(place: Place, pattern: str) -> bool:
    parts = place.path.split(".")
    names = {
        place.dotted,
        place.dotted.replace(".", "/", 1),
        *(".".join(parts[i:]) for i in range(len(parts))),
    }
    return any(fnmatchcase(name, pattern) for name in names)


@dataclass(frozen=True)
class Layout:
    """The channels of a run and where they are read."""

    channels: list[Channel]
    directions: list[Directions]
    sites: list[Site]
    notes: list[str]


def lay_out(
    modules: Sequence[AdaptedModule],
    places: Sequence[Place],
    is_chosen: Sequence[bool],
    trace: Trace,
    layer_calls: list[Call],
    *,
    collection: str,
    layers: str | None,
    recorder: Recorder,
) -> Layout:
    """Makes the channel table, groups modules by shared input and finds the spaces of their vectors.

    Raises:
        FeaturebookError: a module that runs several times in one pass, or no module that reads every token.
    """
    calls = [_only_call(module, trace) for module in modules]
    notes, measured = [], []
    for module, call, chosen in zip(modules, calls, is_chosen):
        reads_tokens = (
            call is not None and call.read is not None and _has_row_per_token(call.read, module, trace)
        )
        if chosen and not reads_tokens:
            notes.append(f"{module.name} does not read one vector per token: applied, but not measured")
        measured.append(chosen and reads_tokens)
    if not any(measured):
        raise FeaturebookError(
            "No adapted module reads one vector per token; there is nothing to measure. " + "; ".join(notes)
        )
    order = sorted(
        (i for i in range(len(modules)) if measured[i]), key=lambda i: places[i].layer
    )  # stable: model order
    channels, columns = _channel_table(modules, places, order, collection)
    stream = Stream(trace, layer_calls)
    spaces = Spaces(trace, stream, layers)
    directions = spaces.directions(modules, places, calls, columns)
    return Layout(channels, directions, _group(modules, calls, columns, recorder), notes)


def _only_call(module: AdaptedModule, trace: Trace) -> Call | None:
    calls = trace.calls_of(module.layer)
    if len(calls) > 1:
        raise FeaturebookError(
            f"{module.name} runs {len(calls)} times in one forward pass (its layers share weights), so a token has several "
            "activations of it. Such models are not supported."
        )
    return calls[0] if calls else None


def _has_row_per_token(tensor: Tensor, module: AdaptedModule, trace: Trace) -> bool:
    rows = tensor.shape if module.kind == "embedding" else tensor.shape[:-1]
    return rows.numel() == trace.n_tokens


def _channel_table(
    modules: Sequence[AdaptedModule], places: Sequence[Place], order: Sequence[int], collection: str
) -> tuple[list[Channel], list[list[int]]]:
    """Channels by layer, module in model order, rank index; and the channels of each module."""
    channels: list[Channel] = []
    columns: list[list[int]] = [[] for _ in modules]
    for i in order:
        module, place = modules[i], places[i]
        read_norm, write_norm = (m.double().norm(dim=1).tolist() for m in (module.read, module.write))
        for r in range(module.rank):
            columns[i].append(len(channels))
            channels.append(
                Channel(
                    id=place.id(collection, r, module.rank),
                    collection=collection,
                    kind="lora",
                    layer=place.layer,
                    module=place.module,
                    rank_index=r,
                    rank=module.rank,
                    basis=module.basis,
                    scaling=module.scaling,
                    read_norm=read_norm[r],
                    write_norm=write_norm[r],
                )
            )
    return channels, columns


def _group(
    modules: Sequence[AdaptedModule],
    calls: Sequence[Call | None],
    columns: list[list[int]],
    recorder: Recorder,
) -> list[Site]:
    """One site per tensor that was read."""
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for i, (module, call) in enumerate(zip(modules, calls)):
        key = id(call.read) if call is not None and call.read is not None else -1 - i
        groups[key, module.kind].append(i)
    return [
        Site([modules[i] for i in group], [columns[i] for i in group], recorder) for group in groups.values()
    ]


class Spaces:
    """Names the space of every read and write vector, from the recorded pass."""

    def __init__(self, trace: Trace, stream: Stream, layers: str | None) -> None:
        self.trace, self.stream = trace, stream
        self.hubs = self._neuron_hubs(layers)

    def _neuron_hubs(self, layers: str | None) -> dict[int, str]:
        """Tensors whose components are the neurons of one MLP -> the space's name.

        A hub is the input of a matrix (the down projection, adapted or not) whose components each come from one
        component of another matrix's output.
        """
        matrices = [
            c for c in self.trace.calls if is_matrix(c.module) and c.read is not None and c.wrote is not None
        ]
        wrote = {id(call.wrote) for call in matrices}
        by_layer: dict[int, list[tuple[Call, set[int]]]] = defaultdict(list)
        for call in matrices:
            assert call.read is not None
            number, _ = _split(call.name, layers)
            known = any(call.read is other.read for other, _ in by_layer[number])
            if number < 0 or known or not self.trace.is_token_shaped(call.read):
                continue
            sources = neuron_sources(self.trace, call.read, self.stream)
            if sources & wrote:
                by_layer[number].append((call, sources))
        names: dict[int, str] = {}
        for number, hubs in by_layer.items():
            for call, sources in hubs:
                name = f"L{number}.mlp" if len(hubs) == 1 else f"L{number}.{_split(call.name, layers)[1]}.in"
                names.update(dict.fromkeys((*sources, id(call.read)), name))
        return names

    def directions(
        self,
        modules: Sequence[AdaptedModule],
        places: Sequence[Place],
        calls: Sequence[Call | None],
        columns: Sequence[Sequence[int]],
    ) -> list[Directions]:
        """All vectors, grouped by space and side; residual reads with the gain of their norm folded in."""
        groups: dict[tuple[str, str], list[tuple[Sequence[int], Tensor, Tensor | None]]] = defaultdict(list)
        shared: dict[int, str] = {}
        for module, place, call, own in zip(modules, places, calls, columns):
            if not own:
                continue
            assert call is not None and call.read is not None and call.wrote is not None
            space, gain = self._read_space(module, place, call.read, shared)
            folded = None if gain is None else module.read.cpu() * gain
            groups[space, "read"].append((own, module.read.cpu(), folded))
            space, gain = self._write_space(place, call.wrote)
            groups[space, "write"].append((own, module.write.cpu() * (1 if gain is None else gain), None))
        return [_directions(space, side, parts) for (space, side), parts in groups.items()]

    def _read_space(
        self, module: AdaptedModule, place: Place, tensor: Tensor, shared: dict[int, str]
    ) -> tuple[str, Tensor | None]:
        if module.kind == "linear":
            is_stream, gain = self.stream.reads(tensor)
            if is_stream:
                return "residual", gain
            if id(tensor) in self.hubs:
                return self.hubs[id(tensor)], None
        return shared.setdefault(id(tensor), f"{place.dotted}.in"), None

    def _write_space(self, place: Place, tensor: Tensor) -> tuple[str, Tensor | None]:
        if id(tensor) in self.stream.writes:
            return "residual", self.stream.writes[id(tensor)]
        if id(tensor) in self.stream.states and tensor.shape[-1] == self.stream.width:
            return "residual", None
        return self.hubs.get(id(tensor), f"{place.dotted}.out"), None


def is_matrix(module: nn.Module) -> bool:
    """A linear layer in any guise: PEFT's wrapper, ``nn.Linear``, GPT-2's Conv1D, a quantised one."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding)


def _directions(
    space: str, side: str, parts: list[tuple[Sequence[int], Tensor, Tensor | None]]
) -> Directions:
    channels = np.array([c for own, _, _ in parts for c in own], np.int64)
    order = np.argsort(channels)
    folded = None
    if any(f is not None for _, _, f in parts):
        folded = torch.cat([v if f is None else f for _, v, f in parts]).float().numpy()[order]
    vectors = torch.cat([v for _, v, _ in parts]).float().numpy()[order]
    return Directions(space, side, channels[order], np.ascontiguousarray(vectors), folded)
