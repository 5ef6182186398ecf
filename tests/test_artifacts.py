import errno
from pathlib import Path

import pytest

from generator.artifacts import (
    Artifact,
    MemoryWriter,
    Writer,
    atomic_path,
    content_key,
    file_key,
    path_key,
    read_json,
    to_json,
)
from generator.errors import FeaturebookError, nearest


def test_key_does_not_depend_on_the_order_of_keys():
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


def test_json_is_sorted_and_has_no_nan():
    assert to_json({"b": float("nan"), "a": [float("inf"), 1.5]}) == b'{"a":[null,1.5],"b":null}\n'


def test_an_error_inside_atomic_path_leaves_the_old_file_and_no_leftovers(tmp_path: Path):
    target = tmp_path / "x.bin"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half of the new")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    assert target.read_bytes() == b"old"


def test_a_full_disk_is_one_clear_message(tmp_path: Path):
    message = r"disk is full.*x\.bin.*same command again"
    with pytest.raises(FeaturebookError, match=message), atomic_path(tmp_path / "x.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_device_that_is_really_full_is_recognised():
    """/dev/full refuses every write as a full disk does."""
    from generator.artifacts import is_disk_full

    with pytest.raises(OSError) as caught, open("/dev/full", "wb") as file:
        file.write(b"x" * 100_000)
    assert is_disk_full(caught.value)


def test_an_artifact_is_done_only_with_its_own_key(tmp_path: Path):
    artifact = Artifact(tmp_path / "stage", "k1")
    assert not artifact.is_done()
    artifact.begin()
    assert not artifact.is_done()
    artifact.finish(tokens=3)
    assert artifact.is_done()
    assert artifact.manifest() == {"key": "k1", "tokens": 3}
    assert not Artifact(tmp_path / "stage", "k2").is_done()
    artifact.begin()
    assert not artifact.is_done(), "a stage that began anew and was killed must not count as done"


def test_a_broken_manifest_counts_as_not_done(tmp_path: Path):
    (tmp_path / "manifest.json").write_text("{")
    assert not Artifact(tmp_path, "k").is_done()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ""])
def test_a_writer_stays_in_its_folder(tmp_path: Path, path: str):
    with pytest.raises(FeaturebookError, match="outside"):
        Writer(tmp_path / "out").write(path, b"x")


def test_a_writer_leaves_equal_files_alone(tmp_path: Path):
    writer = Writer(tmp_path)
    writer.write("a/b.json", b"1")
    before = (tmp_path / "a/b.json").stat().st_mtime_ns
    Writer(tmp_path).write("a/b.json", b"1")
    assert (tmp_path / "a/b.json").stat().st_mtime_ns == before
    memory = MemoryWriter()
    memory.write("a", b"2")
    assert memory.files == {"a": b"2"}


def test_path_key_follows_content_not_place(tmp_path: Path):
    for folder in ("one", "two"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "config.json").write_text("{}")
        (tmp_path / folder / "model.safetensors").write_bytes(b"w" + folder.encode())
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert path_key(one, weights=False) == path_key(two, weights=False)
    assert path_key(one) != path_key(two)
    assert path_key("someone/hub-id") == "someone/hub-id"
    assert len(path_key(str(tmp_path / "*" / "sub" / "*.json"))) == 2


def test_a_large_file_is_keyed_by_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("generator.artifacts.SAMPLED_ABOVE", 2**20)
    path = tmp_path / "large"
    content = bytearray(3 * 2**20)
    path.write_bytes(content)
    before = file_key(path)
    content[-1] = 1
    path.write_bytes(content)
    assert file_key(path) != before


def test_missing_json_names_the_file(tmp_path: Path):
    with pytest.raises(FeaturebookError, match=r"nothing\.json is missing"):
        read_json(tmp_path / "nothing.json")


def test_nearest_names():
    assert nearest("gate_prj", ["gate_proj", "q_proj", "x"]) == "Did you mean gate_proj?"
    assert nearest("zzz", ["a", "b"]) == "Known: a, b."
    assert nearest("zzz", []) == "There are none."
