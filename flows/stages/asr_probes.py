"""Probes a recogniser for the gate: behaviour, and what other models read from its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.audio import SAMPLE_RATE_HZ, read
from data.files import read_json, read_tables
from data.progress import Progress
from data.speech import manifests
from flows.candidate.probes import ROLES, checksums, empty_probes_folder, write_probes
from models.kinds import ASR, CHURN, READER

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext
    from models.reader.model import Reader


# Utterances that are transcribed again louder, quieter and later.
PROBED = 60


def probe_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Runs the behaviour tests and the secondary tests of a recogniser; returns the summary.

    Writes probes/asr, with scorecards of both models as `<name>-<role>.json` (see Evidence).
    """
    from evaluation.asr.probes import asr_probes
    from evaluation.scorecard import load
    from flows.stages import reader as stages_reader
    from models.asr.load import load as load_recognizer

    folder = empty_probes_folder(context, ASR.name)
    cards = {
        role: load(context.path(artefacts.SCORECARDS.of(ASR.name).within(f"{role}.json")))
        for role in ROLES
    }
    champions = read_json(context.path(artefacts.TEXT_READERS))
    reader = (
        stages_reader.load_version(context, champions[READER.name]["version"])
        if champions[READER.name]
        else None
    )
    texts = _reading(context, cards, reader)
    secondary = {
        f"{name}-{role}": card for name, by_role in texts.items() for role, card in by_role.items()
    }
    says = ""
    if champions[CHURN.name]:
        try:
            made = _churn_on_text(context, cards, champions[CHURN.name]["version"], reader)
            secondary |= {f"churn_on_text-{role}": card for role, card in made.items()}
        except ValueError as error:
            # A champion that cannot read these features; without its scorecard the gate refuses.
            says = str(error)
    for name, card in secondary.items():
        card.save(folder / f"{name}.json")

    manifest = context.path(artefacts.SPEECH.within("test.jsonl"))
    rows = manifests.require_manifest(manifest)
    rows = rows[:: max(1, len(rows) // PROBED)][:PROBED]
    recognizer = load_recognizer(context.path(artefacts.BUNDLE.of(ASR.name).within(ASR.weights)))
    probes = asr_probes(
        lambda waves: [result.text for result in recognizer.transcribe(waves)],
        [read(manifest.parent / row["audio_filepath"])[0][:, 0] for row in rows],
        [str(row.get("voice") or row["contact_id"]) for row in rows],
        sample_rate_hz=SAMPLE_RATE_HZ,
        seed=context.params.evaluation.seed,
        progress=progress,
    )
    return write_probes(
        context,
        ASR.name,
        probes,
        {
            "read_by": checksums(champions),
            "churn_says": says,
            "beside": sorted(secondary),
        },
    )


def _held_out(context: RunContext) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Returns all tables with held-out customers' contacts and turns only, and the customers."""
    from data.splits import customer_splits

    tables = read_tables(context.path(artefacts.CLEAN))
    customers = customer_splits(pl.read_parquet(context.path(artefacts.SPLITS))).filter(
        pl.col("split") == "test"
    )
    contacts = tables["contacts"].join(customers, on="customer_id", how="semi")
    turns = tables["turns"].join(contacts, on="contact_id", how="semi")
    return {**tables, "contacts": contacts, "turns": turns}, customers


def _labels(
    context: RunContext,
    tables: Mapping[str, pl.DataFrame],
    card: Scorecard,
    column: str,
    reader: Reader | None,
) -> pl.DataFrame:
    """Returns labels of held-out contacts as features see them.

    Calls of the ASR test say what `column` (ref or hyp) of `card` says.
    """
    from data.labelling import label
    from evaluation.asr.labels_on_text import scored_turns
    from models.reader import labels as reader_labels

    call_turns = scored_turns(card, tables["turns"], column)
    turns = pl.concat([tables["turns"].join(call_turns, on="contact_id", how="anti"), call_turns])
    rules = label(tables["contacts"], turns, context.params.labelling)
    return reader_labels.complete_labels(
        rules.labels,
        rules.beliefs,
        contacts=tables["contacts"],
        turns=turns,
        reader=reader,
        params=context.params.reading,
    )


def _reading(
    context: RunContext, cards: Mapping[str, Scorecard], reader: Reader | None
) -> dict[str, dict[str, Scorecard]]:
    """Returns scorecards of labels on each recogniser's text, by test and role.

    `reading` compares them with the labels of people's words for the same moments.
    `reader_on_text`, where a reader is champion, does so with that reader's own labels.
    """
    from evaluation.asr.labels_on_text import reading_scorecard, scored_turns
    from evaluation.reader.scorecard import argmax_labels

    tables, _ = _held_out(context)
    candidate = cards["candidate"]
    voices = candidate.units.sort((pl.col("role") != "customer"), "start_s").unique(
        "contact_id", keep="first", maintain_order=True
    )
    voices = voices.join(tables["contacts"], on="contact_id", how="semi")
    clusters = dict(zip(voices["contact_id"], voices["cluster"], strict=True))
    expected = _labels(context, tables, candidate, "ref", reader)
    labels_by_test = {
        "reading": {
            role: _labels(context, tables, card, "hyp", reader) for role, card in cards.items()
        }
    }
    if reader is not None:
        labels_by_test["reader_on_text"] = {}
        for role, card in cards.items():
            call_turns = scored_turns(card, tables["turns"], "hyp")
            calls = tables["contacts"].join(call_turns, on="contact_id", how="semi")
            labels_by_test["reader_on_text"][role] = argmax_labels(
                reader.beliefs(calls, call_turns)
            )
    return {
        name: {
            role: reading_scorecard(
                expected,
                labels,
                clusters,
                model=cards[role].model,
                bundle_sha256=cards[role].bundle_sha256,
                data_hash=cards[role].data_hash,
                seed=context.params.evaluation.seed,
                created_at=context.now().isoformat(),
            )
            for role, labels in by_role.items()
        }
        for name, by_role in labels_by_test.items()
    }


def _churn_on_text(
    context: RunContext, cards: Mapping[str, Scorecard], version: int, reader: Reader | None
) -> dict[str, Scorecard]:
    """Returns scorecards of the churn champion on each recogniser's text, by role.

    Its risks of held-out customers rest on features of that text and are scored against outcomes.
    """
    from data.features.features import as_of_dates, features
    from evaluation.churn.scorecard import churn_scorecard
    from models.churn.model import ChurnModel

    tables, customers = _held_out(context)
    months = as_of_dates(
        tables["outcomes"],
        read_tables(context.path(artefacts.CLEAN))["contacts"],
        context.params.features,
    )
    network = ChurnModel.load(
        context.registry().fetch(CHURN.name, version, context.path(artefacts.FETCHED)).path
    )
    scorecards = {}
    for role, card in cards.items():
        rows = features(
            tables,
            _labels(context, tables, card, "hyp", reader),
            months,
            params=context.params.features,
        )
        rows = rows.join(customers, on="customer_id", how="semi").filter(
            pl.col("event").is_not_null()
        )
        outcomes = rows.select("customer_id", "as_of", "event", "time_days")
        frame = outcomes.join(
            network.predict(rows), on=["customer_id", "as_of"], maintain_order="left"
        )
        scorecards[role] = churn_scorecard(
            frame,
            model=f"churn v{version} on the text of {card.model}",
            data_hash=card.data_hash,
            seed=context.params.evaluation.seed,
            created_at=context.now().isoformat(),
            bundle_sha256=card.bundle_sha256,
        )
    return scorecards
