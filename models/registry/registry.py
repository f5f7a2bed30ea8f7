"""The only door to MLflow's model registry: versions, aliases, and promotions that only an accepted decision can make.

MLflow's aliases are last-writer-wins and keep no history. So a promotion here holds a file lease, writes the ledger
first and moves the alias after it. The ledger is the truth and the alias its mirror: a process killed between the two
leaves an alias that the next call puts right. Bundles travel before the lease is taken, so that nobody waits for them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from models.registry.approval import ApprovalError, approver
from models.registry.bundle import Bundle, place_folder, verify_bundle
from models.registry.decision_rules import lacking
from models.registry.ledger import (
    AliasState,
    Entry,
    LedgerError,
    append,
    decision_id,
    read,
    standing,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
PREVIOUS = "previous"
CHALLENGER = "challenger"
ALIASES = (CHAMPION, PREVIOUS, CHALLENGER)  # aliases that mirror the ledger
ANCHOR = "ledger_head"  # tag on the registered model: the last ledger entry that reached it
# Tag on a version: why the service found it unhealthy. While it is there nobody promotes the version.
STOPPED = "stopped"


class RegistryError(RuntimeError):
    """A model, version or alias is not there, or is not what it should be."""


class PromotionRefusedError(RegistryError):
    """The champion stays: no accepted decision about this version, or somebody else promoted first."""


class Registry:
    """Model versions of one MLflow store, with the ledger and lease in `folder` (shared by all who promote)."""

    def __init__(
        self, tracking_uri: str, folder: Path, lease_s: float = 60.0, public_key: Path | None = None
    ) -> None:
        """`tracking_uri` as MLflow takes it; `lease_s` is how long to wait for another promotion to finish.

        With a `public_key` only bundles that its owner has signed are taken in or given out.
        """
        self.tracking_uri = tracking_uri
        self._public_key = public_key
        self.ledger_path = folder / "ledger.jsonl"
        self._lease_path = folder / "registry.lock"
        self._lease_s = lease_s
        self._client: MlflowClient | None = None

    # --- versions ---

    def register(
        self, bundle_dir: Path, name: str, run_id: str, tags: Mapping[str, str] | None = None
    ) -> int:
        """Verifies the bundle, stores its files with the MLflow run and makes it a version of `name`.

        The same bundle registered again is the same version. Raises BundleError when it does not verify.
        """
        bundle = verify_bundle(bundle_dir, self._public_key)
        if (known := self._known(name, bundle.sha256)) is not None:
            return known
        # The checksum in the path keeps a second bundle of the same run from mixing with the first.
        place = f"bundle/{bundle.sha256[:16]}"
        self.client.log_artifacts(run_id, str(bundle_dir), place)
        source = f"{self.client.get_run(run_id).info.artifact_uri.rstrip('/')}/{place}"
        with self._lease():
            if self._model(name) is None:
                self.client.create_registered_model(name)
            if (known := self._known(name, bundle.sha256)) is not None:
                return known
            made = self.client.create_model_version(
                name,
                source=source,
                run_id=run_id,
                tags={
                    "kind": bundle.kind,
                    "data_hash": bundle.data_hash,
                    "git_commit": bundle.git_commit,
                    "licence": bundle.licence,
                    **(tags or {}),
                    "bundle_sha256": bundle.sha256,
                },
            )
            return int(made.version)

    def alias(self, name: str, alias: str) -> int | None:
        """The version an alias names, or None. Titles are first put right from the ledger."""
        if alias in ALIASES:
            with self._lease():
                return _version_of(self._settle(name), alias)
        model = self._model(name)
        version = model.aliases.get(alias) if model else None
        return None if version is None else int(version)

    def peek(self, name: str, alias: str) -> tuple[int, str] | None:
        """(version, bundle checksum) of an alias, or None. Takes no lease and puts nothing right: for those who poll.

        Titles are what the ledger says. Raises LedgerError when that is not the ledger MLflow's aliases were moved by.
        """
        if alias in ALIASES:
            version = _version_of(standing(self.ledger(name)), alias)
        else:
            model = self._model(name)
            held = model.aliases.get(alias) if model else None
            version = None if held is None else int(held)
        return (
            None
            if version is None
            else (version, self._version(name, version).tags.get("bundle_sha256", ""))
        )

    def annotate(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Sets tags of a version; those that say which bundle it is cannot be changed (ValueError)."""
        fixed = {"bundle_sha256", "kind", "data_hash"} & set(tags)
        if fixed:
            raise ValueError(
                f"model {name} v{version}: the tag {min(fixed)} says which bundle it is and stays."
            )
        held = self._version(name, version).tags
        for key, value in tags.items():
            if held.get(key) != value:
                self.client.set_model_version_tag(name, str(version), key, value)

    def readmit(self, name: str, version: int, actor: str, why: str) -> str:
        """Lets a version that was stopped be tried and promoted again; returns why it had been stopped.

        Who did so, and why, stays on the version. Raises RegistryError when it was not stopped or no reason is given.
        """
        stopped = self._version(name, version).tags.get(STOPPED)
        if not stopped:
            raise RegistryError(f"model {name} v{version}: nobody stopped it.")
        if not why.strip():
            raise RegistryError(
                f"model {name} v{version}: it was stopped ({stopped}). Say why it may go on."
            )
        self.annotate(
            name, version, {"readmitted": f"by {actor}: {why.strip()} (it was stopped: {stopped})"}
        )
        self.client.delete_model_version_tag(name, str(version), STOPPED)
        return stopped

    def version_tags(self, name: str, version: int) -> dict[str, str]:
        """The tags of a version: bundle_sha256, kind, data_hash, git_commit, licence, decision_id once promoted."""
        return dict(self._version(name, version).tags)

    def run_of(self, name: str, version: int) -> str:
        """The id of the MLflow run that trained a version."""
        return str(self._version(name, version).run_id)

    def fetch(self, name: str, which: str | int, to_dir: Path) -> Bundle:
        """Brings version `which` (a number or an alias) to `to_dir/name/v<version>` and returns it verified.

        A copy already there is used if it still verifies, else fetched again. Raises RegistryError when there is no
        such version, or when what the store delivers is not what was registered; then nothing is kept.
        """
        version = which if isinstance(which, int) else self.alias(name, which)
        if version is None:
            raise RegistryError(
                f"model {name}: nothing has the alias '{which}' yet. Promote a version first."
            )
        record = self._version(name, version)
        expected = record.tags.get("bundle_sha256", "")
        target = to_dir / name / f"v{version}"
        if target.is_dir():
            try:
                bundle = verify_bundle(target, self._public_key)
                if bundle.sha256 == expected:
                    return bundle
            except ValueError:
                pass  # a damaged copy is only a copy
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as temporary:
            from mlflow.artifacts import download_artifacts

            delivered = Path(
                download_artifacts(
                    artifact_uri=record.source, dst_path=temporary, tracking_uri=self.tracking_uri
                )
            )
            bundle = verify_bundle(delivered, self._public_key)
            if bundle.sha256 != expected:
                raise RegistryError(
                    f"model {name} v{version}: the store delivers bundle {bundle.sha256[:12]}, registered was "
                    f"{expected[:12]}. It has been tampered with; register the model again."
                )
            moved = Path(temporary) / "whole"
            shutil.move(delivered, moved)
            place_folder(moved, target)
        return verify_bundle(target, self._public_key)

    # --- the champion ---

    def promote(
        self,
        name: str,
        version: int,
        expected: int | None,
        decision: Mapping[str, Any],
        actor: str,
        now: datetime,
        approval: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Makes `version` the champion of `name` and returns the ledger's entry.

        `expected` is the champion the caller compared with (None: there is none). `decision` is the decision record
        as its JSON says it. Promoting the champion again by the same decision changes nothing. `approval` is a person's
        answer (models.approval), needed where the decision was made under settings that ask for one.

        Raises PromotionRefusedError when the champion is another than `expected`, or the decision is refused, altered,
        about another bundle, made against another champion, or waits for approval, or the service has stopped the
        version; LedgerError when the ledger is damaged; as `fetch` does when the store delivers another bundle.
        """
        sha256 = self._accepted(name, version, decision)
        try:
            approved_by = approver(decision, approval)
        except ApprovalError as error:
            raise PromotionRefusedError(f"model {name} v{version}: {error}") from error
        self._check_delivery(name, version, sha256)
        with self._lease():
            last = self._settle(name).champion
            current = last.version if last else None
            if last and current == version and last.decision_id == decision["decision_id"]:
                return last
            if current != expected:
                raise PromotionRefusedError(
                    f"model {name}: the champion is {_v(current)}, not {_v(expected)} as expected; somebody promoted "
                    f"meanwhile. Compare v{version} with {_v(current)} and decide again."
                )
            if (
                last
                and (decision.get("reference") or {}).get("bundle_sha256") != last.bundle_sha256
            ):
                raise PromotionRefusedError(
                    f"model {name}: decision {decision['decision_id']} did not compare v{version} with the champion "
                    f"v{last.version}. Evaluate both on the same data and decide again."
                )
            self.client.set_model_version_tag(
                name, str(version), "decision_id", decision["decision_id"]
            )
            return self._move(
                "promote",
                name,
                version,
                current,
                sha256,
                decision["decision_id"],
                actor,
                now,
                approved_by,
            )

    def challenge(
        self, name: str, version: int, decision: Mapping[str, Any], actor: str, now: datetime
    ) -> Entry:
        """Makes `version` the challenger of `name`: accepted by the gate, and not (yet) promoted.

        Done twice it changes nothing. Raises PromotionRefusedError unless `decision` accepts this very version, and
        when the service has stopped it.
        """
        sha256 = self._accepted(name, version, decision)
        self._check_delivery(name, version, sha256)
        with self._lease():
            held = self._settle(name)
            if held.champion and held.champion.version == version:
                raise PromotionRefusedError(
                    f"model {name} v{version}: the champion cannot challenge itself."
                )
            if (
                held.challenger
                and held.challenger.version == version
                and held.challenger.decision_id == decision["decision_id"]
            ):
                return held.challenger
            current = held.champion.version if held.champion else None
            return self._move(
                "challenge", name, version, current, sha256, decision["decision_id"], actor, now
            )

    def withdraw(self, name: str, actor: str, now: datetime) -> Entry | None:
        """Takes the title of challenger away; None when nobody had it."""
        with self._lease():
            held = self._settle(name)
            if held.challenger is None:
                return None
            of = held.challenger
            current = held.champion.version if held.champion else None
            return self._move(
                "withdraw", name, of.version, current, of.bundle_sha256, of.decision_id, actor, now
            )

    def rollback(self, name: str, actor: str, now: datetime, expected: int | None = None) -> Entry:
        """Gives the title back to the champion before this one. Raises RegistryError when there was none.

        `expected` is the champion to leave (None: the one at the moment of the call). Rolling back twice goes two
        champions back; two people who do so at the same moment go one back, and the later is told
        (PromotionRefusedError). No gate is asked, as that version has passed it once; but its bundle must still be what
        was promoted then, or it raises as `fetch` does.
        """
        seen = standing(self.ledger(name))
        last, back = seen.champion, seen.previous
        if last is None or back is None:
            raise RegistryError(f"model {name}: no earlier champion to go back to.")
        if expected not in (None, last.version):
            raise PromotionRefusedError(
                f"model {name}: the champion is {_v(last.version)}, not {_v(expected)} as expected. Nothing was moved."
            )
        self._check_delivery(name, back.version, back.bundle_sha256)
        with self._lease():
            held = self._settle(name)
            if held.champion != last:  # the entry, not the version: it may have gone and come back
                raise PromotionRefusedError(
                    f"model {name}: somebody moved the title meanwhile; the champion is "
                    f"{_v(_version_of(held, CHAMPION))}. Look at `keepline ledger` and decide again."
                )
            return self._move(
                "rollback",
                name,
                back.version,
                last.version,
                back.bundle_sha256,
                back.decision_id,
                actor,
                now,
            )

    def ledger(self, name: str | None = None) -> list[Entry]:
        """Every move of a title (of `name`), oldest first, after checking the chain and that its end is there.

        Raises LedgerError for a ledger that was altered or cut short, or is not the one MLflow's aliases were moved by.
        """
        # What MLflow knows comes first: an entry is in the ledger before its hash is in MLflow.
        models = self.client.search_registered_models() if name is None else [self._model(name)]
        entries = read(self.ledger_path)
        for model in models:
            if model:
                self._check_anchor(model, entries)
        return [entry for entry in entries if name in (None, entry.name)]

    def champion_at(self, name: str, when: date | datetime) -> int | None:
        """Which version was champion at a moment, or at the end (UTC) of a day; None before the first."""
        held = None
        for entry in self.ledger(name):
            if entry.action not in ("promote", "rollback"):
                continue
            at = datetime.fromisoformat(entry.at)
            if isinstance(when, datetime):
                before = at <= when
            else:
                before = at < datetime.combine(when + timedelta(days=1), time.min, UTC)
            held = entry.version if before else held
        return held

    # --- inside ---

    @property
    def client(self) -> MlflowClient:
        """MLflow's client, made on first use because importing MLflow takes seconds."""
        if self._client is None:
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(
                tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri
            )
        return self._client

    @contextmanager
    def _lease(self) -> Iterator[None]:
        self._lease_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The kernel frees this lock when its holder dies, so a killed promotion blocks nobody.
            with FileLock(self._lease_path, timeout=self._lease_s):
                yield
        except Timeout as error:
            raise RegistryError(
                f"registry: another promotion has held {self._lease_path} for {self._lease_s:.0f} s. Try again later."
            ) from error

    def _settle(self, name: str) -> AliasState:
        """Makes the aliases of `name` say what the ledger says; returns who holds which title. Needs the lease."""
        entries = self.ledger(name)
        held = standing(entries)
        last = entries[-1] if entries else None
        model = self._model(name)
        if model is None:
            if last:
                raise LedgerError(
                    f"{self.ledger_path} has a champion of '{name}', MLflow has no such model."
                )
            return held
        for alias in ALIASES:
            holder: Entry | None = getattr(held, alias)
            there = model.aliases.get(alias)
            if holder is None and there is not None:
                self.client.delete_registered_model_alias(name, alias)
            elif holder is not None and (there is None or int(there) != holder.version):
                version = holder.version
                if self._version(name, version).tags.get("bundle_sha256") != holder.bundle_sha256:
                    raise LedgerError(
                        f"{self.ledger_path} knows another '{name}' v{version} than MLflow holds. Point both to the "
                        "same store, or restore the one that was lost."
                    )
                self.client.set_registered_model_alias(name, alias, str(version))
        if last and model.tags.get(ANCHOR) != last.hash:
            self.client.set_registered_model_tag(name, ANCHOR, last.hash)
        return held

    def _check_anchor(self, model: RegisteredModel, entries: list[Entry]) -> None:
        anchor = model.tags.get(ANCHOR)
        if anchor and anchor not in {entry.hash for entry in entries}:
            raise LedgerError(
                f"{self.ledger_path} lacks the last promotion of '{model.name}' that MLflow knows. It was cut short or "
                "is not this registry's; restore it, or point to the right folder."
            )

    def _move(
        self,
        action: str,
        name: str,
        version: int,
        previous: int | None,
        sha256: str,
        decision: str,
        actor: str,
        now: datetime,
        approved_by: str = "",
    ) -> Entry:
        if now.tzinfo is None:
            raise ValueError(f"registry: {now} has no time zone. Pass a UTC time.")
        fields = {
            "at": now.astimezone(UTC).isoformat(),
            "action": action,
            "name": name,
            "version": version,
            "previous": previous,
            "bundle_sha256": sha256,
            "decision_id": decision,
            "actor": actor,
            "approved_by": approved_by,
        }
        entry = append(self.ledger_path, fields)
        self._settle(name)
        return entry

    def _accepted(self, name: str, version: int, decision: Mapping[str, Any]) -> str:
        """The checksum of a version that `decision` accepts and nobody has stopped."""
        tags = self._version(name, version).tags
        sha256 = str(tags.get("bundle_sha256", ""))
        self._check_decision(name, version, sha256, decision)
        if tags.get(STOPPED):
            raise PromotionRefusedError(
                f"model {name} v{version}: the service stopped it ({tags[STOPPED]}). Train another, or "
                f"`keepline readmit {name} {version} --why TEXT`."
            )
        return sha256

    def _check_decision(
        self, name: str, version: int, sha256: str, decision: Mapping[str, Any]
    ) -> None:
        said = f"model {name} v{version}: decision {decision.get('decision_id', '(without id)')}"
        if decision.get("decision_id") != decision_id(decision):
            raise PromotionRefusedError(f"{said} has been altered since it was made. Decide again.")
        if decision.get("verdict") != "accepted":
            raise PromotionRefusedError(
                f"{said} refused it. Read its record for the checks that failed."
            )
        failed = [
            check["name"]
            for check in decision.get("checks", ())
            if check["verdict"] not in ("pass", "skipped")
        ]
        if failed:
            raise PromotionRefusedError(
                f"{said} accepts it although {', '.join(failed)} did not pass. Decide again."
            )
        if lacks := lacking(decision):
            raise PromotionRefusedError(f"{said} {lacks}. Decide again.")
        about = (decision.get("candidate") or {}).get("bundle_sha256")
        if not sha256 or about != sha256:
            raise PromotionRefusedError(
                f"{said} is about another bundle ({str(about)[:12]}, not {sha256[:12]})."
            )

    def _check_delivery(self, name: str, version: int, sha256: str) -> None:
        """Fetches a version to a temporary folder only to verify that it is the bundle `sha256`; raises as `fetch`."""
        with tempfile.TemporaryDirectory(prefix="keepline-") as temporary:
            found = self.fetch(name, version, Path(temporary)).sha256
        if found != sha256:
            raise RegistryError(
                f"model {name} v{version}: it was bundle {sha256[:12]} and is {found[:12]} now."
            )

    def _known(self, name: str, sha256: str) -> int | None:
        """The version of `name` that is this bundle."""
        for known in self.client.search_model_versions(f"name='{name}'"):
            if known.tags.get("bundle_sha256") == sha256:
                return int(known.version)
        return None

    def _model(self, name: str) -> RegisteredModel | None:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _version(self, name: str, version: int) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version(name, str(version))
        except MlflowException as error:
            raise RegistryError(
                f"model {name}: no version {version}. Register its bundle first."
            ) from error


def _version_of(held: AliasState, title: str) -> int | None:
    holder: Entry | None = getattr(held, title)
    return holder.version if holder else None


def _v(version: int | None) -> str:
    return "nobody" if version is None else f"v{version}"
