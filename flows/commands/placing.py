"""Gives commands that work on a store the options --site and --wait."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.runtime.lease import COMMAND_WAIT_S, set_patience

SiteOption = Annotated[
    str | None,
    typer.Option(help="A site, instead of --store; `keepline site list` lists them."),
]
WaitOption = Annotated[
    float,
    typer.Option(help="Seconds to wait for who else works on the store.", min=0),
]


def of_a_store(*, writes: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns a decorator of commands that take `store`: they take --site too.

    With `writes` also --wait, for the store's lease. The command is called with the site's store.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def placed(*, site: str | None = None, wait: float = COMMAND_WAIT_S, **given: Any) -> None:
            if site is not None:
                given["store"] = _store_of(site, given["store"])
            set_patience(wait)
            command(**given)

        more: dict[str, tuple[Any, Any]] = {"site": (SiteOption, None)}
        if writes:
            more["wait"] = (WaitOption, COMMAND_WAIT_S)
        hints = typing.get_type_hints(command, include_extras=True)
        parameters = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
        ]
        parameters += [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint
            )
            for name, (hint, default) in more.items()
        ]
        # Typer reads the signature, and would look through to the command's own.
        vars(placed)["__signature__"] = inspect.Signature(parameters)
        placed.__annotations__ = {**hints, **{name: hint for name, (hint, _) in more.items()}}
        del vars(placed)["__wrapped__"]
        return placed

    return decorate


def _store_of(site: str, store: Path | None) -> Path:
    from flows.runtime.places import find_place

    return find_place(site=site, store=store).store
