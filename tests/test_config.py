from pathlib import Path

import pytest

from generator.config import RunConfig, load_run, nested_table
from generator.errors import FeaturebookError
from generator.reference import MARKER, PAGE, _tables, run_file_reference

MINIMAL = '[model]\nbase = "a/b"\nadapter = "./c"\n[corpus]\nsource = "x.jsonl"\n'
RUNS = Path(__file__).parents[1] / "generator" / "runs"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_run_file_and_hub_ids_are_left_alone(tmp_path: Path):
    config = load_run(written(tmp_path, MINIMAL))
    assert config.model.base == "a/b"
    assert config.model.adapter == str(tmp_path / "c")
    assert config.corpus.source == str(tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "maxtokens = 3\n", r"unknown key 'corpus.maxtokens'. Did you mean max_tokens"),
        (MINIMAL + "[sumarize]\nk = 3\n", r"unknown key 'sumarize'. Did you mean summarize\?"),
        (MINIMAL + "[summarize]\nk = 0\n", r"summarize.k.*greater than or equal to 1 \(got 0\)"),
        (MINIMAL + '[extract]\nbasis = "columns"\n', r"extract.basis.*'columns'"),
        ('[model]\nbase = "x"\n', r"'corpus' is missing"),
        (MINIMAL + 'text = "t"\nmessages = "m"\n', "only one of text, template and messages"),
        ('collection = "layer"\n' + MINIMAL, "none of .*layer, doc"),
        ('collection = "a/b"\n' + MINIMAL, "cannot be used"),
        (MINIMAL + '[[collections]]\nname = "sae"\n', "either train .* or path"),
        (MINIMAL + '[[collections]]\nname = "lora"\npath = "x"\n', "different names"),
        (
            MINIMAL + '[[collections]]\nname = "sae"\ntrain = {expansoin = 3}\n',
            r"expansoin'. Did you mean expansion\?",
        ),
        ("[model\n", "not valid TOML"),
    ],
)
def test_a_wrong_run_file_is_refused_with_the_value_and_the_remedy(tmp_path: Path, text: str, message: str):
    with pytest.raises(FeaturebookError, match=message):
        load_run(written(tmp_path, text))


def test_a_missing_run_file(tmp_path: Path):
    with pytest.raises(FeaturebookError, match="does not exist"):
        load_run(tmp_path / "nothing.toml")


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_run_files_are_valid(path: Path):
    assert load_run(path).name


def test_every_option_has_a_docstring_and_stands_in_the_docs():
    assert PAGE.read_text(encoding="utf-8").partition(MARKER)[2].strip() == run_file_reference().strip(), (
        "docs/run-file.md is out of date: run `python -m generator.reference`"
    )
    for table in [RunConfig, *_tables(RunConfig)]:
        for name, option in table.model_fields.items():
            assert option.description or nested_table(option.annotation), (
                f"{table.__name__}.{name} has no docstring"
            )
