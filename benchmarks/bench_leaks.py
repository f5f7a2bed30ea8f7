"""Measures the rule for leaking values: false alarms on real tables, and planted leaks that are found.

Planted: a column of the customer record that is filled, or another value, or in another range, for a
share of those who left, and for nobody or few of those present. Prints JSON.

    KEEPLINE_REAL_DATA=/path python -m benchmarks.bench_leaks [features.parquet current.parquet]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data import plain_table
from data.record_leaks import leaking_values

KINDS = ("category", "filled or empty", "numeric range", "month of a date")
SHARES = (0.3, 0.5, 0.8, 0.9, 0.95, 0.98)


def planted(
    kind: str, share: float, seed: int, *, customers: int = 2500, left: float = 0.2, few: int = 0
) -> tuple[pl.Series, np.ndarray]:
    """Returns a column and who left: `share` of those who left, and `few` present ones, have the leak."""
    rng = np.random.default_rng(seed)
    gone = rng.random(customers) < left
    has = gone & (rng.random(customers) < share)
    has[rng.choice(np.flatnonzero(~gone), few, replace=False)] = True
    if kind == "category":
        usual = rng.choice(["new", "active", "loyal"], customers)
        return pl.Series("attr_status", np.where(has, "closing", usual)), gone
    if kind == "numeric range":
        usual_fee = rng.gamma(2.0, 10.0, customers)
        return pl.Series("attr_fee", np.where(has, usual_fee + 500.0, usual_fee)), gone
    months = [f"2026-{month:02d}" for month in rng.integers(1, 13, customers)]
    filled = ["x"] * customers if kind == "filled or empty" else months
    return pl.Series(
        "attr_end", [v if h else None for v, h in zip(filled, has, strict=True)], dtype=pl.String
    ), gone


def found(kind: str, share: float, seed: int, **options: Any) -> bool:
    """Returns whether the planted column is found."""
    column, gone = planted(kind, share, seed, **options)
    frame = column.to_frame()
    return bool(leaking_values(frame.filter(gone), frame.filter(~gone), [column.name]))


def false_alarms(path: Path, target: str, drop: tuple[str, ...] = ()) -> list[str]:
    """Returns the leaking values that are reported in a real table."""
    separator = ";" if path.name.startswith("bank") else ","
    frame = pl.read_csv(
        path, separator=separator, infer_schema_length=None, null_values=["", "NA", "NaN"]
    ).drop(drop)
    event = plain_table.target(frame, target)
    columns = plain_table.columns_of(frame, target, positive=None, id=None, exclude=())
    values = plain_table.values_of(frame, columns).filter(event.is_not_null())
    gone = event.drop_nulls()
    return [
        value.describe()
        for value in leaking_values(values.filter(gone), values.filter(~gone), values.columns)
    ]


def main() -> None:
    """Prints false alarms by table, and the shares of planted leaks found by kind."""
    folder = Path(os.environ["KEEPLINE_REAL_DATA"]) / "churn"
    figures: dict[str, Any] = {
        "false alarms": {
            name: false_alarms(folder / name, target, drop)
            for name, target, drop in (
                ("ibm_telco.csv", "churn", ()),
                ("mlc_churn.csv", "churn", ()),
                ("iranian_telecom.csv", "churn", ()),
                ("churn_tv_subscriptions.csv.gz", "target", ("C_FP", "C_FN", "C_TP", "C_TN")),
                ("bankmarketing.csv.gz", "y", ()),
            )
        }
    }
    for few in (0, 5):
        figures[f"planted and found, {few} present customers have it"] = {
            kind: {
                f"{share:.0%}": sum(found(kind, share, n, few=few) for n in range(20)) / 20
                for share in SHARES
            }
            for kind in KINDS
        }
    if len(sys.argv) > 2:
        rows, current = (pl.read_parquet(path) for path in sys.argv[1:3])
        left = rows.filter(pl.col("event")).unique("customer_id", keep="last")
        names = [
            name
            for name in rows.columns
            if name in ("plan", "region", "monthly_price") or name.startswith("attr_")
        ]
        reported = [value.describe() for value in leaking_values(left, current, names)]
        figures["customer record of the store"] = {"columns": len(names), "reported": reported}
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
