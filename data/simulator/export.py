"""Writes a simulated contact centre as the folder export of docs/pipeline.md, and its truth."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.files import read_json, write_json, write_table
from data.progress import Progress
from data.simulator import faults, phrases, tables, talk, truth
from data.simulator.entities import Person
from data.simulator.params import SimulatorParams
from data.simulator.sound import Call, record
from data.simulator.voice import Synthesizer, Voice, voices
from data.simulator.world import World, build

WRITERS = {"ivr": talk.menu_log, "chat": talk.chat, "email": talk.email, "social": talk.social}


def simulate(
    params: SimulatorParams,
    out: Path,
    truth_folder: Path,
    *,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Simulates a centre, writes its export to `out` and its truth to `truth_folder`.

    Both folders appear whole or not at all; an export of the same parameters and code is left
    as it is. Returns the summary that `truth_folder/world.json` also holds, with `reused`
    telling which of the two happened.
    """
    fingerprint = _fingerprint(params)
    marker = truth_folder / "world.json"
    if (
        marker.exists()
        and (out / "contacts.csv").exists()
        and read_json(marker).get("fingerprint") == fingerprint
    ):
        return {**read_json(marker), "reused": True}
    new_out, new_truth = _temporary_folder(out), _temporary_folder(truth_folder)
    try:
        summary = _write(params, new_out, new_truth, progress=progress)
        write_json(new_truth / "world.json", {**summary, "fingerprint": fingerprint})
        _swap(new_out, out)
        _swap(new_truth, truth_folder)  # last: it holds the marker
    finally:
        shutil.rmtree(new_out, ignore_errors=True)
        shutil.rmtree(new_truth, ignore_errors=True)
    return {**read_json(marker), "reused": False}


@dataclass(frozen=True)
class _Speakers:
    """Names and voices of a simulated centre: customers by number, agents by number."""

    callers: list[talk.Caller]
    customer_voices: list[Voice]
    agent_names: list[str]
    agent_voices: list[Voice]


@dataclass(frozen=True)
class _Recorded:
    """Contacts with a recording. `faults` names what is broken in each, None where nothing is."""

    contacts: list[tables.NumberedContact]
    faults: list[str | None]


def _write(
    params: SimulatorParams, out: Path, truth_folder: Path, *, progress: Progress
) -> dict[str, Any]:
    world = build(params)
    as_of = truth.months(world)
    numbered = tables.numbered(world)
    contacts = [contact for contact in numbered if contact.happened]
    recorded = _choose_recorded(params, numbered)
    steps = len(as_of) + len(recorded.faults)
    write_table(
        truth_folder / "customers.parquet",
        truth.true_risks(world, as_of, lambda done, _: progress(done, steps)),
    )

    speakers = _speakers(params, world)
    calls = _record_all(
        params,
        recorded,
        speakers=speakers,
        out=out,
        progress=lambda done: progress(len(as_of) + done, steps),
    )
    call_of = {c.contact_id: call for c, call in zip(recorded.contacts, calls, strict=True)}
    rows = [
        tables.contact_row(contact, world, call_of.get(contact.contact_id)) for contact in contacts
    ]
    messages = [
        {"contact_id": contact.contact_id, "turns": _messages(contact, speakers)}
        for contact in contacts
        if contact.contact_id not in call_of
    ]
    planted = _planted_recordings(recorded) + tables.plant_rows(params, rows, messages)
    _write_export(world, rows, messages, out=out)
    _write_truth(world, contacts, truth_folder, recorded=recorded, calls=calls, speakers=speakers)
    if params.campaigns.months:
        write_table(truth_folder / "treatments.parquet", _true_effects(world, as_of[-1]))
    write_json(truth_folder / "faults.json", planted)
    sound_calls = calls[: params.calls]
    return {
        "params": asdict(params),
        "seed": params.seed,
        "snapshot": params.ends.isoformat(),
        "starts": world.starts.isoformat(),
        "as_of": [day.isoformat() for day in as_of],
        "customers": len(world.people),
        "churned": sum(left is not None for left in world.left_on),
        "decisions": len(world.decisions),
        "contacts": len(rows),
        "recordings": len(sound_calls),
        "transcripts": len(list((out / "transcripts").glob("*.json"))),
        "audio_s": round(sum(call.duration_s for call in sound_calls), 1),
        "faults": len(planted),
        "agents": {tables.agent_id(n): v.name for n, v in enumerate(speakers.agent_voices)},
    }


def _choose_recorded(params: SimulatorParams, numbered: list[tables.NumberedContact]) -> _Recorded:
    """Draws the phone contacts that are recorded: `params.calls` sound ones, then broken ones."""
    planted = [fault for fault in faults.RECORDING_FAULTS for _ in range(params.faults)]
    fault_of_call: list[str | None] = [None] * params.calls + planted
    spoken = [
        contact for contact in numbered if contact.planned and contact.touch.channel == "phone"
    ]
    random.Random(f"{params.seed} recordings").shuffle(spoken)
    happened = [contact for contact in spoken if contact.happened]
    return _Recorded(happened[: len(fault_of_call)], fault_of_call)


def _planted_recordings(recorded: _Recorded) -> list[dict[str, Any]]:
    """The broken recordings as faults.json lists them."""
    return [
        {
            "kind": fault,
            "contact_id": contact.contact_id,
            "file": f"recordings/{contact.contact_id}.wav",
        }
        for contact, fault in zip(recorded.contacts, recorded.faults, strict=False)
        if fault
    ]


def _write_export(
    world: World, rows: list[dict[str, Any]], messages: list[dict[str, Any]], *, out: Path
) -> None:
    """Writes the csv files and messages.jsonl of the folder export."""
    customers = [tables.customer_row(person) for person in world.people]
    _table(out / "customers.csv", tables.CUSTOMER_COLUMNS, customers)
    _table(out / "contacts.csv", tables.CONTACT_COLUMNS, rows)
    _table(out / "outcomes.csv", tables.OUTCOME_COLUMNS, tables.outcome_rows(world))
    if world.params.campaigns.months:
        decisions = tables.intervention_rows(world)
        _table(out / "interventions.csv", tables.INTERVENTION_COLUMNS, decisions)
    with (out / "messages.jsonl").open("w", encoding="utf-8") as handle:
        handle.writelines(json.dumps(message, ensure_ascii=False) + "\n" for message in messages)


def _write_truth(
    world: World,
    contacts: list[tables.NumberedContact],
    folder: Path,
    *,
    recorded: _Recorded,
    calls: list[Call],
    speakers: _Speakers,
) -> None:
    """Writes what contacts were about, what was spoken in recordings and who spoke."""
    write_table(folder / "contacts.parquet", tables.true_contacts(contacts))
    write_table(folder / "turns.parquet", tables.true_turns(recorded.contacts, calls))
    numbers = sorted({contact.number for contact in recorded.contacts})
    voice_table = pl.DataFrame(
        {
            "customer_id": [world.people[n].customer_id for n in numbers],
            "voice": [speakers.customer_voices[n].name for n in numbers],
        }
    )
    write_table(folder / "voices.parquet", voice_table)


def _true_effects(world: World, snapshot: date) -> pl.DataFrame:
    """True effects of a call back: for all in the log on their day, for all on the snapshot."""
    customers_by_day: dict[date, set[str] | None] = {snapshot: None}
    for decision in world.decisions:
        customers = customers_by_day.setdefault(world.starts + timedelta(days=decision.day), set())
        if customers is not None:
            customers.add(world.people[decision.number].customer_id)
    return truth.true_effects(world, customers_by_day)


def _record_all(
    params: SimulatorParams,
    recorded: _Recorded,
    *,
    speakers: _Speakers,
    out: Path,
    progress: Callable[[int], None],
) -> list[Call]:
    """Speaks and writes every recording, and transcripts of some; returns the calls unbroken."""
    synthesizer = Synthesizer()
    (out / "recordings").mkdir(parents=True)
    (out / "transcripts").mkdir()
    rng = random.Random(f"{params.seed} transcribers")
    calls: list[Call] = []
    for done, (contact, fault) in enumerate(zip(recorded.contacts, recorded.faults, strict=False)):
        call = _record_call(contact, speakers, synthesizer)
        wav: bytes | None = call.wav
        if fault is not None:
            wav = faults.spoil(fault, call.wav, calls[0].wav if calls else call.wav)
        if wav is not None:
            (out / "recordings" / f"{contact.contact_id}.wav").write_bytes(wav)
        if fault is None and rng.random() < params.transcribed_share:
            _write_transcript(out / "transcripts", contact.contact_id, call)
        calls.append(call)
        progress(done + 1)
    return calls


def _record_call(
    contact: tables.NumberedContact, speakers: _Speakers, synthesizer: Synthesizer
) -> Call:
    first, second = contact.agents
    return record(
        talk.phone_call(
            _speech(contact, speakers, written=False), contact.touch, contact.after_menu
        ),
        customer=speakers.customer_voices[contact.number],
        agents=(speakers.agent_voices[first], speakers.agent_voices[second]),
        synthesizer=synthesizer,
        rng=np.random.default_rng(contact.seed),
    )


def _write_transcript(folder: Path, contact_id: str, call: Call) -> None:
    turns = [
        {"role": t.role, "start_s": t.start_s, "end_s": t.end_s, "text": t.text} for t in call.turns
    ]
    text = json.dumps({"contact_id": contact_id, "turns": turns}, indent=1)
    (folder / f"{contact_id}.json").write_text(text + "\n", encoding="utf-8")


def _messages(contact: tables.NumberedContact, speakers: _Speakers) -> list[dict[str, str]]:
    speech = _speech(contact, speakers, written=contact.touch.channel != "ivr")
    lines = WRITERS.get(contact.touch.channel, talk.note)(speech, contact.touch)
    return [{"role": line.role, "text": line.text} for line in lines]


def _speech(contact: tables.NumberedContact, speakers: _Speakers, *, written: bool) -> talk.Speech:
    first, second = contact.agents
    return talk.Speech(
        random.Random(contact.seed),
        speakers.callers[contact.number],
        agents=(speakers.agent_names[first], speakers.agent_names[second]),
        written=written,
    )


def _speakers(params: SimulatorParams, world: World) -> _Speakers:
    return _Speakers(
        callers=[_caller(params, number, person) for number, person in enumerate(world.people)],
        customer_voices=voices(params.customers, params.seed),
        agent_names=_agent_names(params),
        agent_voices=voices(params.agents, params.seed + 7_000_000),
    )


def _caller(params: SimulatorParams, number: int, person: Person) -> talk.Caller:
    rng = random.Random(f"{params.seed} caller {number}")
    name = f"{rng.choice(phrases.FIRST_NAMES)} {rng.choice(phrases.LAST_NAMES)}"
    return talk.Caller(name, f"{rng.randrange(1_000_000):06d}", person.plan)


def _agent_names(params: SimulatorParams) -> list[str]:
    names = list(phrases.FIRST_NAMES)
    random.Random(f"{params.seed} agents").shuffle(names)
    return [names[n % len(names)] for n in range(params.agents)]


def _table(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _fingerprint(params: SimulatorParams) -> str:
    """Hash of the parameters and of the simulator's own code: another one means another export."""
    digest = hashlib.sha256(json.dumps(asdict(params), sort_keys=True, default=str).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _temporary_folder(folder: Path) -> Path:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir(parents=True)
    return temporary


def _swap(new: Path, folder: Path) -> None:
    """Gives `new` the name `folder` and removes what was there."""
    if folder.exists():
        old = folder.with_name(f"{new.name}.old")
        folder.replace(old)
        new.replace(folder)
        shutil.rmtree(old)
    else:
        new.replace(folder)
