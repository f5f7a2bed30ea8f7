"""The contact reader against TF-IDF with logistic regression: intents of banking77 and clinc150, a simulated centre.

Intents are learned from the published train side, a tenth of it kept for stopping and calibration, and examined on the
published test side. With `--store` (a store that has been through `keepline run`) both also read the held-out contacts
of its simulated centre, learning from the rules' beliefs, and are held against the truth: as people wrote, and as
recognisers heard the calls of the ASR test. `--real DIR --store DIR --sets banking77 clinc150`
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.labelling import SCHEME
from evaluation.metrics.bootstrap import paired_difference, ratio_of_sums
from training.reader.train import LabelledContacts, ReaderTraining, labelled_contacts, train

# Set beforehand for short texts of many intents; nothing was tried on a test side.
INTENTS = ReaderTraining(bits=16, width=96, epochs=15, batch_size=64, misheard_share=0.0)
SIDES = {"banking77": ("train", "test"), "clinc150": ("train", "test")}


class Unrecorded:
    """A run that nobody reads."""

    run_id = "none"

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


def intents(
    folder: Path, name: str, seed: int
) -> tuple[dict[str, LabelledContacts], tuple[str, ...]]:
    """The texts of a set as one-turn contacts: train, valid (a tenth of the published train) and test."""
    with gzip.open(folder / "dialogue" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    values = tuple(sorted({row["intent"] for row in rows if row["split"] == SIDES[name][0]}))
    place = {value: number for number, value in enumerate(values)}
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "valid": [], "test": []}
    held = np.random.default_rng(seed).random(len(rows)) < 0.1
    for row, aside in zip(rows, held, strict=True):
        if row["split"] == SIDES[name][0]:
            parts["valid" if aside else "train"].append(row)
        elif row["split"] == SIDES[name][1]:
            parts["test"].append(row)
    found = {}
    for side, mine in parts.items():
        ids = [f"{side}{number}" for number in range(len(mine))]
        contacts = pl.DataFrame({"contact_id": ids, "channel": ["chat"] * len(ids)})
        turns = pl.DataFrame(
            {
                "contact_id": ids,
                "turn": [0] * len(ids),
                "role": ["customer"] * len(ids),
                "text": [row["text"] for row in mine],
            }
        )
        targets = np.zeros((len(mine), len(values)), np.float32)
        targets[np.arange(len(mine)), [place[row["intent"]] for row in mine]] = 1
        found[side] = LabelledContacts(
            contacts, turns, targets, np.ones((len(mine), 1), np.float32)
        )
    return found, values


def read_by_reader(
    parts: dict[str, LabelledContacts],
    labels: dict[str, tuple[str, ...]],
    params: ReaderTraining,
    others: list[LabelledContacts],
) -> tuple[list[dict[str, np.ndarray]], dict[str, float]]:
    from models.reader.model import Reader

    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        found = train(params, labels, parts, Path(folder), Unrecorded())
        fit_s = time.process_time() - began
        reader = Reader.load(Path(found["model"]))
        size = sum(path.stat().st_size for path in Path(found["model"]).iterdir())
    began = time.process_time()
    answers = [reader.probabilities(part.contacts, part.turns)[0] for part in others]
    read = sum(map(len, others))
    return answers, {
        "train_cpu_s": round(fit_s, 1),
        "mib": round(size / 2**20, 1),
        "read_ms_each": round(1000 * (time.process_time() - began) / read, 3),
    }


def read_by_tfidf(
    parts: dict[str, LabelledContacts],
    labels: dict[str, tuple[str, ...]],
    others: list[LabelledContacts],
) -> tuple[list[dict[str, np.ndarray]], dict[str, float]]:
    """Word 1-2-grams and letter 2-5-grams, logistic regression a label; on train and valid, as it needs no stop."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    def words(part: LabelledContacts) -> list[str]:
        said = part.turns.sort("turn").group_by("contact_id").agg(pl.col("text").str.join(" / "))
        return part.contacts.join(said, on="contact_id", how="left", maintain_order="left")[
            "text"
        ].to_list()

    began = time.process_time()
    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
    )
    seen = [parts["train"], parts["valid"]]
    inputs = union.fit_transform([text for part in seen for text in words(part)])
    outputs, at, answers, numbers = (
        [union.transform(words(part)) for part in others],
        0,
        [{} for _ in others],
        0,
    )
    for number, (name, values) in enumerate(labels.items()):
        targets = np.concatenate([part.targets[:, at : at + len(values)] for part in seen])
        rows = np.flatnonzero(np.concatenate([part.mask[:, number] for part in seen]) > 0)
        at += len(values)
        model = LogisticRegression(C=10, max_iter=300, solver="lbfgs").fit(
            inputs[rows], targets[rows].argmax(axis=1)
        )
        numbers += model.coef_.size
        for answer, output in zip(answers, outputs, strict=True):
            answer[name] = np.zeros((output.shape[0], len(values)))
            answer[name][:, model.classes_] = model.predict_proba(output)
    return answers, {
        "train_and_read_cpu_s": round(time.process_time() - began, 1),
        "mib": round(8 * numbers / 2**20, 1),
    }


def right(chances: np.ndarray, wanted: np.ndarray, clusters: np.ndarray) -> list[float]:
    found = ratio_of_sums(
        (chances.argmax(axis=1) == wanted).astype(float), np.ones(len(wanted)), clusters, seed=0
    )
    return [round(float(value), 4) for value in (found.value, found.low or 0.0, found.high or 0.0)]


def gain(
    first: np.ndarray, second: np.ndarray, wanted: np.ndarray, clusters: np.ndarray
) -> list[float]:
    ones = np.ones(len(wanted))
    sides = [
        ((chances.argmax(axis=1) == wanted).astype(float), ones) for chances in (first, second)
    ]
    found = paired_difference(sides[0], sides[1], clusters, seed=0)
    return [round(float(value), 4) for value in (found.value, found.low or 0.0, found.high or 0.0)]


def on_intents(folder: Path, name: str, seed: int) -> dict[str, Any]:
    parts, values = intents(folder, name, seed)
    test = parts["test"]
    known = test.targets.sum(axis=1) > 0
    wanted, each = test.targets.argmax(axis=1)[known], np.arange(int(known.sum())).astype(str)
    labels = {"intent": values}
    (ours,), cost = read_by_reader(parts, labels, INTENTS, [test])
    (theirs,), their_cost = read_by_tfidf(parts, labels, [test])
    a, b = ours["intent"][known], theirs["intent"][known]
    return {
        "set": name,
        "intents": len(values),
        "texts": {side: len(part) for side, part in parts.items()},
        "reader": {"accuracy": right(a, wanted, each), **cost},
        "tfidf_logistic": {"accuracy": right(b, wanted, each), **their_cost},
        "reader_minus_tfidf": gain(a, b, wanted, each),
    }


def on_store(store: Path) -> list[dict[str, Any]]:
    """Accuracy against the simulator's truth, label by label, of rules, reader, TF-IDF and rules with reader."""
    from data.files import read_tables
    from data.labelling import label
    from data.labelling.complete import ReadingParams
    from data.splits import customer_splits
    from evaluation.asr.labels_on_text import scored_turns
    from evaluation.reader.scorecard import truth_labels
    from evaluation.scorecard import load

    tables = read_tables(store / "clean")
    divided = tables["contacts"].join(
        customer_splits(pl.read_parquet(store / "splits.parquet")), on="customer_id"
    )
    heard = pl.read_parquet(store / "transcripts.parquet").select(tables["turns"].columns)
    turns = pl.concat([tables["turns"], heard.join(tables["turns"], on="contact_id", how="anti")])
    beliefs = label(tables["contacts"], turns).beliefs
    truth = truth_labels(pl.read_parquet(store / "truth/contacts.parquet"))
    parts = {
        side: labelled_contacts(divided.filter(split=side), turns, beliefs, SCHEME)
        for side in ("train", "valid", "test")
    }
    exams = {"people's words": (parts["test"], beliefs)}
    for role in ("candidate", "reference"):
        said = scored_turns(load(store / f"scorecards/asr/{role}.json"), tables["turns"], "hyp")
        mixed = pl.concat(
            [turns.join(said, on="contact_id", how="anti"), said.with_columns(origin=pl.lit("asr"))]
        )
        found = label(tables["contacts"], mixed).beliefs
        exams[f"heard by the {role}"] = (
            labelled_contacts(divided.filter(split="test"), said, found, SCHEME),
            found,
        )
    asked = [exam for exam, _ in exams.values()]
    ours, cost = read_by_reader(parts, SCHEME, ReaderTraining(), asked)
    theirs, their_cost = read_by_tfidf(parts, SCHEME, asked)
    results: list[dict[str, Any]] = [{"reader": cost, "tfidf_logistic": their_cost}]
    for number, (title, (exam, _)) in enumerate(exams.items()):
        rows, at = {}, 0
        for place, (name, values) in enumerate(SCHEME.items()):
            rules = exam.targets[:, at : at + len(values)].astype(float)
            at += len(values)
            true = exam.contacts.select("contact_id").join(
                truth.filter(label=name), on="contact_id", how="left", maintain_order="left"
            )
            known = (exam.mask[:, place] > 0) & true["value"].is_not_null().to_numpy()
            wanted = np.array(
                [values.index(value) if value in values else 0 for value in true["value"]]
            )[known]
            who = exam.contacts["customer_id"].to_numpy()[known]
            mine, other, rules = (
                ours[number][name][known],
                theirs[number][name][known],
                rules[known],
            )
            both = np.sqrt(np.maximum(rules, 1e-4) * np.maximum(mine, 1e-4))
            rows[name] = {
                "contacts": int(known.sum()),
                "rules": right(rules, wanted, who),
                "reader": right(mine, wanted, who),
                "tfidf_logistic": right(other, wanted, who),
                "rules_and_reader": right(both, wanted, who),
                "reader_minus_tfidf": gain(mine, other, wanted, who),
                "rules_and_reader_minus_rules": gain(both, rules, wanted, who),
                "used_together": name in ReadingParams().together,
            }
        results.append({"text": title, "labels": rows})
    return results


def main() -> None:
    """Prints accuracies with 95 % intervals, sizes and times."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--real", type=Path, default=Path("../shared/data"))
    ask.add_argument("--store", type=Path)
    ask.add_argument("--sets", nargs="*", default=list(SIDES))
    ask.add_argument("--seed", type=int, default=0)
    asked = ask.parse_args()
    found: dict[str, Any] = {"benchmark": "contact reader", "intents": []}
    for name in asked.sets:
        found["intents"].append(on_intents(asked.real, name, asked.seed))
        print(json.dumps(found["intents"][-1]), file=sys.stderr, flush=True)
    if asked.store:
        found["centre"] = on_store(asked.store)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
