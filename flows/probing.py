"""What the gate wants to know beside the scorecards: behaviour tests, and what reads a recogniser's text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data.audio import read
from data.files import file_sha256, read_json, read_tables, write_json
from data.progress import Progress
from data.records import LABELS, TABLES
from data.speech import manifests
from models.registry.bundle import MANIFEST

if TYPE_CHECKING:
    from evaluation.behaviour import Probe
    from evaluation.gates.evidence import Beside
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext
    from models.reader.model import Reader

PROBED = 60  # utterances that are heard again louder, quieter and later
ROLES = ("candidate", "reference")
READERS = "reference/readers.json"  # which champions read both recognisers' text
_BEFORE = timedelta(days=5)  # how long before being scored the planted complaint lies


def probe_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes probes/asr: behaviour tests, and scorecards of both models as `<name>-<role>.json` (see Evidence)."""
    from evaluation.asr.probes import asr_probes
    from evaluation.scorecard import load
    from flows import reading
    from models.asr.load import load as load_recognizer
    from models.asr.recognizer import SAMPLE_RATE_HZ

    folder = emptied(context, "asr")
    cards = {role: load(context.path(f"scorecards/asr/{role}.json")) for role in ROLES}
    asked = read_json(context.path(READERS))
    reader = reading.of_version(context, asked["reader"]["version"]) if asked["reader"] else None
    texts = _reading(context, cards, reader)
    found = {f"{name}-{role}": card for name, two in texts.items() for role, card in two.items()}
    says = ""
    if asked["churn"]:
        try:
            made = _churn_on_text(context, cards, asked["churn"]["version"], reader)
            found |= {f"churn_on_text-{role}": card for role, card in made.items()}
        except (
            ValueError
        ) as error:  # a champion that cannot read these features; without its word the gate says no
            says = str(error)
    for name, card in found.items():
        card.save(folder / f"{name}.json")

    manifest = context.path("speech/test.jsonl")
    rows = manifests.rows_of(manifest)
    rows = rows[:: max(1, len(rows) // PROBED)][:PROBED]
    recognizer = load_recognizer(context.path("asr/bundle/model.nemo"))
    probes = asr_probes(
        lambda waves: [heard.text for heard in recognizer.transcribe(waves)],
        [read(manifest.parent / row["audio_filepath"])[0][:, 0] for row in rows],
        [str(row.get("voice") or row["contact_id"]) for row in rows],
        SAMPLE_RATE_HZ,
        context.params.evaluation.seed,
        progress,
    )
    return leave(
        context,
        "asr",
        probes,
        {
            "read_by": shas(asked),
            "churn_says": says,
            "beside": sorted(found),
        },
    )


def probe_churn(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes probes/churn: behaviour tests on the held-out customers, with a complaint planted in their past."""
    from data.features.features import features
    from evaluation.churn.probes import churn_probes
    from models.churn.model import ChurnModel

    emptied(context, "churn")
    tables, params = read_tables(context.path("clean")), context.params.features
    rows = pl.read_parquet(context.path("features.parquet")).filter(pl.col("split") == "test")
    last: date = max(rows["as_of"].to_list())
    rows = rows.filter(pl.col("as_of") == last)
    labels = pl.read_parquet(context.path("labels.parquet"))
    at = datetime.combine(last, time(12), UTC) - _BEFORE
    planted = [
        {
            "contact_id": f"planted-{customer}",
            "customer_id": customer,
            "channel": "phone",
            "started_at": at,
            "duration_s": 300.0,
            "source": "behaviour test",
        }
        for customer in rows["customer_id"]
    ]
    contacts = pl.concat([tables["contacts"], pl.DataFrame(planted, schema=TABLES["contacts"])])
    twins = {}
    for unresolved in ("yes", "no"):
        marks = [
            (contact["contact_id"], label, value, 0.95, "behaviour test")
            for contact in planted
            for label, value in (("reason", "complaint"), ("friction_unresolved", unresolved))
        ]
        known = pl.concat([labels, pl.DataFrame(marks, schema=LABELS, orient="row")])
        made = features({**tables, "contacts": contacts}, known, [last], params)
        twins[unresolved] = made.join(rows.select("customer_id"), on="customer_id", how="semi")
    network = ChurnModel.load(context.path("churn/bundle"))
    probes = churn_probes(
        network.predict, rows, twins["yes"], twins["no"], context.params.evaluation.seed
    )
    return leave(context, "churn", probes, {})


def readers(context: RunContext) -> dict[str, Any]:
    """The champions that read a recogniser's text, kind → version and bundle_sha256; None where there is no champion.

    When the candidate is the champion itself, those that read its text then stay: there is nothing new to judge.
    """
    office, path = context.registry(), context.path(READERS)
    held = {kind: office.peek(kind, "champion") for kind in ("asr", "churn", "reader")}
    recogniser = held.pop("asr")
    candidate = read_json(context.path("train_asr.json"))["bundle_sha256"]
    if recogniser and recogniser[1] == candidate and path.exists():
        return dict(read_json(path))
    return {
        kind: {"version": one[0], "bundle_sha256": one[1]} if one else None
        for kind, one in held.items()
    }


def leave_readers(context: RunContext) -> None:
    """Writes `readers` down, if they are others than before."""
    found, path = readers(context), context.path(READERS)
    if not path.exists() or read_json(path) != found:
        write_json(path, found)


def shas(found: Mapping[str, Any]) -> dict[str, str]:
    """The checksums of `readers`, kind by kind; empty where there is no champion."""
    return {kind: one["bundle_sha256"] if one else "" for kind, one in found.items()}


def beside_and_probes(context: RunContext, kind: str) -> tuple[dict[str, Beside], list[Probe], str]:
    """What the probe step of `kind` has left, with the guardrail where the evaluation scored one, and the checksum of
    the bundle whose behaviour was tested."""
    from evaluation.behaviour import Probe
    from evaluation.gates.evidence import Beside
    from evaluation.scorecard import load

    folder = context.path(f"probes/{kind}")
    names = sorted(path.stem.removesuffix("-candidate") for path in folder.glob("*-candidate.json"))
    beside = {
        name: Beside(*(load(folder / f"{name}-{role}.json") for role in ROLES)) for name in names
    }
    general = context.path(f"scorecards/{kind}/guardrail")
    if all((general / f"{role}.json").exists() for role in ROLES):
        beside["guardrail"] = Beside(*(load(general / f"{role}.json") for role in ROLES))
    probed = read_json(folder / "probes.json")
    return beside, [Probe(**one) for one in probed["probes"]], probed["bundle_sha256"]


def emptied(context: RunContext, kind: str) -> Path:
    """The folder of a kind's probes, without what an earlier candidate left."""
    folder = context.path(f"probes/{kind}")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    return folder


def leave(
    context: RunContext, kind: str, probes: list[Probe], more: Mapping[str, Any]
) -> dict[str, Any]:
    sha256 = file_sha256(
        context.path(f"{kind}/bundle") / MANIFEST
    )  # a bundle's checksum is its manifest's
    found = {"bundle_sha256": sha256, "probes": [asdict(probe) for probe in probes]}
    write_json(context.path(f"probes/{kind}/probes.json"), found)
    summary = {**more, **{probe.name: probe.value for probe in probes}}
    write_json(context.path(f"probe_{kind}.json"), summary)
    return summary


def _held_out(context: RunContext) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """All tables with the contacts and turns of held-out customers only, and those customers."""
    from data.splits import customer_splits

    tables = read_tables(context.path("clean"))
    held = customer_splits(pl.read_parquet(context.path("splits.parquet"))).filter(
        pl.col("split") == "test"
    )
    contacts = tables["contacts"].join(held, on="customer_id", how="semi")
    turns = tables["turns"].join(contacts, on="contact_id", how="semi")
    return {**tables, "contacts": contacts, "turns": turns}, held


def _labels(
    context: RunContext,
    tables: Mapping[str, pl.DataFrame],
    card: Scorecard,
    column: str,
    reader: Reader | None,
) -> pl.DataFrame:
    """Labels of held-out contacts as features see them, where calls of the ASR test say what `column` (ref or hyp) of
    `card` says."""
    from data.labelling import label
    from evaluation.asr.labels_on_text import heard_turns
    from models.reader import labels as reader_labels

    heard = heard_turns(card, tables["turns"], column)
    turns = pl.concat([tables["turns"].join(heard, on="contact_id", how="anti"), heard])
    rules = label(tables["contacts"], turns, context.params.labelling)
    return reader_labels.with_reader(
        rules.labels, rules.beliefs, tables["contacts"], turns, reader, context.params.reading
    )


def _reading(
    context: RunContext, cards: Mapping[str, Scorecard], reader: Reader | None
) -> dict[str, dict[str, Scorecard]]:
    """`reading`: the labels of each recogniser's text, against those of people's words for the same moments.

    `reader_on_text`, where a reader is in office: its own labels of that text, against the same.
    """
    from evaluation.asr.labels_on_text import heard_turns, reading_scorecard
    from evaluation.reader.scorecard import likeliest

    tables, _ = _held_out(context)
    one = cards["candidate"]
    voices = one.units.sort((pl.col("role") != "customer"), "start_s").unique(
        "contact_id", keep="first", maintain_order=True
    )
    voices = voices.join(tables["contacts"], on="contact_id", how="semi")
    clusters = dict(zip(voices["contact_id"], voices["cluster"], strict=True))
    expected = _labels(context, tables, one, "ref", reader)
    found = {
        "reading": {
            role: _labels(context, tables, card, "hyp", reader) for role, card in cards.items()
        }
    }
    if reader is not None:
        found["reader_on_text"] = {}
        for role, card in cards.items():
            heard = heard_turns(card, tables["turns"], "hyp")
            calls = tables["contacts"].join(heard, on="contact_id", how="semi")
            found["reader_on_text"][role] = likeliest(reader.beliefs(calls, heard))
    return {
        name: {
            role: reading_scorecard(
                cards[role].model,
                cards[role].bundle_sha256,
                cards[role].data_hash,
                expected,
                labels,
                clusters,
                context.params.evaluation.seed,
                context.now().isoformat(),
            )
            for role, labels in by_role.items()
        }
        for name, by_role in found.items()
    }


def _churn_on_text(
    context: RunContext, cards: Mapping[str, Scorecard], version: int, reader: Reader | None
) -> dict[str, Scorecard]:
    """The churn champion's risks of held-out customers from features of each recogniser's text, against outcomes."""
    from data.features.features import as_of_dates, features
    from evaluation.churn.scorecard import churn_scorecard
    from models.churn.model import ChurnModel

    tables, held = _held_out(context)
    months = as_of_dates(
        tables["outcomes"], read_tables(context.path("clean"))["contacts"], context.params.features
    )
    network = ChurnModel.load(
        context.registry().fetch("churn", version, context.path("reference")).path
    )
    found = {}
    for role, card in cards.items():
        rows = features(
            tables, _labels(context, tables, card, "hyp", reader), months, context.params.features
        )
        rows = rows.join(held, on="customer_id", how="semi").filter(pl.col("event").is_not_null())
        outcomes = rows.select("customer_id", "as_of", "event", "time_days")
        frame = outcomes.join(
            network.predict(rows), on=["customer_id", "as_of"], maintain_order="left"
        )
        found[role] = churn_scorecard(
            f"churn v{version} on the text of {card.model}",
            card.data_hash,
            frame,
            context.params.evaluation.seed,
            context.now().isoformat(),
            card.bundle_sha256,
        )
    return found
