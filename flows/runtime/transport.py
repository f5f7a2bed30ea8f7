"""Tells errors of transport, which pass by themselves, from errors of data, which do not."""

from __future__ import annotations

import re
from collections.abc import Iterator

# By name, so that nothing is imported that is not in use. A subclass counts as its base.
_TRANSPORT = frozenset(
    {
        "builtins.ConnectionError",
        "socket.gaierror",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "requests.exceptions.ChunkedEncodingError",
        "urllib3.exceptions.HTTPError",
        "httpx.TransportError",
        "aiohttp.client_exceptions.ClientConnectionError",
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.EndpointConnectionError",
        "botocore.exceptions.ConnectionError",
        "psycopg.OperationalError",
    }
)
# They raise their own error inside an `except`, without naming the one they caught as the cause.
_WRAPPERS = ("mlflow.", "sqlalchemy.", "dvc.", "dvc_", "fsspec.", "s3fs.", "botocore.", "boto3.")
_LOCKED = re.compile(r"database (table )?is locked", re.IGNORECASE)
_UNAVAILABLE = re.compile(r"error code:? (429|502|503|504)\b|too many (502|503|504) error")


def is_transport_error(error: BaseException | None) -> bool:
    """Returns whether an error comes from a server or a database that cannot be reached just now.

    Looks at the error and at what it was raised from. A refused candidate, broken data, a wrong
    setting and a stage that took too long are none, whatever happened before them.
    """
    return any(_is_transport(each) for each in _causes(error))


def _is_transport(error: BaseException) -> bool:
    names = {f"{each.__module__}.{each.__qualname__}" for each in type(error).__mro__}
    if names & _TRANSPORT:
        return True
    text = str(error)
    if "sqlite3.OperationalError" in names or "sqlalchemy.exc.OperationalError" in names:
        return bool(_LOCKED.search(text))
    if "mlflow.exceptions.MlflowException" in names:
        return bool(_UNAVAILABLE.search(text) or _LOCKED.search(text))
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and what it was raised from, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        wraps = type(error).__module__.startswith(_WRAPPERS) and not error.__suppress_context__
        error = error.__cause__ or (error.__context__ if wraps else None)
