"""Which input tokens a number inside the model comes from: a logit, or the scalar x · A of a LoRA direction.

All methods see the model as a function of its token embeddings; position embeddings, norms and everything after belong
to the function. Attributions of a direction are in units of its activation.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import Anatomy, eager
from generator.measure.analyze.attention import renormalised
from generator.measure.analyze.capture import check_context, feed_of, run
from generator.measure.analyze.heads import attending, check_attention
from generator.measure.analyze.tail import check_head

GAP_WARNING = 0.05
"""A completeness gap above this share of the activation's range gets a warning on the page."""

GAP_AIM = 0.02
"""Share of the range at which no more nodes are taken."""

Function = Callable[[Float[Tensor, "k token d"]], Float[Tensor, " k"]]
"""Embeddings of k copies of the text -> k numbers."""


@dataclass(frozen=True)
class LogitScalar:
    """The logit of a token at a position, less that of another one where given."""

    position: int
    token_id: int
    minus: int | None = None
    needs_head: bool = True

    @contextmanager
    def watch(self, anatomy: Anatomy) -> Iterator[Callable[[Any], Tensor]]:
        """Reads the model's logits."""
        check_head(anatomy)

        def value(output: Any) -> Tensor:
            row = output.logits[:, self.position].float()
            return row[:, self.token_id] - (0 if self.minus is None else row[:, self.minus])

        yield value


@dataclass(frozen=True)
class DirectionScalar:
    """x · read at a position, where x is what a module reads: a LoRA direction's activation, or a latent's pre-activation."""

    module: nn.Module
    """The adapted module (PEFT's layer), or any module whose first input is (doc, token, d_in)."""
    read: Float[Tensor, " d_in"]
    position: int
    needs_head: bool = False

    @contextmanager
    def watch(self, anatomy: Anatomy) -> Iterator[Callable[[Any], Tensor]]:
        """Reads the module's input."""
        seen: list[Tensor] = []
        handle = self.module.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(args[0] if args else next(iter(kwargs.values()))),
            with_kwargs=True,
        )

        def value(output: Any) -> Tensor:
            return seen[-1][:, self.position].float() @ self.read.float().to(seen[-1].device)

        try:
            yield value
        finally:
            handle.remove()


@dataclass(frozen=True)
class SumScalar:
    """A weighted sum of directions' scalars and a constant: a latent's pre-activation over LoRA directions."""

    parts: Sequence[DirectionScalar]
    weights: Float[np.ndarray, " k"]
    bias: float
    position: int
    needs_head: bool = False

    @contextmanager
    def watch(self, anatomy: Anatomy) -> Iterator[Callable[[Any], Tensor]]:
        """Reads the inputs of all modules."""
        with ExitStack() as stack:
            values = [stack.enter_context(part.watch(anatomy)) for part in self.parts]

            def value(output: Any) -> Tensor:
                found = [float(weight) * read(output) for weight, read in zip(self.weights, values)]
                return torch.stack([one.to(found[0].device) for one in found]).sum(0) + self.bias

            yield value


Scalar = LogitScalar | DirectionScalar | SumScalar
"""A number inside the model that is to be explained. ``watch`` is a context that yields a function: model output -> the
number for each row of the batch; ``needs_head`` says whether the forward pass must include the vocabulary."""


@dataclass(frozen=True)
class Attribution:
    """One number per input token."""

    scores: Float[np.ndarray, " token"]
    value: float
    """What is explained."""
    baseline_value: float | None = None
    """The same at the baseline; None for methods without one."""
    gap: float | None = None
    """Completeness: Σ scores − (value − baseline_value); None for methods that promise nothing."""
    method: dict[str, Any] = field(default_factory=dict)

    def warning(self, activation_range: float | None = None) -> str:
        """A sentence where the gap is too large for the scores to be trusted, else an empty string.

        Args:
            activation_range: Maximum less minimum of the activation over the corpus; |value − baseline| when absent.
        """
        if self.gap is None or self.baseline_value is None:
            return ""
        size = activation_range or abs(self.value - self.baseline_value)
        if abs(self.gap) <= GAP_WARNING * size:
            return ""
        share = (
            f"{abs(self.gap) / size:.0%} of the activation's range"
            if size
            else "not 0 although nothing changed"
        )
        return f"The attributions miss {self.gap:+.3g}, {share}: read them as a sketch. More nodes may help."


# --- Functions of embeddings -----------------------------------------------------------------------------------


def as_function(anatomy: Anatomy, token_ids: Sequence[int], scalar: Scalar) -> Function:
    """The scalar as a function of the token embeddings.

    Raises:
        FeaturebookError: the text is empty or too long, or the position lies outside it.
    """
    check_context(anatomy, len(token_ids))
    ids = feed_of(token_ids, anatomy.device).token_ids
    position = getattr(scalar, "position", 0)
    if not 0 <= position < len(token_ids):
        raise FeaturebookError(
            f"Position {position} is not in the text of {len(token_ids)} tokens (0 is the first)."
        )

    def function(embeddings: Float[Tensor, "k token d"]) -> Float[Tensor, " k"]:
        inputs = {"input_ids": ids.expand(len(embeddings), -1)}
        with _embedded(anatomy, embeddings), scalar.watch(anatomy) as value:
            return value(run(anatomy, inputs, with_head=scalar.needs_head))

    return function


def embed(anatomy: Anatomy, token_ids: Sequence[int]) -> Float[Tensor, "token d"]:
    """What the model's embedding makes of the tokens."""
    with torch.no_grad():
        return anatomy.embedding(torch.tensor(list(token_ids), device=anatomy.device))


def mean_embedding(anatomy: Anatomy) -> Float[Tensor, " d"]:
    """The mean over the vocabulary: a baseline at which norms are well-behaved, unlike at 0."""
    n = int(anatomy.config.vocab_size)
    parts = [
        embed(anatomy, range(start, min(start + 4096, n))).double().sum(0) for start in range(0, n, 4096)
    ]
    return (torch.stack(parts).sum(0) / n).float()


def gradient_times_input(function: Function, embeddings: Float[Tensor, "token d"]) -> Attribution:
    """Σ_d e_td ∂f/∂e_td (Shrikumar et al. 2016, 1605.01713); exact for a linear f."""
    value, gradient = _gradients(function, embeddings[None])
    scores = (gradient[0] * embeddings.double()).sum(-1)
    method = {"method": "gradient × input", "source": "Shrikumar et al. 2016, 1605.01713"}
    return Attribution(scores.cpu().numpy(), float(value[0]), method=method)


def integrated_gradients(
    function: Function,
    embeddings: Float[Tensor, "token d"],
    baseline: Float[Tensor, "token d"],
    *,
    n_nodes: int = 64,
    rule: str = "gauss_legendre",
    batch: int = 16,
) -> Attribution:
    """(e − e′) ∫ ∂f along the straight line from a baseline (Sundararajan et al. 2017, 1703.01365).

    Args:
        function: Of embeddings.
        embeddings: Of the text.
        baseline: Where the path starts; through an RMSNorm, 0 needs 300 nodes and more.
        n_nodes: Points on the path.
        rule: ``gauss_legendre`` or ``midpoint``.
        batch: Points that go through the model at once.
    """
    at, weight = nodes(n_nodes, rule)
    difference = (embeddings - baseline).double()
    total = torch.zeros_like(difference)
    for start in range(0, n_nodes, batch):
        alpha = torch.from_numpy(at[start : start + batch]).to(difference)[:, None, None]
        points = (baseline.double() + alpha * difference).to(embeddings.dtype)
        _, gradient = _gradients(function, points)
        total += (
            gradient * torch.from_numpy(weight[start : start + batch]).to(difference)[:, None, None]
        ).sum(0)
    scores = (difference * total).sum(-1).cpu().numpy()
    with torch.no_grad():
        value, baseline_value = (float(function(e[None])[0]) for e in (embeddings, baseline))
    method = {
        "method": "integrated gradients",
        "source": "Sundararajan et al. 2017, 1703.01365",
        "rule": rule,
        "n_nodes": n_nodes,
    }
    return Attribution(scores, value, baseline_value, float(scores.sum()) - (value - baseline_value), method)


def integrate_until_complete(
    function: Function,
    embeddings: Float[Tensor, "token d"],
    baseline: Float[Tensor, "token d"],
    *,
    n_nodes: int = 64,
    max_nodes: int = 512,
    activation_range: float | None = None,
    batch: int = 16,
) -> Attribution:
    """Integrated gradients with Gauss–Legendre nodes doubled until the gap is small.

    Through an RMSNorm the integrand has a sharp peak where the path comes nearest to 0, and how many nodes that takes
    cannot be known beforehand (docs/metrics/integrated-gradients.md).

    Args:
        function: Of embeddings.
        embeddings: Of the text.
        baseline: Where the path starts.
        n_nodes: To begin with.
        max_nodes: After which the gap is left as it is, and said.
        activation_range: What the gap is measured against; |value − baseline value| when absent.
        batch: Points that go through the model at once.
    """
    while True:
        found = integrated_gradients(function, embeddings, baseline, n_nodes=n_nodes, batch=batch)
        assert found.gap is not None and found.baseline_value is not None
        size = activation_range or abs(found.value - found.baseline_value)
        if abs(found.gap) <= GAP_AIM * size or 2 * n_nodes > max_nodes:
            return found
        n_nodes *= 2


def nodes(n: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on 0…1; the weights sum to 1."""
    if rule == "gauss_legendre":
        at, weight = np.polynomial.legendre.leggauss(n)
        return (at + 1) / 2, weight / 2
    if rule == "midpoint":
        return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)
    raise FeaturebookError(f"There is no integration rule {rule!r}. Take gauss_legendre or midpoint.")


def attribute(
    anatomy: Anatomy,
    token_ids: Sequence[int],
    scalar: Scalar,
    *,
    baseline: str = "mean",
    n_nodes: int = 64,
    max_nodes: int = 512,
    activation_range: float | None = None,
    batch: int = 16,
) -> dict[str, Attribution]:
    """Both gradient methods for one scalar of one text, by name.

    Args:
        anatomy: The model, adapted or base as it is now.
        token_ids: The text.
        scalar: What is explained.
        baseline: ``mean`` (the mean embedding at every position) or ``zero``.
        n_nodes: Points on the path to begin with, doubled up to ``max_nodes`` until the sum is complete.
        max_nodes: Most points on the path.
        activation_range: Of the scalar over the corpus, which the gap is measured against.
        batch: Points that go through the model at once.

    Raises:
        FeaturebookError: the text is empty or too long, the position lies outside it, an unknown baseline.
    """
    if baseline not in ("mean", "zero"):
        raise FeaturebookError(f"There is no baseline {baseline!r}. Take mean or zero.")
    function, embeddings = as_function(anatomy, token_ids, scalar), embed(anatomy, token_ids)
    start = torch.zeros_like(embeddings)
    if baseline == "mean":
        start = start + mean_embedding(anatomy).to(embeddings)
    integrated = integrate_until_complete(
        function,
        embeddings,
        start,
        n_nodes=n_nodes,
        max_nodes=max_nodes,
        activation_range=activation_range,
        batch=batch,
    )
    integrated.method["baseline"] = {"mean": "mean embedding of the vocabulary", "zero": "0"}[baseline]
    return {
        "gradient_times_input": gradient_times_input(function, embeddings),
        "integrated_gradients": integrated,
    }


def _gradients(function: Function, points: Tensor) -> tuple[Tensor, Tensor]:
    points = points.detach().requires_grad_(True)
    with torch.enable_grad():
        value = function(points)
        gradient = torch.autograd.grad(value.sum(), points)[0]
    return value.detach().double(), gradient.double()


@contextmanager
def _embedded(anatomy: Anatomy, embeddings: Tensor) -> Iterator[None]:
    """The embedding returns these vectors, whatever the ids."""
    handle = anatomy.embedding.register_forward_hook(lambda *_: embeddings)
    try:
        yield
    finally:
        handle.remove()


# --- Attention -------------------------------------------------------------------------------------------------


def rollout(
    layers: Sequence[Float[np.ndarray, "token key"]], *, keep: float = 0.5
) -> Float[np.ndarray, "token key"]:
    """Attention rollout (Abnar & Zuidema 2020, 2005.00928): R = Â_L … Â_1 with Â = ½ A + ½ I, rows renormalised.

    Args:
        layers: Attention of each layer, averaged over the heads.
        keep: Weight of the residual connection.
    """
    result = np.eye(len(layers[0]))
    for weights in layers:
        mixed = (1 - keep) * np.asarray(weights, np.float64) + keep * np.eye(len(weights))
        result = (mixed / mixed.sum(1, keepdims=True)) @ result
    return result


def rollout_of(anatomy: Anatomy, token_ids: Sequence[int]) -> list[Float[np.ndarray, "token key"]]:
    """Rollout from the input up to each layer; row = token at that layer, column = input token.

    Raises:
        FeaturebookError: the model gives no attention weights; the text is empty or too long.
    """
    check_attention(anatomy)
    check_context(anatomy, len(token_ids))
    means: dict[int, np.ndarray] = {}
    with (
        eager(anatomy.model),
        torch.no_grad(),
        attending(
            anatomy, lambda i, w: means.__setitem__(i, renormalised(w[0]).mean(0).double().cpu().numpy())
        ),
    ):
        run(anatomy, feed_of(token_ids, anatomy.device).inputs())
    result, found = np.eye(len(token_ids)), []
    for layer in range(anatomy.n_layers):
        result = rollout([means[layer]]) @ result
        found.append(result)
    return found


def flow(layers: Sequence[Float[np.ndarray, "token key"]], target: int) -> Float[np.ndarray, " token"]:
    """Attention flow (Abnar & Zuidema 2020): the largest flow from each input token to a token of the last layer.

    Capacities are Â = ½ A + ½ I. Cost grows fast with length and depth: for short prompts, on demand.
    """
    n, depth = len(layers[0]), len(layers)
    capacity: dict[int, dict[int, float]] = {}
    for level, weights in enumerate(layers):
        mixed = 0.5 * np.asarray(weights, np.float64) + 0.5 * np.eye(n)
        for query, key in zip(*np.nonzero(mixed)):
            # from the input (level 0) upwards: node = level · n + position
            capacity.setdefault(level * n + int(key), {})[(level + 1) * n + int(query)] = float(
                mixed[query, key]
            )
    return np.array([_max_flow(capacity, source, depth * n + target) for source in range(n)])


def _max_flow(capacity: dict[int, dict[int, float]], source: int, sink: int) -> float:
    """Edmonds & Karp 1972: shortest augmenting paths until there is none."""
    rest = {node: dict(edges) for node, edges in capacity.items()}
    total = 0.0
    while path := _shortest_path(rest, source, sink):
        steps = list(zip(path, path[1:]))
        size = min(rest[a][b] for a, b in steps)
        for a, b in steps:
            rest[a][b] -= size
            back = rest.setdefault(b, {})
            back[a] = back.get(a, 0.0) + size
        total += size
    return total


def _shortest_path(rest: dict[int, dict[int, float]], source: int, sink: int) -> list[int]:
    came_from, frontier = {source: source}, [source]
    while frontier and sink not in came_from:
        reached = []
        for node in frontier:
            for other, left in rest.get(node, {}).items():
                if left > 1e-12 and other not in came_from:
                    came_from[other] = node
                    reached.append(other)
        frontier = reached
    if sink not in came_from:
        return []
    path = [sink]
    while path[-1] != source:
        path.append(came_from[path[-1]])
    return path[::-1]
