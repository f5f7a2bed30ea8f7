"""The registry as an experiment sees it: every model can be fetched, nothing can be changed."""

from __future__ import annotations

from typing import Any, NoReturn

from models.registry.registry import Registry, RegistryError


class ReadOnlyRegistry(Registry):
    """A registry whose versions, aliases and ledger are only read."""

    def alias(self, name: str, alias: str) -> int | None:
        """Returns the version an alias names, or None, by the ledger; puts nothing right."""
        found = self.peek(name, alias)
        return found[0] if found else None

    def _refuse(self, *words: Any, **named: Any) -> NoReturn:
        """Raises RegistryError."""
        raise RegistryError(
            "registry: an experiment registers and promotes nothing. Put its settings into "
            "params.yaml (`dvc exp apply NAME`) and train with `keepline run`."
        )

    register = promote = challenge = withdraw = rollback = annotate = readmit = _refuse
