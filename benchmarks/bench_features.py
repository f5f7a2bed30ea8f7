"""P7: seconds and memory of point-in-time features by the number of contacts, from disk to disk.

`--contacts 10000 100000 1000000`, five contacts a customer, one contact in five with each label,
one as-of date (`--dates 10` for as many months as training uses). Wall and CPU seconds and the peak
of resident memory are those of a process that does nothing else; `of_which_idle_mb` is its memory
before it begins.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.features.features import FeatureParams, features_in_parts
from data.files import scan_tables, write_parts, write_table
from data.labelling.scheme import SCHEME
from data.records import CHANNELS, CONTACTS, CUSTOMERS, LABELS, OUTCOMES

AS_OF = date(2026, 6, 1)


def make_tables(contacts: int, seed: int = 0) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Returns tables and labels of `contacts` contacts within the last two years."""
    rng = np.random.default_rng(seed)
    customers, end = max(1, contacts // 5), datetime(2026, 6, 1, tzinfo=UTC)
    ids = pl.Series(range(contacts)).cast(pl.String)
    names = pl.Series(range(customers)).cast(pl.String)
    tables = {
        "customers": pl.DataFrame(
            {
                "customer_id": names,
                "plan": "plus",
                "attributes": "{}",
                "since": [date(2020, 1, 1)] * customers,
            }
        ),
        "contacts": pl.DataFrame(
            {
                "contact_id": ids,
                "customer_id": rng.integers(0, customers, contacts).astype(str),
                "channel": rng.choice(CHANNELS, contacts),
                "duration_s": rng.exponential(200, contacts),
                "wait_s": rng.exponential(60, contacts),
            }
        ).with_columns(
            (
                pl.lit(end)
                - pl.Series(rng.uniform(0, 730 * 86400e6, contacts).astype(np.int64)).cast(
                    pl.Duration("us")
                )
            ).alias("started_at")
        ),
        "outcomes": pl.DataFrame(
            {
                "customer_id": names,
                "event": "churn",
                "happened": False,
                "observed_until": [AS_OF + timedelta(days=200)] * customers,
            }
        ),
    }
    schemas: dict[str, Any] = {"customers": CUSTOMERS, "contacts": CONTACTS, "outcomes": OUTCOMES}
    tables = {
        name: pl.concat([pl.DataFrame(schema=schemas[name]), table], how="diagonal_relaxed").cast(
            schemas[name]
        )
        for name, table in tables.items()
    }
    return tables, make_labels(ids.filter(pl.Series(rng.random(contacts) < 0.2)), rng)


def make_labels(ids: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    """Returns a random value of each label for the contacts."""
    return pl.concat(
        pl.DataFrame(
            {
                "contact_id": ids,
                "label": label,
                "value": rng.choice(values, len(ids)),
                "probability": rng.uniform(0.5, 1, len(ids)),
                "origin": "label_model",
            },
            schema=LABELS,
        )
        for label, values in SCHEME.items()
    )


def measure(folder: Path, dates: int) -> dict[str, Any]:
    """Measures computing the features of the tables in `folder`; writes them there."""
    tables = scan_tables(folder)
    months = [AS_OF.year * 12 + AS_OF.month - 1 - n for n in reversed(range(dates))]
    as_of = [date(month // 12, month % 12 + 1, 1) for month in months]
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.monotonic(), time.process_time()
    parts = features_in_parts(
        tables, pl.scan_parquet(folder / "labels.parquet"), as_of, params=FeatureParams()
    )
    rows = write_parts(folder / "features.parquet", parts)
    return {
        "wall_s": round(time.monotonic() - began, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "rows": rows,
        "as_of_dates": dates,
        "columns": len(pl.scan_parquet(folder / "features.parquet").collect_schema()),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "of_which_idle_mb": idle // 1024,
        "written_mb": round((folder / "features.parquet").stat().st_size / 1e6),
    }


def main() -> None:
    """Prints a measurement of each size, each in a new process, and the growth over all sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dates", type=int, default=1)
    parser.add_argument(
        "--make", type=Path, help="write the tables of the first size to this folder"
    )
    parser.add_argument(
        "--measure", type=Path, help="measure the tables of this folder in this process"
    )
    arguments = parser.parse_args()
    if arguments.make:
        tables, labels = make_tables(arguments.contacts[0])
        for name, table in {**tables, "labels": labels}.items():
            write_table(arguments.make / f"{name}.parquet", table)
        return
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.dates)))
        return
    sizes = []
    for contacts in arguments.contacts:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                __file__,
                "--contacts",
                str(contacts),
                "--dates",
                str(arguments.dates),
            ]
            subprocess.run([*command, "--make", folder], check=True)
            output = subprocess.run(
                [*command, "--measure", folder], check=True, capture_output=True, text=True
            ).stdout
            sizes.append({"contacts": contacts, **json.loads(output)})
            print(json.dumps(sizes[-1]), file=sys.stderr, flush=True)
    growth = (sizes[-1]["cpu_s"] / sizes[0]["cpu_s"]) / (
        sizes[-1]["contacts"] / sizes[0]["contacts"]
    )
    print(
        json.dumps(
            {
                "benchmark": "P7 features",
                "sizes": sizes,
                "cpu_growth_over_linear": round(growth, 2),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
