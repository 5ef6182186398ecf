"""The bytes that each vocabulary entry stands for, so that tokens can be joined to readable text."""

import json
import re
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE_MARK = "▁"  # SentencePiece's U+2581


@cache
def byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes (``bytes_to_unicode`` of openai/gpt-2 ``encoder.py``): "Ġ" -> 32."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def tokenizer_kind(tokenizer: Any) -> str:
    """How the tokenizer writes bytes: ``byte-level``, ``sentencepiece``, ``wordpiece``, ``word-end`` or ``plain``."""
    types = _component_types(tokenizer)
    if "ByteLevel" in types or hasattr(tokenizer, "byte_decoder"):
        return "byte-level"
    if "WordPiece" in types:
        return "wordpiece"
    if types & {"Metaspace", "ByteFallback"} or "Unigram" in types:
        return "sentencepiece"
    if "BPEDecoder" in types:
        return "word-end"
    if any(_SPACE_MARK in str(token) for token in list(tokenizer.get_vocab())[:2000]):
        return "sentencepiece"
    return "plain"


def _component_types(tokenizer: Any) -> set[str]:
    """The types of the decoder, pre-tokenizer and model of a fast tokenizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        return set()
    whole = json.loads(backend.to_str())
    types: set[str] = set()

    def collect(part: Any) -> None:
        if isinstance(part, dict):
            types.add(str(part.get("type")))
            for value in part.values():
                if isinstance(value, dict | list):
                    collect(value)
        elif isinstance(part, list):
            for value in part:
                collect(value)

    collect(whole.get("decoder"))
    collect(whole.get("pre_tokenizer"))
    types.add(str((whole.get("model") or {}).get("type")))
    return types


def token_bytes(tokenizer: Any) -> list[bytes]:
    """The bytes of every vocabulary entry, by id; empty for an id without a token.

    Joined in order they give the text (WordPiece: up to the spacing of punctuation, which it does not keep).
    """
    kind = tokenizer_kind(tokenizer)
    added = {int(i): str(token) for i, token in tokenizer.added_tokens_decoder.items()}
    entries: dict[int, Any] = {int(i): token for token, i in tokenizer.get_vocab().items()} | added
    size = max([len(tokenizer) - 1, *entries]) + 1
    return [_entry_bytes(entries.get(i), kind, is_literal=i in added) for i in range(size)]


def _entry_bytes(token: Any, kind: str, *, is_literal: bool) -> bytes:
    if token is None:
        return b""
    if isinstance(token, bytes):  # tiktoken-like vocabularies hold bytes already
        return token
    if is_literal:
        return token.encode("utf-8", "replace")
    if kind == "byte-level":
        alphabet = byte_alphabet()
        if all(character in alphabet for character in token):
            return bytes(alphabet[character] for character in token)
        return token.encode("utf-8", "replace")
    if kind == "sentencepiece":
        if match := _BYTE_TOKEN.fullmatch(token):
            return bytes([int(match[1], 16)])
        return token.replace(_SPACE_MARK, " ").encode("utf-8", "replace")
    if kind == "wordpiece":
        return (token[2:] if token.startswith("##") else f" {token}").encode("utf-8", "replace")
    if kind == "word-end":
        return token.replace("</w>", " ").encode("utf-8", "replace")
    return token.encode("utf-8", "replace")


def special_tokens(tokenizer: Any, size: int) -> Bool[np.ndarray, " vocabulary"]:
    """Which of ``size`` vocabulary entries are special tokens (BOS, EOS, padding, chat markers, …)."""
    special = {int(i) for i in tokenizer.all_special_ids}
    special |= {int(i) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    mask = np.zeros(size, bool)
    mask[[i for i in special if 0 <= i < size]] = True
    return mask
