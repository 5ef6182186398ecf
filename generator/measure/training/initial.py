"""How the weights begin."""

import torch

from generator.measure.training.settings import TrainSettings
from generator.measure.training.step import Weights


def initial_weights(
    width: int, n_features: int, settings: TrainSettings, device: torch.device, n_places: int = 1
) -> Weights:
    """Weights before the first step: uniform noise, the decoder being the encoder's transpose.

    The bound is that of ``torch.nn.init.kaiming_uniform_(…, nonlinearity="relu")`` on a (d_in, feature) array, as the
    rank-1 project has it. Directions of training rows were tried instead and made the first thousand steps far worse:
    rows are alike, so that their sum overshoots (docs/training.md).

    Args:
        width: Inputs.
        n_features: Latents.
        settings: ``decoder`` and ``seed`` count.
        device: Where the weights live; the noise is made on the CPU, so that it is the same anywhere.
        n_places: Equal parts of the input. A crosscoder often has fewer latents than inputs, whose long rows overshoot; its
            bound is that of eight latents for each input.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    bound = (6 / (n_features if n_places == 1 else max(n_features, 8 * width))) ** 0.5
    W = (torch.rand(n_features, width, generator=generator) * 2 - 1) * bound
    if settings.decoder == "unit":
        W = W / W.norm(dim=1, keepdim=True).clamp(min=1e-12)
    W = W.to(device)
    zeros = torch.zeros(n_features, device=device)
    return Weights(W.clone(), zeros, W.clone(), torch.zeros(width, device=device), n_places)
