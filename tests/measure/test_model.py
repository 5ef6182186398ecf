"""What can be wrong with a model or an adapter: one clear message each, before anything is computed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from generator.config import ModelTable
from generator.errors import FeaturebookError
from generator.measure.checkpoints import find_adapter, read_header
from generator.measure.model import choose_device, load_model, read_blueprint
from generator.progress import Silent
from tests.measure.toys import Toy, save_adapter

Copy = Callable[..., Toy]


@pytest.fixture
def copy(make_toy: Callable[..., Toy], tmp_path: Path) -> Copy:
    """A toy of one's own, to be damaged."""

    def run(family: str = "qwen2", **adapter: Any) -> Toy:
        toy = make_toy(family, **adapter)
        base = Path(shutil.copytree(toy.base, tmp_path / "model"))
        return Toy(base, Path(shutil.copytree(toy.adapter, tmp_path / "adapter")), toy.corpus_file)

    return run


def load(toy: Toy, **model: Any) -> Any:
    return load_model(toy.config(model=model).model, Silent())


def edit_config(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_adapter_for_another_size_names_module_and_both_shapes(
    copy: Copy, make_toy: Callable[..., Toy]
) -> None:
    other = make_toy("qwen2", changes={"hidden_size": 64})
    toy = copy()
    toy.adapter = other.adapter
    with pytest.raises(
        FeaturebookError,
        match=r"does not fit the model at 'model\.layers\.0\.self_attn\.q_proj': its lora_A\.weight has shape \(1, 64\), the "
        r"module's weight \(32, 32\)",
    ):
        load(toy)


def test_an_adapter_for_another_architecture_names_the_nearest_module(
    copy: Copy, make_toy: Callable[..., Toy]
) -> None:
    toy = copy()
    toy.adapter = make_toy("gpt2").adapter
    with pytest.raises(FeaturebookError, match=r"adapts 'transformer\.h\.\d\..*', which .* does not have"):
        load(toy)


@pytest.mark.parametrize("what", ["model/model.safetensors", "adapter/adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["cut short", "not safetensors", "missing"])
def test_damaged_weights(what: str, damage: str, copy: Copy, tmp_path: Path) -> None:
    toy, path = copy(), tmp_path / what
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-100] if damage == "cut short" else b"<html>not found</html>" * 10)
    wanted = (
        "holds no weights|no adapter_model.safetensors"
        if damage == "missing"
        else "is not a whole safetensors file"
    )
    with pytest.raises(FeaturebookError, match=wanted):
        load(toy)


def test_an_interrupted_download_lacks_a_shard(copy: Copy) -> None:
    toy = copy()
    index = {
        "metadata": {},
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    }
    (toy.base / "model.safetensors").rename(toy.base / "model-00001-of-00002.safetensors")
    (toy.base / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FeaturebookError, match=r"model-00002-of-00002\.safetensors is missing"):
        load(toy)


def test_a_checkpoint_without_a_layers_weight(copy: Copy) -> None:
    toy = copy()
    tensors = load_file(toy.base / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, toy.base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        FeaturebookError,
        match=r"lacks 1 weights of its layers, 'model\.layers\.1\.mlp\.up_proj\.weight' first",
    ):
        load(toy)


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("model/model.safetensors", "model.layers.1.mlp.up_proj.weight"),
        ("adapter/adapter_model.safetensors", "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"),
    ],
)
def test_weights_that_are_not_numbers(file: str, key: str, copy: Copy, tmp_path: Path) -> None:
    toy = copy()
    tensors = load_file(tmp_path / file)
    tensors[key][0, 0] = float("nan")
    save_file(tensors, tmp_path / file, metadata={"format": "pt"})
    with pytest.raises(FeaturebookError, match=r"The weight '.*up_proj.*' holds NaN or infinite values"):
        load(toy)


def test_paths_that_lead_nowhere(copy: Copy, tmp_path: Path, monkeypatch: Any) -> None:
    toy = copy()
    (tmp_path / "empty").mkdir()
    for model, message in (
        ({"base": str(tmp_path / "no")}, r"model\.base = .* does not exist"),
        ({"base": str(tmp_path / "empty")}, r"has no config\.json"),
        ({"adapter": str(tmp_path / "no")}, r"model\.adapter = .* does not exist"),
        ({"adapter": str(tmp_path / "empty")}, r"holds no adapter_config\.json"),
        ({"attn_implementation": "flash"}, r"attn_implementation = 'flash' is unknown"),
        ({"device": "gpu"}, "is no device"),
    ):
        with pytest.raises(FeaturebookError, match=message):
            load(toy, **model)


def test_a_hub_that_cannot_be_reached(copy: Copy, monkeypatch: Any) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    toy = copy()
    with pytest.raises(
        FeaturebookError, match=r"The base model 'some/model' cannot be loaded: .*interrupted"
    ):
        load(toy, base="some/model")
    with pytest.raises(
        FeaturebookError, match=r"The adapter 'some/adapter' .* cannot be fetched from the hub"
    ):
        load(toy, adapter="some/adapter")


def test_code_that_comes_with_a_model_is_neither_run_nor_asked_about(copy: Copy) -> None:
    toy = copy()
    marker = toy.base / "ran"
    (toy.base / "code.py").write_text(
        f"open({str(marker)!r}, 'w')\nfrom transformers import Qwen2Config as Mine\n"
    )
    edit_config(toy.base, "config.json", auto_map={"AutoConfig": "code.Mine"}, model_type="unheard_of")
    with pytest.raises(FeaturebookError, match="trust_remote_code = true only if you have read it"):
        load(toy)
    assert not marker.exists()


def test_a_pickled_adapter_is_read_without_running_its_code(copy: Copy, tmp_path: Path) -> None:
    toy = copy()
    weights = toy.adapter / "adapter_model.safetensors"
    torch.save(load_file(weights), toy.adapter / "adapter_model.bin")
    weights.unlink()
    assert load(toy).adapter_name == "default"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"a": Evil()}, toy.adapter / "adapter_model.bin")
    with pytest.raises(FeaturebookError, match="cannot be read without running code from it"):
        load(toy)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "VERA"}, "is a VERA adapter; only LoRA"),
        ({"peft_type": "IA3"}, "is a IA3 adapter"),
        ({"peft_type": "LOHA"}, "is a LOHA adapter"),
        ({"target_parameters": ["experts.up"]}, "uses target_parameters: it adapts parameters of no module"),
        ({"use_qalora": True}, "uses use_qalora"),
        ({"alora_invocation_tokens": [1]}, "uses alora_invocation_tokens"),
        ({"layer_replication": [[0, 2]]}, "uses layer_replication"),
    ],
)
def test_variants_are_refused_with_the_reason(changes: dict[str, Any], message: str, copy: Copy) -> None:
    toy = copy()
    edit_config(toy.adapter, "adapter_config.json", **changes)
    with pytest.raises(FeaturebookError, match=message):
        load(toy)


def test_an_adapter_whose_configuration_promises_more(copy: Copy) -> None:
    toy = copy(target_modules=["q_proj"])
    edit_config(toy.adapter, "adapter_config.json", target_modules=["q_proj", "v_proj"])
    with pytest.raises(
        FeaturebookError, match=r"adapts 3 modules for which its weights hold nothing, .*v_proj' first"
    ):
        load(toy)


def test_several_adapters_in_one_folder(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    for seed, name in enumerate(("first", "second")):
        save_adapter(tmp_path, toy.base, "qwen2", name=name, seed=seed + 5)
    toy = Toy(toy.base, tmp_path, toy.corpus_file)
    with pytest.raises(
        FeaturebookError,
        match=r"several adapters \(first, second\)\. Say which: model\.adapter_name = \"first\"",
    ):
        load(toy)
    with pytest.raises(FeaturebookError, match=r"holds no adapter 'secnd'\. Did you mean second"):
        load(toy, adapter_name="secnd")
    weights = load_file(tmp_path / "second" / "adapter_model.safetensors")
    loaded = load(toy, adapter_name="second")
    layer = loaded.model.get_submodule("model.layers.0.mlp.up_proj")
    wanted = weights["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"]
    assert torch.equal(layer.lora_A["second"].weight, wanted)


def test_modules_to_save_are_used(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    base = make_toy("qwen2").base
    save_adapter(tmp_path, base, "qwen2", target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    weights = load_file(tmp_path / "adapter_model.safetensors")
    key = next(key for key in weights if "embed_tokens" in key)
    weights[key] += 1
    save_file(weights, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    model = load(Toy(base, tmp_path, tmp_path)).model
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(model.model.embed_tokens(ids)[0], weights[key][ids[0]])


def test_a_classification_head_sets_the_labels(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    base = make_toy("bert").base
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=5)
    get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["query", "dense"])).save_pretrained(
        tmp_path
    )
    toy = Toy(base, tmp_path, make_toy("bert").corpus_file)
    assert load(toy).model.config.num_labels == 5
    from generator.measure.extract import open_extractor

    progress = Silent()
    extractor = open_extractor(toy.config(extract={"calibration_documents": 1}), toy.corpus(), progress)
    assert any(
        "bert.pooler.dense does not read one vector per token: applied, but not measured" in n
        for n in progress.notes
    )
    assert all("pooler" not in channel.id for channel in extractor.channels)


def test_headers_and_shapes_without_weights(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2", r=3)
    blueprint = read_blueprint(toy.config().model)
    assert all(p.is_meta for p in blueprint.empty.parameters())
    modules = find_adapter(toy.config().model).modules()
    assert modules["model.layers.2.mlp.down_proj"]["lora_A.weight"].shape == (3, 48)
    assert (
        read_header(toy.adapter / "adapter_model.safetensors").keys()
        == load_file(toy.adapter / "adapter_model.safetensors").keys()
    )


def test_device_of_this_machine() -> None:
    table = ModelTable(base="b", adapter="a")
    assert choose_device(table).type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(FeaturebookError, match="this machine has no such device"):
            choose_device(table, "cuda:1")
