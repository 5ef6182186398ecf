"""How alike two layers are on the same tokens: linear centred kernel alignment."""

import numpy as np
from jaxtyping import Float

from generator.measure.analyze.values import Matrix, Value, defined, undefined


def linear_cka(x: Float[np.ndarray, "token d"], y: Float[np.ndarray, "token d2"]) -> Value:
    """‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F), centred (Kornblith et al. 2019, 1905.00414).

    Biased upwards when there are few tokens for the dimension (0.94 for independent Gaussians, N = 64, d = 1024), so it
    is here to be compared with and never published; pages show ``debiased_cka``.
    """
    x, y = _centred(x), _centred(y)
    size = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    if len(x) < 2 or not size:
        return undefined(f"n = {len(x)}" if len(x) < 2 else "all vectors are equal", len(x))
    return defined(float(np.linalg.norm(y.T @ x) ** 2 / size), len(x))


def debiased_cka(x: Float[np.ndarray, "token d"], y: Float[np.ndarray, "token d2"]) -> Value:
    """Linear CKA from the unbiased HSIC₁ estimator (Song et al. 2012; Nguyen et al. 2020, 2010.15327).

    At most 1; about 0, on either side, for unrelated representations.
    """
    return _alignment(unbiased_gram(x), unbiased_gram(y), len(x))


def debiased_cka_matrix(layers: list[Float[np.ndarray, "token d"]], *, seed: int) -> Matrix:
    """Debiased CKA of every pair of layers on one sample of tokens.

    Args:
        layers: The sample's vectors (token, d) in every layer, the same tokens in the same rows.
        seed: Of the sample's hash, for the method.
    """
    grams = [unbiased_gram(layer) for layer in layers]
    n = len(layers[0]) if layers else 0
    values: list[list[Value]] = [[undefined("not computed", n)] * len(grams) for _ in grams]
    for i, first in enumerate(grams):
        for j in range(i + 1):
            values[i][j] = values[j][i] = _alignment(first, grams[j], n)
    method = {
        "convention": "linear CKA from HSIC₁ (U-centred Gram matrices)",
        "source": "Kornblith et al. 2019; debiased: Nguyen et al. 2020",
        "positions": "hashed sample of ordinary positions",
        "n": n,
        "sample_seed": seed,
        "dtype": "float64",
        "centring": "mean over the sample",
    }
    return Matrix("debiased_cka", values, ("layer", "layer"), method)


def unbiased_gram(x: Float[np.ndarray, "token d"]) -> Float[np.ndarray, "token token"]:
    """The U-centred Gram matrix (Székely & Rizzo 2014): ⟨Ũ, Ṽ⟩ / (n (n − 3)) is HSIC₁. Zeros for n < 4."""
    x, n = _centred(x), len(x)
    if n < 4:
        return np.zeros((n, n))
    gram = x @ x.T
    np.fill_diagonal(gram, 0.0)
    rows = gram.sum(1)
    gram += rows.sum() / ((n - 1) * (n - 2)) - (rows[:, None] + rows[None, :]) / (n - 2)
    np.fill_diagonal(gram, 0.0)
    return gram


def _alignment(u: np.ndarray, v: np.ndarray, n: int) -> Value:
    if n < 4:
        return undefined(f"n = {n}; the estimator needs 4", n)
    size = np.sqrt(np.vdot(u, u)) * np.sqrt(np.vdot(v, v))
    return defined(float(np.vdot(u, v) / size), n) if size else undefined("all vectors are equal", n)


def _centred(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if not len(x):
        return x
    x = x - x[:1]  # exactly 0 where all vectors are equal
    return x - x.mean(0)
