"""What tests share: where real data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Returns the folder of real recordings and tables (KEEPLINE_REAL_DATA, default ../shared/data).

    Skips the test where there is none.
    """
    folder = Path(os.environ.get("KEEPLINE_REAL_DATA") or HERE.parent.parent / "shared" / "data")
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real data in {folder}: set KEEPLINE_REAL_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of one small run of the pipeline."""
    from tests.flows.conftest import keepline

    store = tmp_path_factory.mktemp("pipeline") / "store"
    done = keepline(store, "demo")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (store / "demo.txt").write_text(done.stdout)
    return store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files that run the pipeline first: they take longest, and two workers that share the
    files then end together.
    """
    slow_fixtures = {"walked", "clone", "killed_runs", "prepared"}
    slow_files = {
        item.path for item in items if slow_fixtures & set(getattr(item, "fixturenames", ()))
    }
    items.sort(key=lambda item: item.path not in slow_files)
