"""What an attention row says: formulas on the weights of one document, (head, query, key) with rows that sum to 1.

Every function returns one number per head and query, NaN where the query has none, so that the caller averages over
the rows that count and knows how many there were. Attention is not attribution (Jain & Wallace 2019, 1902.10186).
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SMALLEST_MASS = 1e-6
"""Without position 0, a row whose other keys hold less than this has nothing left to renormalise."""
SMALLEST_Q = 1e-12
"""Floor of the second distribution of a KL divergence."""

Weights = Float[Tensor, "head token key"]
Rows = Float[Tensor, "head token"]


def renormalised(weights: Tensor) -> Weights:
    """Rows in float32 that sum to 1 (bfloat16 rows do so only to 0.002); NaN rows where there is no mass."""
    weights = weights.detach().float()
    return weights / weights.sum(-1, keepdim=True)


def without_first(weights: Weights) -> Float[Tensor, "head rest rest_key"]:
    """Queries and keys from position 1 on, rows renormalised; NaN rows where position 0 took everything."""
    rest = weights[:, 1:, 1:]
    mass = rest.sum(-1, keepdim=True)
    return torch.where(mass > SMALLEST_MASS, rest / mass, torch.nan)


def entropy(weights: Weights) -> Rows:
    """H(A_i) in nats (Clark et al. 2019, 1906.04341)."""
    return torch.special.entr(weights).sum(-1)


def entropy_share(weights: Weights, is_causal: bool) -> Rows:
    """H(A_i) over the largest it can be, ln of the number of keys that the query sees; NaN where it sees one."""
    n = weights.shape[-1]
    visible = (
        torch.arange(1, weights.shape[1] + 1, device=weights.device) if is_causal else torch.full((n,), n)
    )
    limit = visible.to(weights).log()
    return torch.where(limit > 0, entropy(weights) / limit, torch.nan)


def distance(weights: Weights) -> Rows:
    """Σ_j A_ij |i − j| in tokens (Vig & Belinkov 2019, 1906.04284)."""
    queries, keys = (torch.arange(n, device=weights.device) for n in weights.shape[1:])
    return (weights * (queries[:, None] - keys[None, :]).abs()).sum(-1)


def sink_mass(weights: Weights) -> Rows:
    """A_i0 for i ≥ 1 (Xiao et al. 2023, 2309.17453)."""
    return _from_row(1, weights[:, :, 0])


def previous_token(weights: Weights) -> Rows:
    """A_i,i−1 for i ≥ 1 (Olsson et al. 2022, 2209.11895)."""
    found = torch.full(weights.shape[:2], torch.nan, device=weights.device)
    found[:, 1:] = weights.diagonal(-1, 1, 2)[:, : weights.shape[1] - 1]
    return found


def mass_on(weights: Weights, targets: Bool[Tensor, "token key"]) -> Rows:
    """Σ of A_ij over the keys marked for the query; NaN where none is marked."""
    found = (weights * targets).sum(-1)
    return torch.where(targets.any(-1), found, torch.nan)


def duplicate_targets(token_ids: Int[Tensor, " token"]) -> Bool[Tensor, "token key"]:
    """Keys to the left that hold the same token as the query (Olsson et al. 2022)."""
    return (token_ids[:, None] == token_ids[None, :]).tril(-1)


def induction_targets(token_ids: Int[Tensor, " token"]) -> Bool[Tensor, "token key"]:
    """Keys to the left whose predecessor holds the same token as the query: what an induction head looks for."""
    before = torch.roll(token_ids, 1)
    found = (token_ids[:, None] == before[None, :]).tril(-1)
    found[:, 0] = False  # key 0 has no predecessor
    return found


def repeat_targets(n_prefix: int, period: int, shift: int, device: torch.device) -> Bool[Tensor, "token key"]:
    """For prefix + s + s with |s| = period: key i − period + shift for each query i of the second s.

    ``shift`` 0 is the duplicate token, 1 the token after it (induction). One key per query: the T + 1 entries of a
    whole diagonal would count a row of the first s too.
    """
    n = n_prefix + 2 * period
    found = torch.zeros(n, n, dtype=torch.bool, device=device)
    queries = torch.arange(n_prefix + period, n, device=device)
    found[queries, queries - period + shift] = True
    return found


def divergence(p: Weights, q: Weights) -> Rows:
    """KL(p ‖ q) of each row in nats; q is floored at 1e-12."""
    return (torch.special.xlogy(p, p) - p * q.clamp_min(SMALLEST_Q).log()).sum(-1).clamp_min(0)


def row_metrics(is_causal: bool) -> dict[str, Callable[[Weights], Rows]]:
    """Metrics that need nothing but the weights. Name -> function."""
    return {
        "entropy": entropy,
        "entropy_share": lambda weights: entropy_share(weights, is_causal),
        "distance": distance,
        "sink_mass": sink_mass,
        "previous_token": previous_token,
    }


SOURCES = {
    "entropy": "Clark et al. 2019, 1906.04341",
    "entropy_share": "Clark et al. 2019; collapse: Zhai et al. 2023, 2303.06296",
    "distance": "Vig & Belinkov 2019, 1906.04284",
    "sink_mass": "Xiao et al. 2023, 2309.17453",
    "previous_token": "Olsson et al. 2022, 2209.11895",
    "duplicate_text": "Olsson et al. 2022, 2209.11895; on natural text",
    "induction_text": "Olsson et al. 2022, 2209.11895; on natural text",
    "duplicate_token": "Olsson et al. 2022, 2209.11895; on s + s of random tokens",
    "induction": "Olsson et al. 2022, 2209.11895; on s + s of random tokens",
    "kl_adapted": "Kullback–Leibler divergence",
}
CONVENTIONS = {
    "entropy": "entropy of the row in nats, mean over all queries",
    "entropy_share": "entropy over ln(keys seen), mean over queries that see two or more",
    "distance": "Σ_j A_ij |i − j| in tokens, mean over all queries",
    "sink_mass": "A_i0, mean over i ≥ 1",
    "previous_token": "A_i,i−1, mean over i ≥ 1",
    "duplicate_text": "mass on earlier keys with the query's token, mean over queries that have one",
    "induction_text": "mass on earlier keys that follow the query's token, mean over queries that have one",
    "duplicate_token": "A_i,i−T, mean over the second s",
    "induction": "A_i,i−T+1, mean over the second s",
    "kl_adapted": "KL(base ‖ adapted) of the row in nats, mean over all queries",
}


def _from_row(first: int, rows: Rows) -> Rows:
    rows = rows.clone()
    rows[:, :first] = torch.nan
    return rows
