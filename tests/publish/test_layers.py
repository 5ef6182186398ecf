"""Layer shards."""

import dataclasses

import numpy as np

from generator.blocks import Corpus
from generator.publish import layers
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.toy import toy_config


def test_modules_stand_in_the_order_that_readers_know(publication: Publication) -> None:
    names = [entry["module"] for entry in publication.shard("layer/1")["modules"]]
    assert names == ["gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"]
    q_proj = publication.shard("layer/1")["modules"][3]
    assert [channel["rank_index"] for channel in q_proj["channels"]] == [0, 1, 2]
    assert q_proj["n_channels"] == 3


def test_other_modules_keep_the_order_of_the_table(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    names = {"q_proj": "attn.c_attn", "o_proj": "attn.c_proj", "gate_proj": "mlp.c_fc"}
    channels = [dataclasses.replace(c, module=names.get(c.module, c.module)) for c in summary.channels]
    shard = publish_to_memory(
        toy_config(channels=["lora/L0/*"]), corpus, dataclasses.replace(summary, channels=channels)
    ).shard("layer/0")
    order = ["up_proj", "down_proj", "k_proj", "v_proj", "attn.c_attn", "attn.c_proj", "mlp.c_fc"]
    assert [entry["module"] for entry in shard["modules"]] == order


def test_a_channel_says_the_same_as_on_its_own_page(publication: Publication) -> None:
    shard = publication.shard("layer/0")
    for entry in shard["modules"]:
        for channel in entry["channels"]:
            own = publication.shard(channel["id"])
            for field in ("stats", "histogram", "scale", "write", "is_signed", "rank_index"):
                assert channel[field] == own[field]
            for side in ("top", "bottom"):
                whole = [e for e in own["examples"] if e["group"] == side][: layers.EXAMPLES_PER_SIDE]
                assert [_spelled(e, shard) for e in channel[side]] == [_spelled(e, own) for e in whole]


def _spelled(example: dict, shard: dict) -> dict:
    return {**example, "text": [shard["tokens"][i] for i in example["text"]]}


def test_cosines_are_the_summarys_and_only_of_this_layer(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    _, summary = run
    index = {channel.id: i for i, channel in enumerate(summary.channels)}
    shard = publication.shard("layer/1")
    assert {matrix["space"] for matrix in shard["cosines"]} == {"residual", "L1.mlp"}
    for matrix in shard["cosines"]:
        whole = next(m for m in summary.cosines if m.space == matrix["space"])
        rows = [whole.members.index((index[m["id"]], m["side"])) for m in matrix["members"]]
        assert all(summary.channels[whole.members[row][0]].layer == 1 for row in rows)
        np.testing.assert_allclose(matrix["values"], whole.values[np.ix_(rows, rows)], atol=5.1e-4)


def test_layers_follow_one_another(publication: Publication) -> None:
    first, second = publication.shard("layer/0"), publication.shard("layer/1")
    assert (first["previous"], first["next"]) == (None, "layer/1")
    assert (second["previous"], second["next"]) == ("layer/0", None)


def test_a_wide_module_is_cut_and_says_so(run: tuple[Corpus, Summary], monkeypatch) -> None:
    monkeypatch.setattr(layers, "CHANNELS_PER_MODULE", 2)
    monkeypatch.setattr(layers, "LARGEST_MATRIX", 3)
    monkeypatch.setattr("generator.publish.pages.CHANNELS_PER_MODULE", 2)
    publication = publish_to_memory(toy_config(), *run)
    shard = publication.shard("layer/1")
    assert len(publication.front_matter("layer/1")["layer"]["channels"]) == 8
    q_proj = next(entry for entry in shard["modules"] if entry["module"] == "q_proj")
    assert q_proj["n_channels"] == 3 and len(q_proj["channels"]) == 2
    assert max(len(matrix["members"]) for matrix in shard["cosines"]) == 3


def test_a_model_without_numbered_layers_is_published(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    channels = [dataclasses.replace(c, layer=-1) for c in summary.channels]
    publication = publish_to_memory(toy_config(), corpus, dataclasses.replace(summary, channels=channels))
    assert publication.facts["n_layers"] == 0 and publication.facts["n_channels"] == len(channels)
    assert publication.front_matter("layers")["layers"] == []
    assert len(publication.front_matter("layers")["outside"]) == sum(c.kind == "lora" for c in channels)
    assert publication.shard("home")["grid"]["cells"] == []
    assert publication.front_matter("lora/L0/gate_proj")["channel"]["layer_page"] is None
