"""Several processes of one machine over the same chunk files, one per GPU."""

import multiprocessing
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import torch

from generator.blocks import ChunkSink, Corpus
from generator.config import RunConfig
from generator.errors import FeaturebookError
from generator.measure.extract import Extractor, _one_gpu_each, open_extractor, write_chunk
from generator.progress import Progress


@dataclass(frozen=True)
class Task:
    """All that a worker needs; it is sent to the new process."""

    config: RunConfig
    corpus: Corpus
    sink: ChunkSink
    key: str
    chunks: Sequence[tuple[int, int]]
    device: str | None
    reference_rms: np.ndarray
    n_threads: int
    """The same in every process: the number of threads may change the last bit of a matrix product."""


class _Wire:
    """Progress of a worker, sent to the first process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def advance(self, n: int = 1) -> None:
        self._connection.send(("advance", n))

    def note(self, message: str) -> None:
        self._connection.send(("note", message))


def share(
    config: RunConfig,
    corpus: Corpus,
    sink: ChunkSink,
    key: str,
    missing: Sequence[slice],
    extractor: Extractor,
    n_workers: int,
    progress: Progress,
) -> None:
    """Writes all missing chunks: this process takes every ``n_workers``-th, the others are started for the rest.

    Raises:
        FeaturebookError: a worker failed or was killed; finished chunks are kept.
    """
    has_gpus = _one_gpu_each(config, n_workers)
    rms = np.array([channel.reference_rms for channel in extractor.channels])
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, Any] = {}
    try:
        for i in range(1, n_workers):
            ours, theirs = context.Pipe(duplex=False)
            task = Task(
                config,
                corpus,
                sink,
                key,
                [(c.start, c.stop) for c in missing[i::n_workers]],
                f"cuda:{i}" if has_gpus else None,
                rms,
                torch.get_num_threads(),
            )
            process = context.Process(target=work, args=(task, theirs), daemon=True, name=f"worker {i}")
            process.start()
            theirs.close()
            workers[ours] = process
        for chunk in missing[::n_workers]:
            write_chunk(extractor, sink, chunk, key)
            progress.advance(chunk.stop - chunk.start)
            _listen(workers, progress, timeout=0.0)
        while workers:
            _listen(workers, progress, timeout=None)
    finally:
        for process in workers.values():
            process.terminate()
            process.join()


def _listen(workers: dict[Connection, Any], progress: Progress, timeout: float | None) -> None:
    """Passes on what the workers sent; a worker that is done leaves the table."""
    for connection in wait(list(workers), timeout):
        assert isinstance(connection, Connection)
        try:
            kind, value = connection.recv()
        except EOFError:
            kind, value = "died", None
        if kind == "advance":
            progress.advance(value)
        elif kind == "note":
            progress.note(value)
        elif kind == "error":
            raise FeaturebookError(value)
        else:
            process = workers.pop(connection)
            process.join()
            if kind == "died":
                raise FeaturebookError(
                    f"{process.name} ended with status {process.exitcode} before its work was done"
                    f"{' (killed, often for want of memory)' if (process.exitcode or 0) < 0 else ''}. Finished chunks are kept: run "
                    "the same command again, with fewer workers if memory is short."
                )


def work(task: Task, connection: Connection) -> None:
    """The life of a worker process."""
    torch.set_num_threads(task.n_threads)
    progress = _Wire(connection)
    try:
        extractor = open_extractor(
            task.config, task.corpus, _Muted(), task.device, reference_rms=task.reference_rms
        )
        for start, stop in task.chunks:
            write_chunk(extractor, task.sink, slice(start, stop), task.key)
            progress.advance(stop - start)
        connection.send(("done", None))
    except FeaturebookError as error:
        connection.send(("error", str(error)))
    except BrokenPipeError:  # the first process is gone: what is written stays, nobody waits for more
        return
    except Exception:
        connection.send(("error", f"A worker failed:\n{traceback.format_exc()}"))


class _Muted:
    """The first process has said already what there is to say about the model."""

    def advance(self, n: int = 1) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""
