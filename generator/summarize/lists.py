"""Many short ranked lists of tokens with their windows: what top, bottom and sampled examples are kept in."""

import numpy as np
from jaxtyping import Float32, Int, Int64

from generator.summarize.entries import Entries
from generator.summarize.view import Scope, View

EMPTY = np.iinfo(np.int64).min
"""Key of a place that is not taken."""

TOKEN_LIMIT = 2**32
"""A key has 32 bits for the token."""


def make_keys(rank: Int[np.ndarray, " n"], token: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """One integer per entry: a larger 32-bit ``rank`` (signed) is better, among equal ones the earlier token."""
    return (rank.astype(np.int64) << 32) | (TOKEN_LIMIT - 1 - token)


def rank_of(key: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """The rank in a key."""
    return key >> 32


def token_of(key: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """The global token index in a key."""
    return TOKEN_LIMIT - 1 - (key & (TOKEN_LIMIT - 1))


def places(group: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """0, 1, 2, … within each run of equal entries."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))


class BestLists:
    """For each of ``n_lists`` lists the ``length`` entries with the largest keys, and their windows.

    Args:
        scope: The run.
        per_channel: Lists of each channel; list ``l`` belongs to channel ``l // per_channel``.
        length: Entries of a list.
    """

    def __init__(self, scope: Scope, per_channel: int, length: int) -> None:
        self.scope, self.per_channel = scope, per_channel
        n_lists = scope.n_channels * per_channel
        self.keys = np.full((n_lists, length), EMPTY, np.int64)  # descending
        self.slots = np.full(
            (n_lists, length), -1, np.int64
        )  # row of the window in the pool; −1: not captured
        self.pool: list[np.ndarray] = []
        self.pool_size = 0

    @property
    def worst(self) -> Int64[np.ndarray, " list"]:
        """The key that a new entry of each list must exceed."""
        if not self.keys.shape[1]:
            return np.full(len(self.keys), np.iinfo(np.int64).max)
        return self.keys[:, -1]

    def offer(self, lists: Int[np.ndarray, " n"], keys: Int64[np.ndarray, " n"]) -> None:
        """Enters what is good enough. Windows are captured later, of what is still in the lists then."""
        length = self.keys.shape[1]
        if not len(lists) or not length:
            return
        order = by_list(lists, keys)
        lists, keys = lists[order], keys[order]
        place = places(lists)
        kept = place < length
        lists, keys, place = lists[kept], keys[kept], place[kept]
        is_first = place == 0
        touched, row = lists[is_first], np.cumsum(is_first) - 1
        fresh = np.full((len(touched), int(place.max()) + 1), EMPTY, np.int64)
        fresh[row, place] = keys
        self._merge_rows(touched, fresh, np.full(fresh.shape, -1, np.int64))

    def capture(self, view: View | Entries) -> None:
        """Captures the windows of entries that came from this block."""
        new = np.flatnonzero((self.slots < 0) & (self.keys != EMPTY))
        if not len(new):
            return
        channel = new // (self.keys.shape[1] * self.per_channel)
        windows = view.windows(token_of(self.keys.ravel()[new]), channel)
        self.slots.ravel()[new] = self.pool_size + np.arange(len(new))
        self.pool.append(windows)
        self.pool_size += len(new)
        if self.pool_size > 2 * np.count_nonzero(self.slots >= 0) + 4096:
            self.compact()

    def merge(self, other: "BestLists") -> None:
        """Takes in another accumulator's lists."""
        other.compact()
        rows = np.flatnonzero((other.keys != EMPTY).any(axis=1))
        slots = np.where(other.slots[rows] >= 0, other.slots[rows] + self.pool_size, -1)
        self.pool.extend(other.pool)
        self.pool_size += other.pool_size
        self._merge_rows(rows, other.keys[rows], slots)
        self.compact()

    def compact(self) -> None:
        """Drops the windows of entries that have fallen out of the lists; the pool is then in the order of the lists."""
        width = 2 * self.scope.settings.context + 1
        is_used = self.slots >= 0
        pool = np.concatenate([np.zeros((0, width), np.float32), *self.pool])[self.slots[is_used]]
        self.pool, self.pool_size = [pool], len(pool)
        self.slots[is_used] = np.arange(self.pool_size)

    def entries(self) -> tuple[np.ndarray, np.ndarray, Float32[np.ndarray, "n window"]]:
        """List, key and window of every entry, by list and place."""
        self.compact()
        lists, place = np.nonzero(self.keys != EMPTY)
        return lists, self.keys[lists, place], self.pool[0]

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on: entries only, so empty lists cost nothing on disk."""
        lists, keys, windows = self.entries()
        return {"list": lists, "key": keys, "window": windows}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        lists = state["list"]
        place = places(lists)
        self.keys[lists, place] = state["key"]
        self.slots[lists, place] = np.arange(len(lists))
        self.pool, self.pool_size = [state["window"]], len(lists)

    def _merge_rows(self, rows: np.ndarray, keys: np.ndarray, slots: np.ndarray) -> None:
        length = self.keys.shape[1]
        keys = np.concatenate([self.keys[rows], keys], axis=1)
        slots = np.concatenate([self.slots[rows], slots], axis=1)
        order = np.argsort(keys, axis=1)[:, ::-1]
        order = order[:, :length]
        self.keys[rows] = np.take_along_axis(keys, order, axis=1)
        slots = np.take_along_axis(slots, order, axis=1)
        self.slots[rows] = np.where(self.keys[rows] == EMPTY, -1, slots)


def by_list(lists: Int[np.ndarray, " n"], keys: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The order by list, then from the largest key.

    List and rank fit one integer, whose sort is vectorised; the few of equal rank are put in order afterwards.
    """
    if len(lists) and int(lists.max()) >= 1 << 31:
        return np.lexsort((-keys, lists))
    both = (lists.astype(np.int64) << 32) | (2**31 - 1 - rank_of(keys))
    order = np.argsort(both)
    ranked = both[order]
    is_tied = np.append(False, ranked[1:] == ranked[:-1])
    if is_tied.any():
        tied = np.flatnonzero(is_tied | np.append(is_tied[1:], False))
        some = order[tied]
        order[tied] = some[np.lexsort((-keys[some], lists[some]))]
    return order
