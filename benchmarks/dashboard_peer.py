"""sae-dashboard's half of ``benchmarks/dashboard.py``; runs in an environment of its own and imports nothing of Featurebook.

Makes a small random model and autoencoder, keeps both and the activations that the autoencoder reads as ``peer.npz``, then
collects and writes sae-dashboard's pages. Figures go to ``peer.json``.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sae_dashboard.data_writing_fns import save_feature_centric_vis
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens.saes import StandardSAE, StandardSAEConfig
from tokenizers import Tokenizer, models
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformers import PreTrainedTokenizerFast

CONTEXT, WORDS, WIDTH, HOOK = 128, 2048, 64, "blocks.1.hook_resid_pre"


def make_model(folder: Path) -> HookedTransformer:
    """Two layers of random weights over a vocabulary of made-up words; its tokenizer is read from disk, as the library wants."""
    words = Tokenizer(models.WordLevel({"<s>": 0} | {f" w{i}": i for i in range(1, WORDS)}, unk_token="<s>"))
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="<s>", pad_token="<s>"
    ).save_pretrained(folder / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    config = HookedTransformerConfig(
        n_layers=2, d_model=WIDTH, n_ctx=CONTEXT, d_head=16, n_heads=4, d_mlp=256, act_fn="gelu_new", d_vocab=WORDS, seed=0
    )  # fmt: skip
    return HookedTransformer(config, tokenizer=tokenizer)


def make_sae(x: torch.Tensor, n_features: int, l0: int) -> StandardSAE:
    """Random unit directions, with a bias that leaves ``l0`` latents active per token."""
    sae = StandardSAE(
        StandardSAEConfig(
            d_in=WIDTH, d_sae=n_features, apply_b_dec_to_input=False, dtype="float32", device="cpu"
        )
    )
    W = torch.randn(n_features, WIDTH, generator=torch.Generator().manual_seed(1))
    W /= W.norm(dim=1, keepdim=True)
    bar = (x[:1024] @ W.T).flatten().topk(l0 * 1024).values[-1]
    with torch.no_grad():
        sae.W_enc.copy_(W.T)
        sae.W_dec.copy_(W)
        sae.b_enc.fill_(-float(bar))
        sae.b_dec.zero_()
    return sae


def main() -> None:
    """Arguments: folder, latents, tokens, active latents per token."""
    folder, n_features, n_tokens, l0 = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    torch.set_num_threads(1)
    model = make_model(folder)
    ids = np.minimum(np.random.default_rng(0).zipf(1.3, (n_tokens // CONTEXT, CONTEXT)), WORDS - 1)
    tokens = torch.from_numpy(ids)
    with torch.no_grad():
        x = torch.cat(
            [
                model.run_with_cache(part, names_filter=HOOK, stop_at_layer=2)[1][HOOK]
                for part in tokens.split(64)
            ]
        )
    x = x.flatten(0, 1)
    sae = make_sae(x, n_features, l0)
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    weights = {name: getattr(sae, name).detach().numpy().copy() for name in names}
    layers = {f"model.{name}": value.numpy() for name, value in model.state_dict().items()}
    np.savez(folder / "peer.npz", x=x.numpy(), ids=ids, **weights, **layers)
    config = SaeVisConfig(
        hook_point=HOOK, features=range(n_features), minibatch_size_features=256, minibatch_size_tokens=64,
        device="cpu", dtype="float32",
    )  # fmt: skip
    began = time.process_time()
    vis = SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)
    collected = time.process_time() - began
    began = time.process_time()
    save_feature_centric_vis(vis, folder / "peer.html")
    written = time.process_time() - began
    figures = {
        "collect": collected, "write": written,
        "bytes": (folder / "peer.html").stat().st_size,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip
    (folder / "peer.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
