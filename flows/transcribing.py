"""Hears recordings in several processes: the calls of a store, or any files, each written whole and never twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.markup import escape

from data.audio import SAMPLE_RATE_HZ, SUFFIXES, blocks, probe, resample, to_wav_bytes
from data.files import write_text
from data.progress import Progress
from data.records import TURNS
from data.speech.shards import read_member
from data.speech.transcripts import (
    HeardCall,
    HeardTurn,
    from_json,
    roles_of,
    to_ctm,
    to_json,
    to_lhotse,
    to_nemo,
    to_vtt,
)
from evaluation.experience.conversation import SIDES, ConversationParams, Span, measure
from models.asr.call_pieces import pieces
from models.asr.segments import Segment, Segmentation

if TYPE_CHECKING:
    from flows.runtime.context import RunContext
    from models.asr.recognizer import Recognizer


class FilesFailedError(RuntimeError):
    """Some of many files could not be heard."""


HEARD = {**TURNS, "confidence": pl.Float64}
SHORT_S = 0.5  # about what a word takes, with a margin around it
DIED = (
    "the process that heard it died, also when it heard nothing else. "
    "If memory ran out, give it more or cut the file."
)
FORMATS: dict[
    str, tuple[str, Callable[[HeardCall], str] | None]
] = {  # suffix, and what makes it of the call alone
    "vtt": (".vtt", to_vtt),
    "ctm": (".ctm", to_ctm),
    "lhotse": (".cuts.jsonl", to_lhotse),
    "nemo": (".nemo.jsonl", None),
    "json": (".json", to_json),
}


@dataclass(frozen=True)
class HearingParams:
    """How calls are taken apart and what is measured of them."""

    segmentation: Segmentation = field(
        default_factory=Segmentation
    )  # how speech is told from the rest
    conversation: ConversationParams = field(
        default_factory=ConversationParams
    )  # what counts as hold, interruption …


@dataclass(frozen=True)
class Ears:
    """What a process needs to hear: the `.nemo`, where its export is kept (None: hear with NeMo), and the settings."""

    model: Path
    exports: Path | None
    params: HearingParams


def hear_all(
    ears: Ears, recordings: pl.DataFrame, shards: Path, jobs: int, progress: Progress
) -> tuple[pl.DataFrame, bool]:
    """Every recording as turns (schema TURNS with origin asr, and `confidence`), in order of contact and time.

    Also whether confidence is calibrated. Raises AudioError for a recording that cannot be decoded, RuntimeError for
    one that a process died of.
    """
    calls = recordings.sort("contact_id").to_dicts()
    heard: dict[str, list[HeardTurn]] = {}
    tasks = [
        (call["contact_id"], str(shards), call["shard"], call["member"], roles_of(call))
        for call in calls
    ]
    for task, turns in _spread(_hear_member, tasks, ears, min(jobs, -(-len(tasks) // 8))):
        if turns is None:
            raise RuntimeError(f"call {task[0]}: {DIED}")
        heard[task[0]] = turns
        progress(len(heard), len(calls))
    rows = [
        {
            "contact_id": contact,
            "turn": number,
            "role": turn.role,
            "text": turn.text,
            "start_s": turn.start_s,
            "end_s": turn.end_s,
            "origin": "asr",
            "confidence": turn.confidence,
        }
        for contact in sorted(heard)
        for number, turn in enumerate(heard[contact])
    ]
    return pl.DataFrame(rows, schema=HEARD), _calibrated(ears)


@dataclass(frozen=True)
class Order:
    """One file to hear: where it lies, where its transcripts go (without suffix), and who is on which channel."""

    audio: Path
    out: Path
    name: str
    formats: tuple[str, ...]
    channels: tuple[str, ...]
    stamp: str  # of model and settings: what it was heard with


@dataclass(frozen=True)
class Outcome:
    """What became of an order: done, kept (it was there already) or failed. `says` is the reason, or a remark."""

    order: Order
    state: str
    says: str = ""
    audio_s: float = 0.0
    words: int = 0


def orders(
    source: Path, out: Path, formats: Sequence[str], channels: Sequence[str], ears: Ears
) -> list[Order]:
    """An order for the file `source`, or for each audio file below it, longest first.

    Raises ValueError for a format nobody knows, roles that are not distinct, or where there is nothing to hear.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise ValueError(
            f"--format {unknown[0] if unknown else ''}: not known. Formats: {', '.join(FORMATS)}."
        )
    if not channels or len(set(channels)) != len(channels) or not all(channels):
        raise ValueError(
            f"--channels {','.join(channels)}: name each channel once, such as customer,agent."
        )
    if source.is_dir():
        found = sorted(
            path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not found:
            raise ValueError(f"{source}: no recording in it. Looked for {', '.join(SUFFIXES)}.")
    elif source.is_file():
        found = [source]
    else:
        raise ValueError(
            f"{source}: no such file or folder. Name a recording, or a folder of them."
        )
    root = source if source.is_dir() else source.parent
    stems = [path.relative_to(root).with_suffix("") for path in found]
    count, stamp = Counter(stems), stamp_of(ears)
    made = []
    for path, stem in zip(found, stems, strict=True):
        # Two files that differ in their suffix only keep it, so that neither writes over the other.
        place = path.relative_to(root) if count[stem] > 1 else stem
        made.append(
            Order(path, out / place, place.as_posix(), tuple(formats), tuple(channels), stamp)
        )
    return sorted(made, key=lambda order: -order.audio.stat().st_size)


def stamp_of(ears: Ears) -> str:
    """Names what decides the words: the model, what lies beside it for decoding and calibration, the settings."""
    from data.files import file_sha256
    from models.asr import confidence, decoding

    beside = [ears.model.parent / name for name in (confidence.FILE, *decoding.FILES)]
    known = {
        "model": file_sha256(ears.model),
        "settings": asdict(ears.params),
        "beside": {path.name: file_sha256(path) for path in beside if path.is_file()},
    }
    return hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=8).hexdigest()


def transcribe_files(ears: Ears, wanted: Sequence[Order], jobs: int) -> Iterator[Outcome]:
    """Hears what is not there yet; an outcome for each order as it is reached. A file that fails stops no other."""
    waiting = []
    for order in wanted:
        kept = _kept(order)
        if kept and all(path.exists() for path in _written(order)):
            yield Outcome(order, "kept", _remark(order, kept), kept.duration_s)
        else:
            waiting.append(order)
    for (order,), outcome in _spread(_hear_file, [(order,) for order in waiting], ears, jobs):
        yield outcome or Outcome(order, "failed", f"{order.audio}: {DIED}")


def transcribe(
    console: Console,
    source: Path,
    out: Path,
    formats: str,
    model: str | None,
    channels: str,
    jobs: int | None,
    store: Path | None,
) -> None:
    """`keepline transcribe`. Raises FilesFailedError in the end when a file could not be heard; the rest is done."""
    from flows.runtime.context import load_context
    from flows.runtime.progress import bar

    context = load_context(store)
    ears = Ears(_model(context, model), context.path("exports"), context.params.hearing)
    wanted = orders(source, out, _listed(formats), _listed(channels), ears)
    outcomes: list[Outcome] = []
    with bar(console, f"hearing {len(wanted)} recordings") as progress:
        for outcome in transcribe_files(ears, wanted, jobs or cores()):
            outcomes.append(outcome)
            progress(len(outcomes), len(wanted))
            if outcome.says:
                mark = "[red]✗[/]" if outcome.state == "failed" else "[yellow]![/]"
                console.print(f"{mark} {escape(outcome.says)}", highlight=False, soft_wrap=True)
    count = Counter(outcome.state for outcome in outcomes)
    hours = sum(outcome.audio_s for outcome in outcomes) / 3600
    words = sum(outcome.words for outcome in outcomes)
    console.print(
        f"{out}: {count['done']} heard ({words} words), {count['kept']} kept from before, {hours:.2f} h of "
        f"audio, {count['failed']} failed"
    )
    if not _calibrated(ears):
        console.print(
            "confidence is uncalibrated: it is the network's own score. Train on transcribed calls first."
        )
    if count["failed"]:
        raise FilesFailedError(
            f"{count['failed']} of {len(wanted)} recordings could not be heard; the rest is done."
        )


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",")]


def _model(context: RunContext, name: str | None) -> Path:
    """The `.nemo` a person means: a path, a bundle's folder, `base`, or an alias of the registry (asr@champion too)."""
    from flows import hearing
    from models.registry.bundle import verify_bundle

    path = Path(name) if name else None
    if path and path.is_dir():
        return verify_bundle(path).path / "model.nemo"
    if path and (path.is_file() or path.suffix == ".nemo"):
        return path
    base = hearing.base_of(context.params.asr.base, context.path("asr"))
    known = context.path("registry").exists()  # asking a store that never was would make one
    if name == "base" or (name is None and not known):
        return base
    alias = (name or "champion").removeprefix("asr@")
    version = context.registry().alias("asr", alias) if known else None
    if version is not None:
        return (
            context.registry().fetch("asr", version, context.path("reference")).path / "model.nemo"
        )
    if name is None:
        return base
    raise ValueError(
        f"--model {name}: no such file, and no model has that alias. Name a .nemo, a bundle or `base`."
    )


# --- in the processes that hear ---

_hearing: tuple[Recognizer, Ears] | None = None


def _begin(ears: Ears) -> None:
    global _hearing
    from models.asr.load import load

    _hearing = (load(ears.model, ears.exports), ears)


def _ready() -> tuple[Recognizer, Ears]:
    if _hearing is None:
        raise RuntimeError(
            "this process was not told what to hear with. This is a fault of Keepline's."
        )
    return _hearing


def _hear_member(
    contact_id: str, shards: str, shard: str, member: str, roles: dict[int, str]
) -> list[HeardTurn]:
    recognizer, ears = _ready()
    content = read_member(Path(shards), shard, member)
    return recognizer.transcribe_file(content, roles, contact_id, ears.params.segmentation)


def _hear_file(order: Order) -> Outcome:
    recognizer, ears = _ready()
    try:
        call = _kept(order)
        if call is None:
            info = probe(order.audio)
            roles = _roles(order, info.channels)
            turns = recognizer.transcribe_file(order.audio, roles, None, ears.params.segmentation)
            spans = [Span(turn.role, turn.start_s, turn.end_s, len(turn.words)) for turn in turns]
            call = HeardCall(
                order.name,
                str(order.audio.resolve()),
                info.sample_rate_hz,
                info.channels,
                info.frames,
                roles,
                turns,
                order.stamp,
                recognizer.calibration is not None,
                measure(spans, info.duration_s, ears.params.conversation)
                if set(SIDES) <= set(roles.values())
                else {},
            )
        _write(order, call)
    except (ValueError, OSError) as error:
        return Outcome(order, "failed", str(error))
    except (
        Exception
    ) as error:  # memory ran out, or a library met what it does not know: the other files go on
        return Outcome(order, "failed", f"{order.audio}: {type(error).__name__}: {error}")
    words = sum(len(turn.words) for turn in call.turns)
    return Outcome(order, "done", _remark(order, call), call.duration_s, words)


def _remark(order: Order, call: HeardCall) -> str:
    """What a person should know of a file in which no word was heard."""
    if call.turns:
        return ""
    if call.duration_s < SHORT_S:
        return f"{order.audio}: too short to hear ({call.duration_s:.2f} s; a word takes about {SHORT_S:g} s)."
    return f"{order.audio}: no word in it ({call.duration_s:.1f} s)."


def _roles(order: Order, channels: int) -> dict[int, str]:
    if channels == 1 and len(order.channels) > 1:
        return {0: "speaker"}  # both sides in one channel: nobody can say who is who
    if channels < len(order.channels):
        raise ValueError(
            f"{order.audio}: {channels} channels, {len(order.channels)} roles. Name them with --channels."
        )
    return dict(enumerate(order.channels))


def _written(order: Order) -> list[Path]:
    """The files of an order. The JSON is always among them and written last: it says that all is there."""
    return [
        _beside(order, suffix)
        for name, (suffix, _) in FORMATS.items()
        if name in (*order.formats, "json")
    ]


def _beside(order: Order, suffix: str) -> Path:
    return order.out.with_name(order.out.name + suffix)


def _kept(order: Order) -> HeardCall | None:
    """What was heard in this very file with this very model before, if anything."""
    try:
        call = from_json(_beside(order, ".json").read_text(encoding="utf-8"))
        info = probe(order.audio)
    except (OSError, ValueError):
        return None
    same = call.model == order.stamp and call.roles == _roles(order, info.channels)
    unchanged = (call.frames, call.sample_rate_hz) == (info.frames, info.sample_rate_hz)
    newer = order.audio.stat().st_mtime <= _beside(order, ".json").stat().st_mtime
    return replace(call, name=order.name) if same and unchanged and newer else None


def _write(order: Order, call: HeardCall) -> None:
    for name, (suffix, make) in FORMATS.items():
        if name in (*order.formats, "json"):
            write_text(
                _beside(order, suffix), make(call) if make else to_nemo(call, _cuts(order, call))
            )


def _cuts(order: Order, call: HeardCall) -> list[str]:
    """Writes each turn as 16 kHz mono WAV and names the files from where the manifest lies."""
    folder = _beside(order, ".cuts")
    folder.mkdir(parents=True, exist_ok=True)
    numbers = sorted(range(len(call.turns)), key=lambda number: call.turns[number].end_s)
    spans = [call.turns[number] for number in numbers]
    segments = [
        (Segment(turn.start_s, turn.end_s, turn.start_s, turn.end_s), call.channel_of(turn.role))
        for turn in spans
    ]
    read = pieces(blocks(order.audio), call.sample_rate_hz, segments)
    for number, (_, _, samples) in zip(numbers, read, strict=True):
        cut = resample(samples, call.sample_rate_hz, SAMPLE_RATE_HZ)
        (folder / f"{number:05d}.wav").write_bytes(to_wav_bytes(cut, SAMPLE_RATE_HZ))
    for path in folder.glob("*.wav"):  # of an earlier hearing with more turns
        if int(path.stem) >= len(call.turns):
            path.unlink()
    return [f"{folder.name}/{number:05d}.wav" for number in range(len(call.turns))]


def _calibrated(ears: Ears) -> bool:
    from models.asr.confidence import beside

    return beside(ears.model) is not None


def cores() -> int:
    """How many processes can run at once context."""
    return len(os.sched_getaffinity(0))


@contextmanager
def _processes(ears: Ears, count: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_begin, initargs=(ears,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _spread(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], ears: Ears, jobs: int
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each task with its result, as they come; in this process when one job is enough.

    A task that its process dies of, alone too, has None for a result, and the others go on.
    """
    from models.asr.load import exported

    if not tasks:
        return
    if (
        ears.exports and exported(ears.model, ears.exports) is None
    ):  # found out once, before several processes ask
        ears = replace(ears, exports=None)
    if min(jobs, len(tasks)) <= 1:
        _begin(ears)
        for task in tasks:
            yield task, function(*task)
        return
    left = []
    with _processes(ears, min(jobs, len(tasks))) as pool:
        futures: dict[Future[Any], tuple[Any, ...]] = {
            pool.submit(function, *task): task for task in tasks
        }
        for future in as_completed(futures):
            if isinstance(
                future.exception(), BrokenProcessPool
            ):  # one process died and took the others' work along
                left.append(futures[future])
            else:
                yield futures[future], future.result()
    while left:  # one at a time, to know whose fault it was and to need the least memory
        with _processes(ears, 1) as pool:
            pool.submit(os.getpid).result()  # BrokenProcessPool here: no file is to blame
            while left:
                task = left.pop(0)
                try:
                    yield task, pool.submit(function, *task).result()
                except BrokenProcessPool:
                    yield task, None
                    break
