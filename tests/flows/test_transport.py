"""O2: what passes by itself is retried, what is wrong with data or a candidate never is."""

from __future__ import annotations

import sqlite3

import httpx
import pytest
import requests
import urllib3
from mlflow.exceptions import MlflowException
from prefect.task_engine import TaskRunTimeoutError
from sqlalchemy.exc import OperationalError

from data.hours import HoursError
from data.versioning import VersionError
from flows.runtime.transport import is_transport_error
from models.registry.bundle import BundleError
from training.tracking import TrackingError, get_run


def _raised(outer: Exception, cause: Exception, *, named: bool) -> Exception:
    """An error raised while another was handled."""
    try:
        try:
            raise cause
        except Exception as error:
            if named:
                raise outer from error
            raise outer  # noqa: B904
    except Exception as error:
        return error


AWAY = requests.exceptions.ConnectionError("refused")


@pytest.mark.parametrize(
    "error",
    [
        AWAY,
        requests.exceptions.ReadTimeout("slow"),
        httpx.ConnectError("refused"),
        urllib3.exceptions.ProtocolError("cut off"),
        ConnectionResetError("reset"),
        sqlite3.OperationalError("database is locked"),
        OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked")),
        MlflowException("API request to endpoint failed with error code 503 != 200"),
        _raised(MlflowException("API request failed"), AWAY, named=False),
        _raised(VersionError("push failed in versioned"), AWAY, named=True),
    ],
)
def test_O2_an_error_of_transport_is_worth_a_retry(error: Exception) -> None:
    assert is_transport_error(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        HoursError("2 h got lost"),
        BundleError("bundle was changed"),
        ValueError("refused"),
        FileNotFoundError("no such file"),
        sqlite3.OperationalError("no such table: runs"),
        MlflowException("Registered Model with name=asr not found"),
        TaskRunTimeoutError("longer than 4 h"),
        # What is found wrong after a server was away is wrong all the same.
        _raised(BundleError("bundle was changed"), AWAY, named=False),
    ],
)
def test_O2_an_error_of_data_or_of_the_gate_is_not(error: Exception | None) -> None:
    assert not is_transport_error(error)


def test_O2_mlflow_itself_says_so_when_its_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError) as caught:
        get_run("http://127.0.0.1:9", "r1")
    assert is_transport_error(caught.value)
