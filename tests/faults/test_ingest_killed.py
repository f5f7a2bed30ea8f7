"""kill -9 at every write of an ingest: the next run ends where an undisturbed one does."""

import shutil
import subprocess
import sys
from pathlib import Path

from data import sources
from data.files import read_tables
from data.ingest import IngestParams, ingest
from data.speech import shards
from tests.factories import NOW, a_truncated_wav, a_wav, an_export

# Runs an ingest that is killed as its N-th file is about to take its name; ends 0 when there are
# fewer.
KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from data import sources
from data.ingest import IngestParams, ingest
left, rename = int(sys.argv[3]), Path.replace
def replace(self, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.replace = replace
delivery = sources.read("auto", Path(sys.argv[1]))
ingest(delivery, Path(sys.argv[2]), datetime(2026, 8, 10, 9, tzinfo=UTC), params=IngestParams(shard_mb=1))
"""


def contents(store: Path) -> dict[str, bytes]:
    files = [
        path
        for path in store.rglob("*")
        if path.is_file() and path.name not in (".ingest.lock", "ingest.json")
    ]
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def test_an_ingest_killed_at_any_write_is_finished_by_the_next_one(tmp_path: Path) -> None:
    monday = an_export(tmp_path / "monday", calls=3, duration_s=15.0)
    # Tuesday's export has Monday's calls, one of them changed, and new ones, one of them damaged.
    tuesday = an_export(tmp_path / "tuesday", calls=6, duration_s=15.0)
    a_wav(tuesday / "recordings" / "call-1.wav", duration_s=15.0, seed=70)
    a_truncated_wav(tuesday / "recordings" / "call-6.wav")
    undisturbed = tmp_path / "undisturbed"
    params = IngestParams(shard_mb=1)
    ingest(sources.read("auto", monday), undisturbed, NOW, params=params)
    shutil.copytree(undisturbed, tmp_path / "first")
    ingest(sources.read("auto", tuesday), undisturbed, NOW, params=params)

    kills = 0
    while True:
        store = tmp_path / f"killed-{kills + 1}"
        shutil.copytree(tmp_path / "first", store)
        run = subprocess.run(
            [sys.executable, "-c", KILLED, str(tuesday), str(store), str(kills + 1)], check=False
        )
        if run.returncode == 0:
            break
        kills += 1
        assert run.returncode == -9
        assert not (store / "ingest.json").exists()  # whoever looks sees that it is not complete
        ingest(sources.read("auto", tuesday), store, NOW, params=params)
        assert shards.verify(store / "shards", read_tables(store / "tables")["recordings"]) == []
        assert contents(store) == contents(undisturbed)
    # Two shards, four tables, the damaged audio, the list of refusals, the summary.
    assert kills >= 8
