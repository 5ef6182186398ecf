"""Profiles in closed form, latent scaling against least squares, ablation against a rerun written out by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from generator.blocks import Corpus
from generator.config import CollectionTable, EffectsTable
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import adapter_off
from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import JumpRelu
from generator.measure.effects.alignment import NamedVectors, aligned, find_neurons
from generator.measure.effects.crosscoder import find_crosscoder
from generator.measure.effects.latents import Ablation, example_of, piece_of
from generator.measure.effects.profile import difference, profile
from generator.measure.effects.reading import PlaceReader
from generator.measure.effects.streamed import SampleTotals
from generator.measure.variants import Models
from generator.progress import Silent
from tests.measure.conftest import corpus_file, make_toy  # noqa: F401 (fixtures)
from tests.measure.toys import Toy

ONES = np.ones(4)


def test_profile_in_closed_form() -> None:
    decoder = np.zeros((3, 4, 2))
    decoder[0, :, 0] = 1  # alike at all places
    decoder[1, 2, 1] = 5  # at one
    decoder[2] = [[3, 4], [0, 5], [0.2, 0], [0, 0]]
    found = profile(decoder, ONES)
    assert found.norms[2].tolist() == pytest.approx([5, 5, 0.2, 0])
    assert found.peak[1] == 2 and found.n_active.tolist() == [4, 1, 2]
    assert found.entropy[:2].tolist() == pytest.approx([1, 0])
    p = np.array([5, 5, 0.2]) / 10.2
    assert found.entropy[2] == pytest.approx(-(p * np.log(p)).sum() / np.log(4))
    assert found.cosines[2, 0, 1] == pytest.approx(0.8) and found.cosines[2, 0, 3] == 0
    assert profile(decoder, np.array([1, 1, 1, 0.0])).relative[0].tolist() == [1, 1, 1, 1]
    assert profile(decoder, np.array([1, 10, 1, 1.0])).peak[2] == 0
    assert np.isnan(profile(np.zeros((1, 4, 2)), ONES).entropy[0])


def test_difference_of_two_models_in_closed_form() -> None:
    first = [[1, 0], [0, 0], [3, 0], [0, 1], [0, 0]]
    second = [[1, 0], [2, 0], [0, 1], [0, -3], [0, 0]]
    decoder = np.array([[a, b] for a, b in zip(first, second)], np.float64)
    found = difference(decoder, np.ones(2))
    assert found.relative_norm[:4].tolist() == pytest.approx([0.5, 1, 1 / 6, 5 / 6])
    assert np.isnan(found.relative_norm[4])
    assert found.cosine.tolist() == pytest.approx([1, 0, 0, -1, 0])
    # one unit for both models, so that their sizes change nothing
    assert difference(decoder, np.array([2.0, 7.0])).relative_norm[3] == pytest.approx(5 / 6)


def toy_dictionary(n_features: int, width: int, threshold: float = 0.5, seed: int = 3) -> Dictionary:
    random = torch.Generator().manual_seed(seed)
    W_enc = torch.randn(n_features, width, generator=random) / width**0.5
    W_dec = torch.randn(n_features, width, generator=random) * torch.rand(n_features, 1, generator=random)
    W_dec[:, : width // 2] *= torch.rand(n_features, 1, generator=random)
    b = torch.randn(width, generator=random) / 5
    return Dictionary(
        W_enc, torch.zeros(n_features), W_dec, b, JumpRelu(torch.full((n_features,), threshold))
    )


def added(dictionary: Dictionary, x: torch.Tensor, neurons: torch.Tensor, n_places: int) -> SampleTotals:
    totals = SampleTotals(dictionary, n_places, 2, neurons.shape[1], np.arange(dictionary.n_features))
    for part in torch.arange(len(x)).split(17):
        totals.add(x[part], neurons[part])
    return totals


@pytest.fixture(scope="module")
def sampled() -> tuple[Dictionary, torch.Tensor, torch.Tensor, SampleTotals]:
    random = torch.Generator().manual_seed(1)
    x, neurons = torch.randn(90, 16, generator=random), torch.randn(90, 5, generator=random)
    neurons[:, 4] = 2.5
    dictionary = toy_dictionary(12, 16)
    return dictionary, x, neurons, added(dictionary, x, neurons, 4)


def test_latent_scaling_is_least_squares(sampled: Any) -> None:
    dictionary, x, _, totals = sampled
    f = dictionary.encode(x).double().numpy()
    d = dictionary.W_dec.double().numpy().reshape(12, 2, 8)
    rebuilt = (f @ d.reshape(12, 16) + dictionary.b_dec.double().numpy()).reshape(-1, 2, 8)
    scaling = totals.scaling
    assert scaling is not None
    n_checked = 0
    for j in range(12):
        own = int(np.linalg.norm(d[j], axis=1).argmax())
        assert scaling.own[j] == own
        if not f[:, j].any():
            continue
        design = np.outer(f[:, j], d[j, own]).reshape(-1, 1)
        for model in (0, 1):
            error = (
                x.double().numpy().reshape(-1, 2, 8)[:, model]
                - rebuilt[:, model]
                + np.outer(f[:, j], d[j, model])
            )
            for name, target in (("reconstruction", rebuilt[:, model]), ("error", error)):
                wanted = np.linalg.lstsq(design, target.reshape(-1), rcond=None)[0][0]
                assert getattr(scaling, name)[j, model] == pytest.approx(wanted, rel=1e-4, abs=1e-5)
                n_checked += 1
        betas = scaling.error[j]
        assert scaling.ratio("error")[j] == pytest.approx(betas[1 - own] / betas[own])
    assert n_checked > 30


def test_error_by_place_and_correlations(sampled: Any) -> None:
    dictionary, x, neurons, totals = sampled
    rebuilt, wide = dictionary.reconstruct(x).double().numpy(), x.double().numpy()
    for place in range(4):
        own = slice(4 * place, 4 * place + 4)
        centred = wide[:, own] - wide[:, own].mean(0)
        wanted = ((wide - rebuilt)[:, own] ** 2).sum() / (centred**2).sum()
        assert totals.fvu[place] == pytest.approx(wanted, rel=1e-5)
        assert totals.sizes[place] == pytest.approx(np.sqrt((centred**2).sum() / len(x)), rel=1e-6)
    f = dictionary.encode(x).double().numpy()
    for latent in range(12):
        for neuron in range(4):
            if f[:, latent].any():
                wanted = np.corrcoef(f[:, latent], neurons[:, neuron].numpy())[0, 1]
                assert totals.correlations[latent, neuron] == pytest.approx(wanted, abs=1e-5)
    assert np.isnan(totals.correlations[:, 4]).all()


# --- with models -----------------------------------------------------------------------------------------------

POINTS = ["model.layers.*:output"]


def table_of(**options: Any) -> CollectionTable:
    return CollectionTable.model_validate(
        {"name": "cc", "kind": "crosscoder", "path": "x", "hook_points": POINTS} | options
    )


@pytest.fixture(scope="module")
def pair(make_toy: Callable[..., Toy]) -> tuple[Corpus, PlaceReader, Dictionary]:  # noqa: F811
    """Base and adapted, three layers each: six places of width 32."""
    toy = make_toy("llama")
    corpus = toy.corpus(corpus={"max_tokens": 24, "overlap": 8})
    reader = PlaceReader(table_of(models=["base", "adapted"]), Models(toy.config(), corpus, Silent()))
    dictionary = toy_dictionary(10, 192, threshold=0.0)
    return corpus, reader, replace(dictionary, W_dec=10 * dictionary.W_dec)


def by_hand(
    reader: PlaceReader, ids: torch.Tensor, model: str, layer: int, change: torch.Tensor | None
) -> torch.Tensor:
    """Log-probabilities with a change added to a layer's output, by a hook written here."""
    net = reader.models.get(model).model
    handle = None
    if change is not None:

        def hook(module: Any, args: Any, output: Any) -> Any:
            return (output[0] + change, *output[1:]) if isinstance(output, tuple) else output + change

        handle = net.get_submodule(f"model.layers.{layer}").register_forward_hook(hook)
    with torch.no_grad():
        if model == "base":
            with adapter_off(net):
                found = net(input_ids=ids).logits
        else:
            found = net(input_ids=ids).logits
    if handle:
        handle.remove()
    return found[0].float().log_softmax(-1)


@pytest.mark.parametrize("place", [1, 5])
def test_ablation_is_a_rerun(pair: tuple[Corpus, PlaceReader, Dictionary], place: int) -> None:
    corpus, reader, dictionary = pair
    peak = int(corpus.pieces[2, 1]) + 3
    piece = piece_of(corpus, peak)
    assert piece.measured <= peak < piece.stop
    ids = torch.from_numpy(corpus.token_ids[piece.start : piece.stop].astype(np.int64))[None]
    x = reader.read({"input_ids": ids})[0][0]
    z = dictionary.encode(x) * torch.from_numpy(corpus.is_measured[piece.start : piece.stop])[:, None]
    model, layer = (["base"] * 3 + ["adapted"] * 3)[place], place % 3
    before = by_hand(reader, ids, model, layer, None)
    found = list(Ablation(reader, dictionary, corpus).of(piece, [(f, place) for f in range(10)]))
    assert {one.latent for one in found} == {f for f in range(10) if z[:, f].any()} and len(found) > 4
    for one in found:
        change = -z[:, one.latent, None] * dictionary.W_dec[one.latent, place * 32 : place * 32 + 32]
        after = by_hand(reader, ids, model, layer, change)
        assert torch.allclose(one.after, after, atol=2e-4) and torch.allclose(one.before, before, atol=2e-4)
        for t in range(len(ids[0])):
            token = piece.start + t
            is_last = token + 1 == corpus.n_tokens or corpus.doc[token + 1] != corpus.doc[token]
            if is_last:
                assert np.isnan(one.change[t])
            else:
                true = int(corpus.token_ids[token + 1])
                assert one.change[t] == pytest.approx(float(after[t, true] - before[t, true]), abs=3e-4)


def test_a_cut_text_gives_the_same_effects(pair: tuple[Corpus, PlaceReader, Dictionary]) -> None:
    corpus, reader, dictionary = pair
    piece = piece_of(corpus, int(corpus.pieces[0, 1]) + 2)
    ablation = Ablation(reader, dictionary, corpus)
    whole = {a.latent: a for a in ablation.of(piece, [(f, 4) for f in range(10)])}
    for cut in ablation.of(piece, [(f, 4) for f in range(10)], stop=piece.start + 6):
        np.testing.assert_allclose(cut.change, whole[cut.latent].change[:6], atol=2e-4)


def test_places_are_found_by_name(pair: tuple[Corpus, PlaceReader, Dictionary]) -> None:
    reader = pair[1]
    for name in ("model.layers.1:output", "layers.1", "blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"):
        assert reader.find(f"adapted {name}") == (4 if "pre" not in name else None)
        assert reader.find(name) == (1 if "pre" not in name else None)
    with pytest.raises(FeaturebookError, match=r"no module 'model\.layers\.9'"):
        reader.find("model.layers.9:output")
    with pytest.raises(FeaturebookError, match="stands for 3 places"):
        reader.find("layers.*")


def moved_by_hand(
    net: Any, ids: torch.Tensor, path: str, side: str, change: torch.Tensor | None
) -> torch.Tensor:
    """Log-probabilities with a change added to what a module gets or returns, by hooks written here."""

    def before(module: Any, args: Any, kwargs: Any) -> Any:
        if args:
            return (args[0] + change, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": kwargs["hidden_states"] + change}

    def after(module: Any, args: Any, output: Any) -> Any:
        return (output[0] + change, *output[1:]) if isinstance(output, tuple) else output + change

    module, handle = net.get_submodule(path), None
    if change is not None and side == "input":
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    elif change is not None:
        handle = module.register_forward_hook(after)
    with torch.no_grad():
        found = net(input_ids=ids).logits
    if handle:
        handle.remove()
    return found[0].float().log_softmax(-1)


@pytest.mark.parametrize(
    ("family", "point", "path", "side"),
    [
        ("gpt2", "blocks.1.hook_mlp_out", "transformer.h.1.mlp", "output"),
        ("gpt_neox", "blocks.1.hook_attn_out", "gpt_neox.layers.1.attention", "output"),
        ("gemma2", "blocks.1.hook_mlp_out", "model.layers.1.post_feedforward_layernorm", "output"),
        ("qwen2", "blocks.2.hook_resid_pre", "model.layers.2", "input"),
    ],
)
def test_ablation_is_a_rerun_in_other_families(
    family: str,
    point: str,
    path: str,
    side: str,
    make_toy: Callable[..., Toy],  # noqa: F811
) -> None:
    toy = make_toy(family)
    corpus = toy.corpus()
    table = table_of(kind="sae", hook_points=[point], models=["adapted"])
    reader = PlaceReader(table, Models(toy.config(), corpus, Silent()))
    (place,) = reader.places
    dictionary = toy_dictionary(10, place.point.width, threshold=0.0)
    dictionary = replace(dictionary, W_dec=5 * dictionary.W_dec)
    longest = int((corpus.pieces[:, 2] - corpus.pieces[:, 1]).argmax())
    piece = piece_of(corpus, int(corpus.pieces[longest, 1]))
    ids = torch.from_numpy(corpus.token_ids[piece.start : piece.stop].astype(np.int64))[None]
    net = reader.models.get("adapted").model
    kept = torch.from_numpy(corpus.is_measured[piece.start : piece.stop])[:, None]
    z = dictionary.encode(reader.read({"input_ids": ids})[0][0]) * kept
    before = moved_by_hand(net, ids, path, side, None)
    found = list(Ablation(reader, dictionary, corpus).of(piece, [(f, 0) for f in range(10)]))
    assert {one.latent for one in found} == {f for f in range(10) if z[:, f].any()} and len(found) > 2
    for one in found:
        after = moved_by_hand(net, ids, path, side, -z[:, one.latent, None] * dictionary.W_dec[one.latent])
        assert (after - before).abs().max() > 1e-3
        torch.testing.assert_close(one.after, after, rtol=0, atol=3e-4)
        torch.testing.assert_close(one.before, before, rtol=0, atol=3e-4)


def test_every_shown_token_tells_what_moves_most_there(pair: tuple[Corpus, PlaceReader, Dictionary]) -> None:
    corpus, reader, dictionary = pair
    peak = int(corpus.pieces[2, 1]) + 3
    piece = piece_of(corpus, peak)
    window = slice(piece.measured, piece.stop)
    n_told = 0
    for one in Ablation(reader, dictionary, corpus).of(piece, [(f, 1) for f in range(10)]):
        shown = example_of(corpus, one, piece, int(corpus.doc[peak]), peak, window)
        rows = slice(piece.measured - piece.start, None)
        shift = (one.after[rows].exp() - one.before[rows].exp()).numpy()
        assert [told["at"] for told in shown["moved"]] == np.flatnonzero(
            np.abs(shift).max(1) >= 1e-3
        ).tolist()
        for told in shown["moved"]:
            own = shift[told["at"]]
            for side, sign in (("up", 1), ("down", -1)):
                order = np.argsort(-sign * own, kind="stable")[:4]
                wanted = [t for t in order.tolist() if sign * own[t] >= 1e-4]
                assert [token for token, _, _ in told[side]] == wanted
                for token, was, becomes in told[side]:
                    assert becomes - was == pytest.approx(own[token], abs=2e-3)
            n_told += 1
    assert n_told > 5


def test_findings_of_every_latent(pair: tuple[Corpus, PlaceReader, Dictionary]) -> None:
    corpus, reader, dictionary = pair
    ids = [f"cc/{f}" for f in range(10)]
    others = NamedVectors(["lora/L0/o_proj", "sae/1"], ["write", "write"], torch.randn(2, 32))
    found = find_crosscoder(reader, dictionary, corpus, ids, others, EffectsTable(), [], Silent())
    decoder = dictionary.W_dec.view(10, 6, 32)
    neurons = find_neurons(reader.models.get("adapted").model, torch.device("cpu"))
    assert neurons is not None and len(neurons.layers) == 3 * 48
    assert [place["model"] for place in found.facts["places"]] == ["base"] * 3 + ["adapted"] * 3
    for f, identifier in enumerate(ids):
        value = found.values[identifier]
        assert value["norms"] == pytest.approx(decoder[f].norm(dim=1).tolist(), rel=1e-3)
        for place in range(6):
            top = value["logits"][place]["top"]
            assert len(top) == 5 and top[0][1] >= top[1][1]
            listed = value["neurons"][place]
            assert all(layer <= place % 3 for layer, _, _ in listed)
            layer, number, cosine = listed[0]
            down = reader.models.get("base").model.get_submodule(f"model.layers.{layer}.mlp.down_proj")
            column = getattr(down, "base_layer", down).weight[:, number]
            wanted = torch.nn.functional.cosine_similarity(column, decoder[f, place], dim=0)
            assert cosine == pytest.approx(float(wanted), abs=2e-3)
            own = torch.nn.functional.cosine_similarity(others.vectors, decoder[f, place][None])
            assert value["channels"][place][0][2] == pytest.approx(float(own[own.abs().argmax()]), abs=2e-3)
        assert set(value["scaling"]) == {"own", "reconstruction", "error"} and len(value["cosines"]) == 15


def test_the_most_aligned_are_the_most_aligned() -> None:
    random = torch.Generator().manual_seed(0)
    decoder, writes = torch.randn(7, 6, generator=random), torch.randn(40, 6, generator=random)
    indices, cosines = aligned(decoder, writes, 3)
    for f in range(7):
        own = torch.nn.functional.cosine_similarity(decoder[f][None], writes)
        assert indices[f].tolist() == own.abs().argsort(descending=True)[:3].tolist()
        assert cosines[f] == pytest.approx(own[indices[f]].numpy(), abs=1e-5)
