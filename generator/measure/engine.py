"""Runs pieces of text through the model and hands back what the sites recorded."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from generator.errors import FeaturebookError
from generator.measure.batches import (
    ATTENTION,
    LADDER,
    Batch,
    Layout,
    Piece,
    form_batches,
    is_out_of_memory,
    register_attention,
    set_packed,
    smaller,
)
from generator.measure.lora import Recorder, Site
from generator.progress import Progress

FULL_TOLERANCE = 1e-4
"""Largest distance, relative to the activations' norm, between a layout and documents run one by one in float32."""
HALF_TOLERANCE = 0.1
"""The same in bfloat16 and float16, whose own rounding is about 1 % (docs/extraction.md); a leak is of order 1."""


@dataclass(frozen=True)
class Recorded:
    """What a run over some pieces gave, one row per kept token."""

    values: Float[np.ndarray, "token channel"]
    """float32."""
    norms: Float[np.ndarray, " token"] | None
    """Norm of the hidden state at the middle layer, when it was asked for."""


class Engine:
    """A model with our LoRA forward installed, in the layout that was proved for it."""

    def __init__(
        self,
        model: nn.Module,
        *,
        sites: Sequence[Site],
        recorder: Recorder,
        n_channels: int,
        device: torch.device,
        batch_tokens: int,
        middle: nn.Module | None,
        uses_head: bool,
        progress: Progress,
        forward: Callable[..., Any] | None = None,
    ) -> None:
        """Nothing runs yet; the layout is ``single``, which is right for every model.

        Args:
            model: transformers' model.
            sites: Installed sites.
            recorder: Where they write.
            n_channels: Width of the channel table.
            device: Where token ids go.
            batch_tokens: Tokens of a forward pass.
            middle: Layer at whose input hidden states' norms are read; None when outliers are not excluded.
            uses_head: Whether the whole model must run because the adapter reaches outside its body.
            progress: Is told when memory runs out.
            forward: What takes the inputs in place of the model, for instance one that runs it twice.
        """
        self.model, self.sites, self.recorder = model, sites, recorder
        self.n_channels, self.device, self.batch_tokens = n_channels, device, batch_tokens
        self.progress = progress
        self.layout: Layout = "single"
        self.body = model if uses_head else body_of(model)
        self.pad_id = _pad_id(model)
        self._accepts = set(inspect.signature(self.body.forward).parameters)
        self._forward_with = forward or self.body
        self._norms: Tensor | None = None
        self._hooks = (
            [] if middle is None else [middle.register_forward_pre_hook(self._read_norms, with_kwargs=True)]
        )
        self._own_attention = str(getattr(model.config, "_attn_implementation", "") or "")

    def run(self, pieces: Sequence[Piece], *, n_rows: int, layout: Layout | None = None) -> Recorded:
        """Values of all kept tokens of the pieces.

        Args:
            pieces: What to run; their rows must tile ``range(n_rows)``.
            n_rows: Rows of the result.
            layout: Another layout than the proved one (for proofs).

        Raises:
            FeaturebookError: memory does not suffice for a single piece.
        """
        values = np.empty((n_rows, self.n_channels), np.float32)
        norms = np.zeros(n_rows, np.float32)
        todo = list(pieces)
        while todo:
            for batch in form_batches(todo, self.batch_tokens, layout or self.layout):
                try:
                    scalars = self._forward(batch)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    self._recover(batch)
                    break
                sources, targets = batch.kept()
                values[targets] = scalars.cpu().numpy()[sources]
                if self._norms is not None:
                    norms[targets] = self._norms.cpu().numpy()[sources]
                done = {id(piece) for piece in batch.pieces}
                todo = [piece for piece in todo if id(piece) not in done]
        return Recorded(values, norms if self._norms is not None else None)

    def _forward(self, batch: Batch) -> Float[Tensor, "token channel"]:
        inputs = batch.inputs(self.device, self.pad_id)
        values = torch.zeros(inputs["input_ids"].numel(), self.n_channels, device=self.device)
        self.recorder.values = values
        set_packed(batch if batch.layout == "packed" else None)
        try:
            with torch.inference_mode():
                self.call(**inputs)
        finally:
            self.recorder.values = None
            set_packed(None)
            for site in self.sites:
                site.release()
        return values

    def call(self, **inputs: Tensor) -> Any:
        """The bare forward pass: no cache (it would switch packing off), no head unless it is adapted."""
        options = {"use_cache": False} if "use_cache" in self._accepts else {}
        return self._forward_with(**inputs, **options)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """In the block the model has its own attention, for passes that are not the engine's."""
        is_packed = self.layout == "packed"
        if is_packed:
            _set_attention(self.model, self._own_attention)
        try:
            yield
        finally:
            if is_packed:
                _set_attention(self.model, ATTENTION)

    def close(self) -> None:
        """Leaves the model as it was: its own attention, no hooks."""
        for hook in self._hooks:
            hook.remove()
        if self.layout == "packed":
            _set_attention(self.model, self._own_attention)

    def _recover(self, batch: Batch) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        before, self.batch_tokens = self.batch_tokens, smaller(batch, self.batch_tokens)
        self.progress.note(f"out of memory at batch_tokens = {before}: going on with {self.batch_tokens}")

    def _read_norms(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        self._norms = torch.linalg.vector_norm(hidden.detach().float(), dim=-1).flatten()

    def prove_layout(self, pieces: Sequence[Piece], wanted: str, *, window: int | None, longest: int) -> str:
        """Chooses the first layout that gives what documents alone give, and in which none sees another.

        Args:
            pieces: A few short documents of different length.
            wanted: ``auto``, ``packed`` or ``sorted``.
            window: The model's sliding window, if any.
            longest: Tokens of the longest piece that will be run.

        Returns:
            A sentence on what was chosen and why.

        Raises:
            FeaturebookError: ``packed`` was demanded and does not hold.
        """
        n_rows = sum(len(p.token_ids) - p.n_context for p in pieces)
        own = self._own_attention
        truth = self.run(pieces, n_rows=n_rows, layout="single").values
        reasons: list[str] = []
        for layout in LADDER if wanted != "sorted" else LADDER[1:]:
            reason = self._refuse(layout, pieces, truth, own=own, window=window, longest=longest)
            if not reason:
                self.layout = layout
                return f"{layout}: equal to documents run one by one" + (
                    f" ({'; '.join(reasons)})" if reasons else ""
                )
            reasons.append(f"{layout} refused: {reason}")
            if layout == "packed":
                _set_attention(self.model, own)
            if wanted == "packed":
                raise FeaturebookError(
                    f'extract.packing = "packed" does not hold for this model: {reason}. Set it to "auto".'
                )
        self.layout = "single"
        return "single: " + "; ".join(reasons)

    def _refuse(
        self,
        layout: Layout,
        pieces: Sequence[Piece],
        truth: np.ndarray,
        *,
        own: str,
        window: int | None,
        longest: int,
    ) -> str:
        """Why a layout must not be used; empty when it holds."""
        if layout == "single":
            return ""
        if layout == "packed" and (reason := self._prepare_packing(own, window, longest)):
            return reason
        try:
            got = self.run(pieces, n_rows=len(truth), layout=layout).values
            leak = self._leak(layout, pieces, got)
        except FeaturebookError:
            raise
        except Exception as error:  # a model that cannot take position_ids, a mask, our attention …
            return f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"
        tolerance = FULL_TOLERANCE if next(self.model.parameters()).dtype == torch.float32 else HALF_TOLERANCE
        distance = relative_distance(got, truth)
        if not max(distance, leak) <= tolerance:
            return f"values differ by {distance:.2g}, and by {leak:.2g} with what stands beside them"
        return ""

    def _prepare_packing(self, own: str, window: int | None, longest: int) -> str:
        if window is not None and longest > window:
            return f"documents of {longest} tokens exceed the sliding window of {window}"
        if "position_ids" not in self._accepts:
            return "the model takes no position_ids"
        if own.startswith("flash_attention"):
            return ""  # finds the documents in position_ids by itself
        if own != "sdpa":
            return f"attention is {own!r}"
        register_attention()
        return _set_attention(self.model, ATTENTION)

    def _leak(self, layout: Layout, pieces: Sequence[Piece], got: np.ndarray) -> float:
        """How much the even documents' values change when the odd ones (and the padding) hold other tokens."""
        rotated = [
            p if i % 2 == 0 else Piece(np.roll(p.token_ids, 1)[::-1].copy(), p.n_context, p.row)
            for i, p in enumerate(pieces)
        ]
        pad, self.pad_id = self.pad_id, int(pieces[0].token_ids[-1]) if layout == "padded" else self.pad_id
        try:
            other = self.run(rotated, n_rows=len(got), layout=layout).values
        finally:
            self.pad_id = pad
        rows = np.concatenate([np.arange(p.row, p.row + len(p.token_ids) - p.n_context) for p in pieces[::2]])
        return relative_distance(other[rows], got[rows])


def relative_distance(
    got: Float[np.ndarray, "token channel"], truth: Float[np.ndarray, "token channel"]
) -> float:
    """‖got − truth‖ / ‖truth‖ of the channel where it is largest, over tokens where both are finite; NaN counts as 0."""
    both = np.isfinite(got) & np.isfinite(truth)
    got, truth = np.where(both, got, 0).astype(np.float64), np.where(both, truth, 0).astype(np.float64)
    size = np.sqrt((truth**2).sum(0))
    distance = np.sqrt(((got - truth) ** 2).sum(0))
    floor = 1e-6 * size.max(initial=0) + 1e-30
    return float((distance / (size + floor)).max(initial=0))


def body_of(model: nn.Module) -> nn.Module:
    """The model without its head, where nobody needs logits."""
    body = getattr(model, "base_model", None)
    return body if isinstance(body, nn.Module) else model


def _set_attention(model: Any, name: str) -> str:
    """Switches the attention kernel; the reason when the model does not allow it."""
    try:
        model.set_attn_implementation(name)
    except Exception as error:  # ValueError or ImportError, by the model's own code
        return f"attention cannot be set: {str(error).splitlines()[0][:100]}"
    return "" if model.config._attn_implementation == name else "the model has an attention of its own"


def _pad_id(model: Any) -> int:
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    return int(pad) if isinstance(pad, int) and pad >= 0 else 0


def sliding_window(config: Any) -> int | None:
    """The shortest span beyond which some layer of the model does not look back, None when all look at everything."""
    text = config.get_text_config()
    spans = [
        getattr(text, name, None)
        for name in ("sliding_window", "attention_chunk_size", "local_attention", "window_size")
    ]
    if getattr(text, "use_sliding_window", True) is False:
        spans[0] = None
    kinds = getattr(text, "layer_types", None)
    if kinds and all(kind == "full_attention" for kind in kinds):
        return None
    known = [int(span) for span in spans if isinstance(span, int) and span > 0]
    return min(known, default=None)
