"""Text that hides nothing."""

import doctest

import pytest

from generator.publish import visible as module
from generator.publish.visible import chipped, plain, visible, without_surrogates
from tests.toy import FAMILY


def test_docstrings_are_true() -> None:
    assert doctest.testmod(module).failed == 0


def test_lone_surrogates_are_replaced_and_pairs_kept() -> None:
    assert without_surrogates("a\ud800b👍") == "a\ufffdb👍"


def test_plain_text_is_one_line_and_hides_nothing() -> None:
    assert plain("a\u202eb\u200bc\x07d\ue000\x7f\ufeff\u2028\ud800") == "abcd\ue000\ufffd"
    assert plain("x\n\ty\r") == "x↵→y↵"
    assert plain("مرحبا 你好 é") == "مرحبا 你好 é"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("zero\u200bwidth", "zero[ZWSP]width"),
        ("\u202eevil\u202c", "[RLO]evil[PDF]"),
        ("\x07", "[BEL]"),
        ("\r\n", "[CR]↵"),
        ("\x85", "[U+0085]"),
        ("\U000e0041", "[U+E0041]"),
        (FAMILY.decode(), FAMILY.decode()),
        ("a\u200db", "a[ZWJ]b"),
        ("\u0600", "\u0600"),
        ("  ", "␣␣"),
        ("    return ", "␣␣␣␣return␣"),
        ("<b>", "<b>"),
        ("\u0e34", "◌\u0e34"),
        ("\u0301e", "◌\u0301e"),
        ("e\u0301", "e\u0301"),
        ("\u034f", "[CGJ]"),
    ],
)
def test_what_is_unseen_has_a_name(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_quoted_token_keeps_its_spaces() -> None:
    assert chipped(" wait ") == " wait "
