"""Bad input on the command line: an error that names thing and next step, and nothing lost."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.factories import a_truncated_wav, a_wav, an_asterisk_export, an_export
from tests.flows.conftest import keepline


def _edit(path: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    """Rewrites a csv file with a header through `change(rows)`."""
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    rows = change(rows)
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _ingest(store: Path, export: Path) -> subprocess.CompletedProcess[str]:
    return keepline(store, "step", "ingest", "--export", str(export), "--store", str(store))


def _refused(store: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (store / "quarantine" / "ingest.jsonl").read_text().splitlines()
    ]


def test_an_empty_folder_is_refused_saying_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    done = keepline(tmp_path / "store", "run", str(tmp_path / "export"))
    assert done.returncode == 1
    assert "the folder is empty" in done.stderr
    assert "cdr/Master.csv" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_column_is_refused_naming_file_and_column(tmp_path: Path) -> None:
    export = an_export(tmp_path / "export")
    _edit(
        export / "contacts.csv",
        lambda rows: [
            {("when" if k == "started_at" else k): v for k, v in row.items()} for row in rows
        ],
    )
    done = _ingest(tmp_path / "store", export)
    assert done.returncode == 1
    assert "contacts.csv" in done.stderr
    assert "started_at" in done.stderr
    assert not (tmp_path / "store" / "ingest.json").exists()


@pytest.mark.parametrize(
    ("fault", "names", "reason"),
    [
        ("truncated", "call-2", "truncated"),
        ("mono", "call-2", "channel"),
        ("no recording", "call-2", "recording"),
        ("no line", "stray", "no contact"),
        ("unknown customer", "call-2", "unknown customer"),
    ],
)
def test_a_bad_call_is_set_aside_with_its_reason_and_the_others_come_in(
    tmp_path: Path, fault: str, names: str, reason: str
) -> None:
    export, store = an_export(tmp_path / "export"), tmp_path / "store"
    recording = export / "recordings" / "call-2.wav"
    if fault == "truncated":
        a_truncated_wav(recording)
    if fault == "mono":
        a_wav(recording, channels=1)
    if fault == "no recording":
        recording.unlink()
    if fault == "no line":
        a_wav(export / "recordings" / "stray.wav", seed=9)
    if fault == "unknown customer":
        _edit(
            export / "contacts.csv",
            lambda rows: [
                {**row, "customer_id": "C99"} if row["contact_id"] == "call-2" else row
                for row in rows
            ],
        )
    done = _ingest(store, export)
    assert done.returncode == 0, done.stderr
    about = [line for line in _refused(store) if names in line["thing"]]
    assert about
    assert any(reason in line["reason"] for line in about)
    assert all(line["next_step"] for line in about)
    kept = set(pl.read_parquet(store / "tables" / "recordings.parquet")["contact_id"])
    assert {"call-1", "call-3"} <= kept
    assert ("call-2" in kept) == (fault == "no line")


def test_a_cdr_line_without_its_recording_and_a_recording_without_its_line_are_named(
    tmp_path: Path,
) -> None:
    export, store = an_asterisk_export(tmp_path / "export"), tmp_path / "store"
    (export / "monitor" / "call-2.wav").unlink()
    a_wav(export / "monitor" / "stray.wav", seed=9)
    assert _ingest(store, export).returncode == 0
    things = " ".join(line["thing"] for line in _refused(store))
    assert "call-2" in things
    assert "stray" in things


def test_a_nemo_that_is_not_one_is_refused_naming_the_file(tmp_path: Path) -> None:
    from models.asr.load import load
    from models.asr.nemo import ModelError

    fake = tmp_path / "fake.nemo"
    fake.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"fake\.nemo"):
        load(fake)


def test_a_setting_that_is_none_is_refused_naming_it(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("asr: {stepz: 3}\n")
    done = keepline(tmp_path / "store", "step", "ingest", KEEPLINE_PARAMS=str(params))
    assert done.returncode == 1
    assert "asr.stepz is not a setting" in done.stderr


def test_help_is_there_within_a_second_and_loads_no_vendor(tmp_path: Path) -> None:
    done = keepline(tmp_path / "store", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "keepline" in done.stdout.lower()
    for vendor in ("torch", "nemo", "mlflow", "prefect", "dvc", "great_expectations", "polars"):
        assert f"| {vendor}\n" not in done.stderr.replace("|   ", "| ")
