"""Spreads recordings over processes that each hold one recogniser."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data.progress import Progress
from data.records import ORIGIN_MACHINE, TURNS
from data.speech.shards import read_member
from data.speech.transcripts import TranscriptTurn, roles_of
from flows.runtime.transcription_params import HearingParams

if TYPE_CHECKING:
    from models.asr.recognizer import Recognizer


SCHEMA = {**TURNS, "confidence": pl.Float64}


DIED = (
    "the process that heard it died, also when it heard nothing else. "
    "If memory ran out, give it more or cut the file."
)


@dataclass(frozen=True)
class TranscriberConfig:
    """What a process needs to transcribe.

    That is the `.nemo`, where its export is kept (None: transcribe with NeMo), and the settings.
    """

    model: Path
    exports: Path | None
    params: HearingParams


def transcribe_all(
    config: TranscriberConfig, recordings: pl.DataFrame, shards: Path, jobs: int, progress: Progress
) -> tuple[pl.DataFrame, bool]:
    """Transcribes every recording; returns the turns and whether confidence is calibrated.

    Turns have the columns of SCHEMA (data.records.TURNS and `confidence`) with origin
    ORIGIN_MACHINE, in order of contact and time. Raises as `transcribe_calls` does.
    """
    by_contact = transcribe_calls(config, recordings, shards, jobs, progress)
    rows = [
        {
            "contact_id": contact,
            "turn": number,
            "role": turn.role,
            "text": turn.text,
            "start_s": turn.start_s,
            "end_s": turn.end_s,
            "origin": ORIGIN_MACHINE,
            "confidence": turn.confidence,
        }
        for contact in sorted(by_contact)
        for number, turn in enumerate(by_contact[contact])
    ]
    return pl.DataFrame(rows, schema=SCHEMA), _calibrated(config)


def transcribe_calls(
    config: TranscriberConfig, recordings: pl.DataFrame, shards: Path, jobs: int, progress: Progress
) -> dict[str, list[TranscriptTurn]]:
    """Transcribes every recording; returns the turns of each call, with their words.

    Raises AudioError for a recording that cannot be decoded, RuntimeError for one that a process
    died of.
    """
    calls = recordings.sort("contact_id").to_dicts()
    by_contact: dict[str, list[TranscriptTurn]] = {}
    tasks = [
        (call["contact_id"], str(shards), call["shard"], call["member"], roles_of(call))
        for call in calls
    ]
    for task, turns in _spread(_transcribe_member, tasks, config, min(jobs, -(-len(tasks) // 8))):
        if turns is None:
            raise RuntimeError(f"call {task[0]}: {DIED}")
        by_contact[task[0]] = turns
        progress(len(by_contact), len(calls))
    return by_contact


_loaded: tuple[Recognizer, TranscriberConfig] | None = None


def _load_recognizer(config: TranscriberConfig) -> None:
    global _loaded
    from models.asr.load import load

    _loaded = (load(config.model, config.exports), config)


def _ready() -> tuple[Recognizer, TranscriberConfig]:
    if _loaded is None:
        raise RuntimeError("this process has loaded no recogniser. This is a fault of Keepline's.")
    return _loaded


def _transcribe_member(
    contact_id: str, shards: str, shard: str, member: str, roles: dict[int, str]
) -> list[TranscriptTurn]:
    recognizer, config = _ready()
    content = read_member(Path(shards), shard, member)
    return recognizer.transcribe_file(
        content, roles, contact_id, segmentation=config.params.segmentation
    )


def _calibrated(config: TranscriberConfig) -> bool:
    from models.asr.confidence import load_calibration

    return load_calibration(config.model) is not None


def cores() -> int:
    """Returns how many processes can run at once."""
    return len(os.sched_getaffinity(0))


@contextmanager
def _processes(config: TranscriberConfig, count: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(
        count, get_context("spawn"), initializer=_load_recognizer, initargs=(config,)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _spread(
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    config: TranscriberConfig,
    jobs: int,
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yields each task with its result, as they come.

    One job runs in this process. A task that its process dies of, alone too, has None for a result,
    and the others go on.
    """
    from models.asr.load import cached_export

    if not tasks:
        return
    # Checked once, before several processes ask.
    if config.exports and cached_export(config.model, config.exports) is None:
        config = replace(config, exports=None)
    if min(jobs, len(tasks)) <= 1:
        _load_recognizer(config)
        for task in tasks:
            yield task, function(*task)
        return
    left = []
    with _processes(config, min(jobs, len(tasks))) as pool:
        futures: dict[Future[Any], tuple[Any, ...]] = {
            pool.submit(function, *task): task for task in tasks
        }
        for future in as_completed(futures):
            # One process died and took the others' work along.
            if isinstance(future.exception(), BrokenProcessPool):
                left.append(futures[future])
            else:
                yield futures[future], future.result()
    # One at a time, to know whose fault it was and to need the least memory.
    while left:
        with _processes(config, 1) as pool:
            pool.submit(os.getpid).result()  # BrokenProcessPool here: no file is to blame
            while left:
                task = left.pop(0)
                try:
                    yield task, pool.submit(function, *task).result()
                except BrokenProcessPool:
                    yield task, None
                    break
