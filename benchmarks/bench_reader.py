"""The contact reader against TF-IDF with logistic regression, on intents and a simulated centre.

Intents (banking77, clinc150) are learnt from the published train side, a tenth of it kept for
stopping and calibration, and tested on the published test side. With `--store` (of a finished
`keepline run`) both also read the held-out contacts of its simulated centre, trained on the rules'
beliefs and compared with the truth: as people wrote, and as recognisers transcribed the calls of
the ASR test set. `--real DIR --store DIR --sets banking77 clinc150`
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
from evaluation.metrics.bootstrap import Interval, paired_difference, ratio_of_sums
from training.reader.train import LabelledContacts, ReaderTraining, labelled_contacts, train
from training.run import UnrecordedRun

# Set beforehand for short texts of many intents; nothing was tried on a test side.
INTENTS = ReaderTraining(bits=16, width=96, epochs=15, batch_size=64, misheard_share=0.0)
Parts = dict[str, LabelledContacts]  # by split
Labels = dict[str, tuple[str, ...]]  # label → its values
Probabilities = dict[str, np.ndarray]  # label → [contacts, values]
SIDES = {"banking77": ("train", "test"), "clinc150": ("train", "test")}


def read_intents(
    folder: Path, name: str, seed: int
) -> tuple[dict[str, LabelledContacts], tuple[str, ...]]:
    """Returns (train, valid and test, intents) of a set, its texts as contacts of one turn.

    Valid is a tenth of the published train side.
    """
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
    parts: Parts, labels: Labels, test_sets: list[LabelledContacts], *, params: ReaderTraining
) -> tuple[list[Probabilities], dict[str, float]]:
    """Trains the reader and returns its probabilities on each test set, and what it costs."""
    from models.reader.model import Reader

    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        summary = train(params, labels, parts, work_dir=Path(folder), run=UnrecordedRun())
        fit_s = time.process_time() - began
        reader = Reader.load(Path(summary["model"]))
        size = sum(path.stat().st_size for path in Path(summary["model"]).iterdir())
    began = time.process_time()
    predictions = [reader.probabilities(part.contacts, part.turns)[0] for part in test_sets]
    n_contacts = sum(map(len, test_sets))
    return predictions, {
        "train_cpu_s": round(fit_s, 1),
        "mib": round(size / 2**20, 1),
        "read_ms_each": round(1000 * (time.process_time() - began) / n_contacts, 3),
    }


def predict_with_tfidf(
    parts: Parts, labels: Labels, test_sets: list[LabelledContacts]
) -> tuple[list[Probabilities], dict[str, float]]:
    """Trains TF-IDF with logistic regression and returns what `predict_with_reader` does.

    Word 1-2-grams and letter 2-5-grams, one regression a label; on train and valid, as it needs no
    early stopping.
    """
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
    outputs = [union.transform(words(part)) for part in test_sets]
    predictions: list[Probabilities] = [{} for _ in test_sets]
    at = numbers = 0
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


def accuracy(probabilities: np.ndarray, targets: np.ndarray, clusters: np.ndarray) -> list[float]:
    """Returns the accuracy and the ends of its 95 % interval."""
    correct = (probabilities.argmax(axis=1) == targets).astype(float)
    return _ends(ratio_of_sums(correct, np.ones(len(targets)), clusters, seed=0))


def accuracy_gain(
    first: np.ndarray, second: np.ndarray, targets: np.ndarray, *, clusters: np.ndarray
) -> list[float]:
    """Returns the accuracy of `first` less that of `second` and the ends of its 95 % interval."""
    ones = np.ones(len(targets))
    sides = [
        ((probabilities.argmax(axis=1) == targets).astype(float), ones)
        for probabilities in (first, second)
    ]
    return _ends(paired_difference(sides[0], sides[1], clusters, seed=0))


def _ends(interval: Interval) -> list[float]:
    values = (interval.value, interval.low or 0.0, interval.high or 0.0)
    return [round(float(value), 4) for value in values]


def measure_intents(folder: Path, name: str, seed: int) -> dict[str, Any]:
    """Returns the accuracy of both on the published test side of an intent set."""
    parts, values = read_intents(folder, name, seed)
    test = parts["test"]
    has_target = test.targets.sum(axis=1) > 0
    targets = test.targets.argmax(axis=1)[has_target]
    clusters = np.arange(int(has_target.sum())).astype(str)
    labels = {"intent": values}
    (by_reader,), reader_cost = predict_with_reader(parts, labels, [test], params=INTENTS)
    (by_tfidf,), tfidf_cost = predict_with_tfidf(parts, labels, [test])
    reader, tfidf = by_reader["intent"][has_target], by_tfidf["intent"][has_target]
    return {
        "set": name,
        "intents": len(values),
        "texts": {side: len(part) for side, part in parts.items()},
        "reader": {"accuracy": accuracy(reader, targets, clusters), **reader_cost},
        "tfidf_logistic": {"accuracy": accuracy(tfidf, targets, clusters), **tfidf_cost},
        "reader_minus_tfidf": accuracy_gain(reader, tfidf, targets, clusters=clusters),
    }


def read_store(store: Path) -> tuple[Parts, dict[str, LabelledContacts], pl.DataFrame]:
    """Returns (train, valid and test; test sets by title; true labels) of a simulated centre."""
    from data.files import read_tables
    from data.labelling import label
    from data.splits import customer_splits
    from evaluation.asr.labels_on_text import scored_turns
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
    test_sets = {"people's words": parts["test"]}
    for role in ("candidate", "reference"):
        card = load(store / f"scorecards/asr/{role}.json")
        spoken = scored_turns(card, tables["turns"], "hyp")
        mixed = pl.concat(
            [
                turns.join(spoken, on="contact_id", how="anti"),
                spoken.with_columns(origin=pl.lit("asr")),
            ]
        )
        beliefs = label(tables["contacts"], mixed).beliefs
        test_sets[f"heard by the {role}"] = labelled_contacts(
            contacts.filter(split="test"), spoken, beliefs, labels=SCHEME
        )
    return parts, test_sets, truth


def measure_store(store: Path) -> list[dict[str, Any]]:
    """Returns accuracies against the simulator's truth of rules, reader, TF-IDF and a mixture."""
    parts, test_sets, truth = read_store(store)
    contacts = list(test_sets.values())
    by_reader, reader_cost = predict_with_reader(parts, SCHEME, contacts, params=ReaderTraining())
    by_tfidf, tfidf_cost = predict_with_tfidf(parts, SCHEME, contacts)
    results: list[dict[str, Any]] = [{"reader": reader_cost, "tfidf_logistic": tfidf_cost}]
    for number, (title, test_set) in enumerate(test_sets.items()):
        labels = compare_on_labels(test_set, truth, by_reader[number], tfidf=by_tfidf[number])
        results.append({"text": title, "labels": labels})
    return results


def compare_on_labels(
    test_set: LabelledContacts, truth: pl.DataFrame, reader: Probabilities, *, tfidf: Probabilities
) -> dict[str, Any]:
    """Returns the accuracies on one test set, label by label."""
    from data.labelling.complete import ReadingParams

    rows: dict[str, Any] = {}
    at = 0
    for place, (name, values) in enumerate(SCHEME.items()):
        rules = test_set.targets[:, at : at + len(values)].astype(float)
        at += len(values)
        true = test_set.contacts.select("contact_id").join(
            truth.filter(label=name), on="contact_id", how="left", maintain_order="left"
        )["value"]
        has_target = (test_set.mask[:, place] > 0) & true.is_not_null().to_numpy()
        targets = np.array([values.index(value) if value in values else 0 for value in true])
        targets = targets[has_target]
        customers = test_set.contacts["customer_id"].to_numpy()[has_target]
        by_rules = rules[has_target]
        by_reader, by_tfidf = reader[name][has_target], tfidf[name][has_target]
        mixed = np.sqrt(np.maximum(by_rules, 1e-4) * np.maximum(by_reader, 1e-4))
        rows[name] = {
            "contacts": int(has_target.sum()),
            "rules": accuracy(by_rules, targets, customers),
            "reader": accuracy(by_reader, targets, customers),
            "tfidf_logistic": accuracy(by_tfidf, targets, customers),
            "rules_and_reader": accuracy(mixed, targets, customers),
            "reader_minus_tfidf": accuracy_gain(by_reader, by_tfidf, targets, clusters=customers),
            "rules_and_reader_minus_rules": accuracy_gain(
                mixed, by_rules, targets, clusters=customers
            ),
            "used_together": name in ReadingParams().together,
        }
    return rows


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
