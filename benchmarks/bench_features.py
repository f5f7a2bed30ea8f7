"""P7: seconds and memory of point-in-time features as contacts grow; one contact in five has a label of each kind.

`--contacts 10000 100000 1000000`, five contacts a customer, one as-of date.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.features import FeatureParams, features
from data.labelling.scheme import SCHEME
from data.records import CHANNELS, CONTACTS, CUSTOMERS, LABELS, OUTCOMES

AS_OF = date(2026, 6, 1)


def a_centre(contacts: int, seed: int = 0) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Tables and labels of `contacts` contacts within the last two years."""
    rng = np.random.default_rng(seed)
    customers, end = max(1, contacts // 5), datetime(2026, 6, 1, tzinfo=UTC)
    ids = pl.Series(range(contacts)).cast(pl.String)
    names = pl.Series(range(customers)).cast(pl.String)
    tables = {
        "customers": pl.DataFrame({"customer_id": names, "plan": "plus", "attributes": "{}",
                                   "since": [date(2020, 1, 1)] * customers}),
        "contacts": pl.DataFrame({
            "contact_id": ids, "customer_id": rng.integers(0, customers, contacts).astype(str),
            "channel": rng.choice(CHANNELS, contacts), "duration_s": rng.exponential(200, contacts),
            "wait_s": rng.exponential(60, contacts),
        }).with_columns((pl.lit(end) - pl.Series(rng.uniform(0, 730 * 86400e6, contacts).astype(np.int64)).cast(
            pl.Duration("us"))).alias("started_at")),
        "outcomes": pl.DataFrame({"customer_id": names, "event": "churn", "happened": False,
                                  "observed_until": [AS_OF + timedelta(days=200)] * customers}),
    }  # fmt: skip
    schemas: dict[str, Any] = {"customers": CUSTOMERS, "contacts": CONTACTS, "outcomes": OUTCOMES}
    tables = {
        name: pl.concat([pl.DataFrame(schema=schemas[name]), table], how="diagonal_relaxed").cast(schemas[name])
        for name, table in tables.items()
    }
    labelled = ids.filter(pl.Series(rng.random(contacts) < 0.2))
    labels = pl.concat(
        pl.DataFrame({"contact_id": labelled, "label": label, "value": rng.choice(values, len(labelled)),
                      "probability": rng.uniform(0.5, 1, len(labelled)), "origin": "label_model"}, schema=LABELS)
        for label, values in SCHEME.items()
    )  # fmt: skip
    return tables, labels


def main() -> None:
    """Prints a measurement a size, each in a process of its own, and the growth from the first to the last."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--contacts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    ask.add_argument("--one", action="store_true", help="measure in this process")
    asked = ask.parse_args()
    if asked.one:
        tables, labels = a_centre(asked.contacts[0])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, cpu = time.monotonic(), time.process_time()
        rows = features(tables, labels, [AS_OF], FeatureParams())
        print(json.dumps({"contacts": asked.contacts[0], "wall_s": round(time.monotonic() - began, 2),
                          "cpu_s": round(time.process_time() - cpu, 2), "rows": rows.height, "columns": rows.width,
                          "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                          "of_which_tables_mb": round(before / 1024)}))  # fmt: skip
        return
    found = []
    for contacts in asked.contacts:
        told = subprocess.run([sys.executable, __file__, "--one", "--contacts", str(contacts)], check=True,
                              capture_output=True, text=True).stdout  # fmt: skip
        found.append(json.loads(told))
    growth = (found[-1]["cpu_s"] / found[0]["cpu_s"]) / (found[-1]["contacts"] / found[0]["contacts"])
    print(
        json.dumps({"benchmark": "P7 features", "sizes": found, "cpu_growth_over_linear": round(growth, 2)}, indent=1)
    )


if __name__ == "__main__":
    main()
