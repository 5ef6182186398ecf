"""What the first process does when another one speaks, fails or dies. Equal results: ``test_extract.py``."""

import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Any

import pytest

from generator.errors import FeaturebookError
from generator.measure.workers import _listen
from generator.progress import Silent


def say(connection: Connection, messages: list[tuple[str, Any]], status: int) -> None:
    """A worker's last words."""
    for message in messages:
        connection.send(message)
    os._exit(status)


def listen_to(messages: list[tuple[str, Any]], status: int = 0) -> tuple[Silent, dict[Connection, Any]]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=say, args=(theirs, messages, status), name="worker 1")
    process.start()
    theirs.close()
    workers, progress = {ours: process}, Silent()
    try:
        while workers:
            _listen(workers, progress, timeout=None)
    finally:
        process.join()
    return progress, workers


def test_progress_and_notes_are_passed_on() -> None:
    progress, workers = listen_to([("advance", 5), ("note", "half"), ("advance", 2), ("done", None)])
    assert (progress.done, progress.notes, workers) == (7, ["half"], {})


def test_a_workers_error_is_ours() -> None:
    with pytest.raises(FeaturebookError, match="disk is full"):
        listen_to([("advance", 5), ("error", "The disk is full.")], status=1)


def test_a_worker_that_dies_is_an_error_that_says_what_is_kept() -> None:
    with pytest.raises(FeaturebookError, match=r"worker 1 ended with status 7 .*Finished chunks are kept"):
        listen_to([("advance", 5)], status=7)
