"""Display text: split characters, broken bytes, windows that begin anywhere."""

import doctest

import numpy as np
import pytest

from generator.publish import tokens
from generator.publish.tokens import StringTable, TokenTexts, join_bytes
from tests.toy import FAMILY


def test_docstrings_are_true() -> None:
    assert doctest.testmod(tokens).failed == 0


@pytest.mark.parametrize(
    ("character", "n_pieces"),
    [(character, n) for character in "é你👍𝄞" for n in range(2, len(character.encode()) + 1)],
)
def test_a_character_split_over_tokens_is_shown_once(character: str, n_pieces: int) -> None:
    encoded = character.encode()
    pieces = [encoded[i : i + 1] for i in range(n_pieces - 1)] + [encoded[n_pieces - 1 :]]
    assert join_bytes([b"a", *pieces, b"b"]) == ["a", character, *[""] * (n_pieces - 1), "b"]


def test_a_token_between_two_split_characters_joins_both() -> None:
    a, b = "é".encode(), "你".encode()
    assert join_bytes([a[:1], a[1:] + b"x" + b[:2], b[2:] + b"y"]) == ["éx你y", "", ""]


def test_a_window_that_begins_inside_a_character_shows_bytes() -> None:
    encoded = "👍".encode()
    assert join_bytes([encoded[2:], b" ok"]) == ["\\x91\\x8d", " ok"]
    assert join_bytes([b"ok ", encoded[:3]]) == ["ok ", "\\xf0\\x9f\\x91"]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"\xff"],
        [b"\xc3", b"x"],
        [b"\xe4\xbd", b"\xe4\xbd\xa0"],
        [b"\xed\xa0\x80"],  # a surrogate, which UTF-8 does not have
        [b"\xc0\xaf"],  # an overlong form
        [b"\xf4\x90\x80\x80"],  # beyond the last code point
        [b"", b"a", b""],
        [],
    ],
)
def test_no_byte_is_lost_and_none_is_invented(pieces: list[bytes]) -> None:
    texts = join_bytes(pieces)
    assert len(texts) == len(pieces)
    back = "".join(texts).encode()
    for value in range(128, 256):
        back = back.replace(f"\\x{value:02x}".encode(), bytes([value]))
    assert back == b"".join(pieces)


def test_an_emoji_of_several_characters_keeps_them_all() -> None:
    texts = join_bytes([bytes([b]) for b in FAMILY])
    assert "".join(texts) == FAMILY.decode()
    assert [text for text in texts if text] == list(FAMILY.decode())


def test_every_cut_of_a_text_gives_the_text_back() -> None:
    encoded = "a né 你👍\u202e\u200b<b>".encode()
    random = np.random.default_rng(0)
    for _ in range(200):
        cuts = np.sort(random.integers(0, len(encoded) + 1, 6)).tolist()
        pieces = [encoded[i:j] for i, j in zip([0, *cuts], [*cuts, len(encoded)])]
        assert "".join(join_bytes(pieces)) == encoded.decode()


@pytest.fixture
def texts() -> TokenTexts:
    a, b = "👍".encode()[:2], "👍".encode()[2:]
    return TokenTexts([b"<s>", b"<s>", a, b, b" x", b"\xff"], np.array([True, *[False] * 5]))


def _shown(table: StringTable, ids: list[int], offsets: list[int]) -> list[str]:
    return [table.strings[i] for i in table.indices(np.array(ids), np.array(offsets)).tolist()]


def test_the_table_joins_within_a_window_and_never_across(texts: TokenTexts) -> None:
    table = StringTable(texts)
    assert _shown(table, [4, 2, 3, 4], [0, 4]) == [" x", "👍", "", " x"]
    assert _shown(table, [4, 2, 3, 4], [0, 2, 4]) == [" x", "\\xf0\\x9f", "\\x91\\x8d", " x"]


def test_a_special_token_is_not_the_plain_text_that_looks_like_it(texts: TokenTexts) -> None:
    table = StringTable(texts)
    indices = table.indices(np.array([0, 1, 0]), np.array([0, 3])).tolist()
    assert indices[0] == indices[2] != indices[1]
    assert table.strings[indices[0]] == table.strings[indices[1]] == "<s>"
    assert table.special == [indices[0]]


def test_the_table_holds_nothing_that_is_not_shown(texts: TokenTexts) -> None:
    table = StringTable(texts)
    table.indices(np.array([2, 3, 4]), np.array([0, 3]))
    assert sorted(zip(table.strings, table.token_ids)) == [("", 3), (" x", 4), ("👍", 2)]


def test_many_windows_equal_each_window_alone() -> None:
    random = np.random.default_rng(1)
    encoded = "é👍你a".encode()
    texts = TokenTexts([bytes([b]) for b in encoded], np.zeros(len(encoded), np.bool_))
    ids = random.integers(0, len(encoded), 400)
    offsets = np.array([0, *np.sort(random.integers(0, 400, 20)).tolist(), 400])
    together = _shown(StringTable(texts), ids.tolist(), offsets.tolist())
    for start, stop in zip(offsets.tolist(), offsets[1:].tolist()):
        assert together[start:stop] == join_bytes([encoded[i : i + 1] for i in ids[start:stop].tolist()])
