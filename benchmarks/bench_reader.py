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


class UnrecordedRun:
    """A run that nobody reads."""

    run_id = "none"

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


def read_intents(
    folder: Path, name: str, seed: int
) -> tuple[dict[str, LabelledContacts], tuple[str, ...]]:
    """The texts of a set as one-turn contacts: train, valid (a tenth of the published train) and test."""
    with gzip.open(folder / "dialogue" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    values = tuple(sorted({row["intent"] for row in rows if row["split"] == SIDES[name][0]}))
    place = {value: number for number, value in enumerate(values)}
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "valid": [], "test": []}
    is_valid = np.random.default_rng(seed).random(len(rows)) < 0.1
    for row, to_valid in zip(rows, is_valid, strict=True):
        if row["split"] == SIDES[name][0]:
            parts["valid" if to_valid else "train"].append(row)
        elif row["split"] == SIDES[name][1]:
            parts["test"].append(row)
    result = {}
    for side, side_rows in parts.items():
        ids = [f"{side}{number}" for number in range(len(side_rows))]
        contacts = pl.DataFrame({"contact_id": ids, "channel": ["chat"] * len(ids)})
        turns = pl.DataFrame(
            {
                "contact_id": ids,
                "turn": [0] * len(ids),
                "role": ["customer"] * len(ids),
                "text": [row["text"] for row in side_rows],
            }
        )
        targets = np.zeros((len(side_rows), len(values)), np.float32)
        targets[np.arange(len(side_rows)), [place[row["intent"]] for row in side_rows]] = 1
        result[side] = LabelledContacts(
            contacts, turns, targets, np.ones((len(side_rows), 1), np.float32)
        )
    return result, values


def predict_with_reader(
    parts: dict[str, LabelledContacts],
    labels: dict[str, tuple[str, ...]],
    params: ReaderTraining,
    test_sets: list[LabelledContacts],
) -> tuple[list[dict[str, np.ndarray]], dict[str, float]]:
    from models.reader.model import Reader

    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        result = train(params, labels, parts, work_dir=Path(folder), run=UnrecordedRun())
        fit_s = time.process_time() - began
        reader = Reader.load(Path(result["model"]))
        size = sum(path.stat().st_size for path in Path(result["model"]).iterdir())
    began = time.process_time()
    predictions = [reader.probabilities(part.contacts, part.turns)[0] for part in test_sets]
    n_contacts = sum(map(len, test_sets))
    return predictions, {
        "train_cpu_s": round(fit_s, 1),
        "mib": round(size / 2**20, 1),
        "read_ms_each": round(1000 * (time.process_time() - began) / n_contacts, 3),
    }


def predict_with_tfidf(
    parts: dict[str, LabelledContacts],
    labels: dict[str, tuple[str, ...]],
    test_sets: list[LabelledContacts],
) -> tuple[list[dict[str, np.ndarray]], dict[str, float]]:
    """Word 1-2-grams and letter 2-5-grams, logistic regression a label; on train and valid, as it needs no stop."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    def words(part: LabelledContacts) -> list[str]:
        spoken = part.turns.sort("turn").group_by("contact_id").agg(pl.col("text").str.join(" / "))
        return part.contacts.join(spoken, on="contact_id", how="left", maintain_order="left")[
            "text"
        ].to_list()

    began = time.process_time()
    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
    )
    learnt = [parts["train"], parts["valid"]]
    inputs = union.fit_transform([text for part in learnt for text in words(part)])
    outputs, at, predictions, numbers = (
        [union.transform(words(part)) for part in test_sets],
        0,
        [{} for _ in test_sets],
        0,
    )
    for number, (name, values) in enumerate(labels.items()):
        targets = np.concatenate([part.targets[:, at : at + len(values)] for part in learnt])
        rows = np.flatnonzero(np.concatenate([part.mask[:, number] for part in learnt]) > 0)
        at += len(values)
        model = LogisticRegression(C=10, max_iter=300, solver="lbfgs").fit(
            inputs[rows], targets[rows].argmax(axis=1)
        )
        numbers += model.coef_.size
        for prediction, output in zip(predictions, outputs, strict=True):
            prediction[name] = np.zeros((output.shape[0], len(values)))
            prediction[name][:, model.classes_] = model.predict_proba(output)
    return predictions, {
        "train_and_read_cpu_s": round(time.process_time() - began, 1),
        "mib": round(8 * numbers / 2**20, 1),
    }


def accuracy(chances: np.ndarray, targets_of: np.ndarray, clusters: np.ndarray) -> list[float]:
    result = ratio_of_sums(
        (chances.argmax(axis=1) == targets_of).astype(float), np.ones(len(targets_of)), clusters, 0
    )
    return [
        round(float(value), 4) for value in (result.value, result.low or 0.0, result.high or 0.0)
    ]


def accuracy_gain(
    first: np.ndarray, second: np.ndarray, targets_of: np.ndarray, clusters: np.ndarray
) -> list[float]:
    ones = np.ones(len(targets_of))
    sides = [
        ((chances.argmax(axis=1) == targets_of).astype(float), ones) for chances in (first, second)
    ]
    result = paired_difference(sides[0], sides[1], clusters, 0)
    return [
        round(float(value), 4) for value in (result.value, result.low or 0.0, result.high or 0.0)
    ]


def measure_intents(folder: Path, name: str, seed: int) -> dict[str, Any]:
    parts, values = read_intents(folder, name, seed)
    test = parts["test"]
    has_target = test.targets.sum(axis=1) > 0
    targets_of, each = (
        test.targets.argmax(axis=1)[has_target],
        np.arange(int(has_target.sum())).astype(str),
    )
    labels = {"intent": values}
    (ours,), cost = predict_with_reader(parts, labels, INTENTS, [test])
    (tfidf,), tfidf_cost = predict_with_tfidf(parts, labels, [test])
    a, b = ours["intent"][has_target], tfidf["intent"][has_target]
    return {
        "set": name,
        "intents": len(values),
        "texts": {side: len(part) for side, part in parts.items()},
        "reader": {"accuracy": accuracy(a, targets_of, each), **cost},
        "tfidf_logistic": {"accuracy": accuracy(b, targets_of, each), **tfidf_cost},
        "reader_minus_tfidf": accuracy_gain(a, b, targets_of, each),
    }


def measure_store(store: Path) -> list[dict[str, Any]]:
    """Accuracy against the simulator's truth, label by label, of rules, reader, TF-IDF and rules with reader."""
    from data.files import read_tables
    from data.labelling import label
    from data.labelling.complete import ReadingParams
    from data.splits import customer_splits
    from evaluation.asr.labels_on_text import heard_turns
    from evaluation.reader.scorecard import truth_labels
    from evaluation.scorecard import load

    tables = read_tables(store / "clean")
    contacts = tables["contacts"].join(
        customer_splits(pl.read_parquet(store / "splits.parquet")), on="customer_id"
    )
    machine_turns = pl.read_parquet(store / "transcripts.parquet").select(tables["turns"].columns)
    turns = pl.concat(
        [tables["turns"], machine_turns.join(tables["turns"], on="contact_id", how="anti")]
    )
    beliefs = label(tables["contacts"], turns).beliefs
    truth = truth_labels(pl.read_parquet(store / "truth/contacts.parquet"))
    parts = {
        side: labelled_contacts(contacts.filter(split=side), turns, beliefs, labels=SCHEME)
        for side in ("train", "valid", "test")
    }
    test_sets = {"people's words": (parts["test"], beliefs)}
    for role in ("candidate", "reference"):
        spoken = heard_turns(load(store / f"scorecards/asr/{role}.json"), tables["turns"], "hyp")
        mixed = pl.concat(
            [
                turns.join(spoken, on="contact_id", how="anti"),
                spoken.with_columns(origin=pl.lit("asr")),
            ]
        )
        result = label(tables["contacts"], mixed).beliefs
        test_sets[f"heard by the {role}"] = (
            labelled_contacts(contacts.filter(split="test"), spoken, result, labels=SCHEME),
            result,
        )
    arguments = [test_set for test_set, _ in test_sets.values()]
    ours, cost = predict_with_reader(parts, SCHEME, ReaderTraining(), arguments)
    tfidf, tfidf_cost = predict_with_tfidf(parts, SCHEME, arguments)
    results: list[dict[str, Any]] = [{"reader": cost, "tfidf_logistic": tfidf_cost}]
    for number, (title, (test_set, _)) in enumerate(test_sets.items()):
        rows, at = {}, 0
        for place, (name, values) in enumerate(SCHEME.items()):
            rules = test_set.targets[:, at : at + len(values)].astype(float)
            at += len(values)
            true = test_set.contacts.select("contact_id").join(
                truth.filter(label=name), on="contact_id", how="left", maintain_order="left"
            )
            has_target = (test_set.mask[:, place] > 0) & true["value"].is_not_null().to_numpy()
            targets_of = np.array(
                [values.index(value) if value in values else 0 for value in true["value"]]
            )[has_target]
            customers = test_set.contacts["customer_id"].to_numpy()[has_target]
            side_rows, tfidf_chances, rules = (
                ours[number][name][has_target],
                tfidf[number][name][has_target],
                rules[has_target],
            )
            together = np.sqrt(np.maximum(rules, 1e-4) * np.maximum(side_rows, 1e-4))
            rows[name] = {
                "contacts": int(has_target.sum()),
                "rules": accuracy(rules, targets_of, customers),
                "reader": accuracy(side_rows, targets_of, customers),
                "tfidf_logistic": accuracy(tfidf_chances, targets_of, customers),
                "rules_and_reader": accuracy(together, targets_of, customers),
                "reader_minus_tfidf": accuracy_gain(
                    side_rows, tfidf_chances, targets_of, customers
                ),
                "rules_and_reader_minus_rules": accuracy_gain(
                    together, rules, targets_of, customers
                ),
                "used_together": name in ReadingParams().together,
            }
        results.append({"text": title, "labels": rows})
    return results


def main() -> None:
    """Prints accuracies with 95 % intervals, sizes and times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=Path("../shared/data"))
    parser.add_argument("--store", type=Path)
    parser.add_argument("--sets", nargs="*", default=list(SIDES))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "contact reader", "intents": []}
    for name in arguments.sets:
        result["intents"].append(measure_intents(arguments.real, name, arguments.seed))
        print(json.dumps(result["intents"][-1]), file=sys.stderr, flush=True)
    if arguments.store:
        result["centre"] = measure_store(arguments.store)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
