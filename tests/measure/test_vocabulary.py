"""Bytes of vocabulary entries, for the four ways in which tokenizers write them."""

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from generator.measure.vocabulary import byte_alphabet, special_tokens, token_bytes, tokenizer_kind
from tests.measure.toys import TEXTS, toy_tokenizer


def fast(model: Any, **parts: Any) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[U]")


def test_byte_alphabet_is_gpt2s() -> None:
    alphabet = byte_alphabet()
    assert sorted(alphabet.values()) == list(range(256))
    assert (alphabet["Ġ"], alphabet["Ċ"], alphabet["ĉ"], alphabet["A"]) == (32, 10, 9, 65)


@pytest.mark.parametrize("text", TEXTS)
def test_byte_level_bytes_join_to_the_text(text: str) -> None:
    tokenizer = toy_tokenizer()
    table = token_bytes(tokenizer)
    assert tokenizer_kind(tokenizer) == "byte-level" and len(table) == len(tokenizer)
    assert b"".join(table[i] for i in tokenizer(text)["input_ids"]).decode() == text


def test_sentencepiece_with_byte_fallback() -> None:
    vocabulary = {"[U]": 0, "▁": 1, "a": 2, "▁a": 3, "<0xE2>": 4, "<0x82>": 5, "<0xAC>": 6}
    model = models.BPE(vocab=vocabulary, merges=[("▁", "a")], byte_fallback=True, unk_token="[U]")
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = fast(model, decoder=decoder, normalizer=normalizers.Replace(" ", "▁"))
    assert tokenizer_kind(tokenizer) == "sentencepiece"
    table = token_bytes(tokenizer)
    ids = tokenizer("a a€")["input_ids"]
    assert b"".join(table[i] for i in ids).decode() == "a a€"


def test_wordpiece_and_word_end() -> None:
    piece = fast(
        models.WordPiece({"[U]": 0, "play": 1, "##ing": 2}, unk_token="[U]"), decoder=decoders.WordPiece()
    )
    assert token_bytes(piece) == [b"[U]", b" play", b"ing"]
    end = fast(models.BPE({"[U]": 0, "a": 1, "b</w>": 2}, []), decoder=decoders.BPEDecoder("</w>"))
    assert token_bytes(end) == [b"[U]", b"a", b"b "]


def test_bytes_vocabulary_and_gaps() -> None:
    """A tiktoken-like tokenizer hands out bytes; ids without a token are empty."""

    class Tiktoken:
        def __init__(self) -> None:
            self.added_tokens_decoder: dict[int, Any] = {}
            self.all_special_ids = [3, 900]

        def get_vocab(self) -> dict[bytes, int]:
            return {b"\xe2\x82": 0, b"\xac": 1, b"x": 3}

        def __len__(self) -> int:
            return 4

    assert token_bytes(Tiktoken()) == [b"\xe2\x82", b"\xac", b"", b"x"]
    assert special_tokens(Tiktoken(), 4).tolist() == [False, False, False, True]


def test_decoder_is_what_counts_for_added_tokens() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.add_tokens(["Ġliteral"])
    assert token_bytes(tokenizer)[-1] == "Ġliteral".encode()
    assert pre_tokenizers.ByteLevel.alphabet()
