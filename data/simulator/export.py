"""Writes a simulated contact centre as the folder export of docs/street.md, and its truth beside it."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict
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
    """Builds the world of `params`, writes the export to `out` and what really happened to `truth_folder`.

    Both folders appear whole or not at all; an export of the same parameters and code is left as it is. Returns the
    summary that `truth_folder/world.json` also holds, with `reused` telling which of the two happened.
    """
    fingerprint = _fingerprint(params)
    marker = truth_folder / "world.json"
    if (
        marker.exists()
        and (out / "contacts.csv").exists()
        and read_json(marker).get("fingerprint") == fingerprint
    ):
        return {**read_json(marker), "reused": True}
    new_out, new_truth = _beside(out), _beside(truth_folder)
    try:
        summary = _write(params, new_out, new_truth, progress=progress)
        write_json(new_truth / "world.json", {**summary, "fingerprint": fingerprint})
        _swap(new_out, out)
        _swap(new_truth, truth_folder)  # last: it holds the marker
    finally:
        shutil.rmtree(new_out, ignore_errors=True)
        shutil.rmtree(new_truth, ignore_errors=True)
    return {**read_json(marker), "reused": False}


def _write(
    params: SimulatorParams, out: Path, truth_folder: Path, *, progress: Progress
) -> dict[str, Any]:
    world = build(params)
    as_of = truth.months(world)
    numbered = tables.numbered(world)
    contacts = [contact for contact in numbered if contact.happened]
    planted = [kind for kind in faults.RECORDING_FAULTS for _ in range(params.faults)]
    steps = len(as_of) + params.calls + len(planted)
    write_table(
        truth_folder / "customers.parquet",
        truth.true_risks(world, as_of, lambda done, _: progress(done, steps)),
    )

    callers = [_caller(params, number, person) for number, person in enumerate(world.people)]
    names, own_voices = _agent_names(params), voices(params.customers, params.seed)
    spoken = [
        contact for contact in numbered if contact.planned and contact.touch.channel == "phone"
    ]
    random.Random(f"{params.seed} recordings").shuffle(spoken)
    recorded = [contact for contact in spoken if contact.happened][: params.calls + len(planted)]
    kinds: list[str | None] = [None] * params.calls + planted
    calls = _record_all(
        params,
        recorded,
        kinds=kinds,
        callers=callers,
        names=names,
        customer_voices=own_voices,
        out=out,
        progress=lambda done: progress(len(as_of) + done, steps),
    )

    kept = {contact.contact_id: call for contact, call in zip(recorded, calls, strict=True)}
    rows = [
        tables.contact_row(contact, world, kept.get(contact.contact_id)) for contact in contacts
    ]
    messages = [
        {"contact_id": contact.contact_id, "turns": _messages(contact, callers, names)}
        for contact in contacts
        if contact.contact_id not in kept
    ]
    found = [
        {
            "kind": kind,
            "contact_id": contact.contact_id,
            "file": f"recordings/{contact.contact_id}.wav",
        }
        for contact, kind in zip(recorded, kinds, strict=False)
        if kind
    ]
    found += tables.plant_rows(params, rows, messages)
    _table(
        out / "customers.csv",
        tables.CUSTOMER_COLUMNS,
        [tables.customer_row(person) for person in world.people],
    )
    _table(out / "contacts.csv", tables.CONTACT_COLUMNS, rows)
    _table(out / "outcomes.csv", tables.OUTCOME_COLUMNS, tables.outcome_rows(world))
    if params.campaigns.months:
        _table(
            out / "interventions.csv", tables.INTERVENTION_COLUMNS, tables.intervention_rows(world)
        )
        write_table(truth_folder / "treatments.parquet", _true_effects(world, as_of[-1]))
    with (out / "messages.jsonl").open("w", encoding="utf-8") as handle:
        handle.writelines(json.dumps(message, ensure_ascii=False) + "\n" for message in messages)

    write_table(truth_folder / "contacts.parquet", tables.true_contacts(contacts))
    write_table(truth_folder / "turns.parquet", tables.true_turns(recorded, calls))
    speaking = sorted({contact.number for contact in recorded})
    write_table(
        truth_folder / "voices.parquet",
        pl.DataFrame(
            {
                "customer_id": [world.people[n].customer_id for n in speaking],
                "voice": [own_voices[n].name for n in speaking],
            }
        ),
    )
    write_json(truth_folder / "faults.json", found)
    clean = calls[: params.calls]
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
        "recordings": len(clean),
        "transcripts": len(list((out / "transcripts").glob("*.json"))),
        "audio_s": round(sum(call.duration_s for call in clean), 1),
        "faults": len(found),
        "agents": {tables.agent_id(n): voice.name for n, voice in enumerate(_agent_voices(params))},
    }


def _true_effects(world: World, snapshot: date) -> pl.DataFrame:
    """What a call back does to everyone in the log on their day, and would do to every customer on the snapshot."""
    wanted: dict[date, set[str] | None] = {snapshot: None}
    for decision in world.decisions:
        asked = wanted.setdefault(world.starts + timedelta(days=decision.day), set())
        if asked is not None:
            asked.add(world.people[decision.number].customer_id)
    return truth.true_effects(world, wanted)


def _record_all(
    params: SimulatorParams,
    contacts: list[tables.NumberedContact],
    *,
    kinds: list[str | None],
    callers: list[talk.Caller],
    names: list[str],
    customer_voices: list[Voice],
    out: Path,
    progress: Callable[[int], None],
) -> list[Call]:
    agent_voices = _agent_voices(params)
    synthesizer = Synthesizer()
    (out / "recordings").mkdir(parents=True)
    (out / "transcripts").mkdir()
    rng = random.Random(f"{params.seed} transcribers")
    calls: list[Call] = []
    for done, (contact, kind) in enumerate(zip(contacts, kinds, strict=False)):
        first, second = contact.agents
        speech = talk.Speech(
            random.Random(contact.seed),
            callers[contact.number],
            (names[first], names[second]),
            False,
        )
        call = record(
            talk.phone_call(speech, contact.touch, contact.after_menu),
            customer=customer_voices[contact.number],
            agents=(agent_voices[first], agent_voices[second]),
            synthesizer=synthesizer,
            rng=np.random.default_rng(contact.seed),
        )
        wav = (
            call.wav
            if kind is None
            else faults.spoil(kind, call.wav, calls[0].wav if calls else call.wav)
        )
        if wav is not None:
            (out / "recordings" / f"{contact.contact_id}.wav").write_bytes(wav)
        if kind is None and rng.random() < params.transcribed_share:
            turns = [
                {"role": t.role, "start_s": t.start_s, "end_s": t.end_s, "text": t.text}
                for t in call.turns
            ]
            text = json.dumps({"contact_id": contact.contact_id, "turns": turns}, indent=1)
            (out / "transcripts" / f"{contact.contact_id}.json").write_text(
                text + "\n", encoding="utf-8"
            )
        calls.append(call)
        progress(done + 1)
    return calls


def _messages(
    contact: tables.NumberedContact, callers: list[talk.Caller], names: list[str]
) -> list[dict[str, str]]:
    first, second = contact.agents
    written = contact.touch.channel != "ivr"
    speech = talk.Speech(
        random.Random(contact.seed), callers[contact.number], (names[first], names[second]), written
    )
    lines = WRITERS.get(contact.touch.channel, talk.note)(speech, contact.touch)
    return [{"role": line.role, "text": line.text} for line in lines]


def _caller(params: SimulatorParams, number: int, person: Person) -> talk.Caller:
    rng = random.Random(f"{params.seed} caller {number}")
    name = f"{rng.choice(phrases.FIRST_NAMES)} {rng.choice(phrases.LAST_NAMES)}"
    return talk.Caller(name, f"{rng.randrange(1_000_000):06d}", person.plan)


def _agent_names(params: SimulatorParams) -> list[str]:
    names = list(phrases.FIRST_NAMES)
    random.Random(f"{params.seed} agents").shuffle(names)
    return [names[n % len(names)] for n in range(params.agents)]


def _agent_voices(params: SimulatorParams) -> list[Voice]:
    return voices(params.agents, params.seed + 7_000_000)


def _table(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _fingerprint(params: SimulatorParams) -> str:
    """Of the parameters and of the simulator's own code: either one changed means another export."""
    digest = hashlib.sha256(json.dumps(asdict(params), sort_keys=True, default=str).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _beside(folder: Path) -> Path:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir(parents=True)
    return temporary


def _swap(new: Path, folder: Path) -> None:
    """`new` takes the name `folder`; what was there goes."""
    if folder.exists():
        old = folder.with_name(f"{new.name}.old")
        folder.replace(old)
        new.replace(folder)
        shutil.rmtree(old)
    else:
        new.replace(folder)
