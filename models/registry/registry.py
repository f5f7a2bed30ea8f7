"""The model registry on MLflow: versions, aliases, and promotions by accepted decisions only.

It is the only module that talks to MLflow's model registry. MLflow's aliases are last-writer-wins
and keep no history. So a promotion here holds a file lease, writes the ledger first and moves the
alias after it. The ledger is the truth and the alias its mirror: a process killed between the two
leaves an alias that the next call puts right. Bundles travel before the lease is taken, so nobody
waits for them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from models.registry.approval import ApprovalError, find_approver
from models.registry.belief import DecisionRecords, check_entries
from models.registry.bundle import Bundle, place_folder, verify_bundle
from models.registry.decision_rules import refusal_reason
from models.registry.ledger import (
    Action,
    Alias,
    AliasState,
    Entry,
    LedgerError,
    append_entry,
    read_entries,
    replay,
    sign_last_entry,
)
from models.registry.signing import is_signed, sign_text

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.tracking import MlflowClient

CHAMPION = Alias.CHAMPION
PREVIOUS = Alias.PREVIOUS
CHALLENGER = Alias.CHALLENGER
ALIASES = tuple(Alias)  # aliases that mirror the ledger; others are MLflow's own
ANCHOR = "ledger_head"  # tag on the registered model: the last ledger entry that reached it


class VersionTag(StrEnum):
    """A tag on a version that the registry reads or writes. The values are stored in MLflow."""

    # What the version is; set when it is registered and never changed.
    BUNDLE_SHA256 = "bundle_sha256"
    KIND = "kind"
    DATA_HASH = "data_hash"
    GIT_COMMIT = "git_commit"
    LICENCE = "licence"
    # The decision by which it became champion.
    DECISION_ID = "decision_id"
    # Why the service found it unhealthy. While the tag is there nobody promotes the version.
    STOPPED = "stopped"
    # Who lifted that, and why; it stays.
    READMITTED = "readmitted"


STOPPED = VersionTag.STOPPED
_FIXED = {VersionTag.BUNDLE_SHA256, VersionTag.KIND, VersionTag.DATA_HASH}


class RegistryError(RuntimeError):
    """A model, version or alias does not exist, or is not what it should be."""


class PromotionRefusedError(RegistryError):
    """The champion stays: no accepted decision about this version, or somebody promoted first."""


class Registry:
    """Model versions of one MLflow store, with ledger and lease in a folder all promoters share."""

    def __init__(
        self,
        tracking_uri: str,
        folder: Path,
        *,
        lease_s: float = 60.0,
        public_key: Path | None = None,
        signing_key: Path | None = None,
        on_move: Callable[[Entry], None] = lambda entry: None,
    ) -> None:
        """`tracking_uri` as MLflow takes it; `lease_s`: how long to wait for another promotion.

        With a `public_key` only bundles that its owner has signed are registered or fetched, and a
        ledger is believed only if its last line is signed. Lines are signed with `signing_key`.
        `on_move` is told of each promotion and rollback, after it.
        """
        self.tracking_uri = tracking_uri
        self._public_key, self._signing_key, self._on_move = public_key, signing_key, on_move
        # Records of lines from before the registry kept them lie where the gate wrote them.
        self._records = DecisionRecords(folder / "decisions", [folder.parent / "decisions"])
        self.ledger_path = folder / "ledger.jsonl"
        self._lease_path = folder / "registry.lock"
        self._lease_s = lease_s
        self._client: MlflowClient | None = None

    # --- versions ---

    def register(
        self, bundle_dir: Path, name: str, run_id: str, *, tags: Mapping[str, str] | None = None
    ) -> int:
        """Verifies the bundle, stores its files with the MLflow run; returns its version of `name`.

        The same bundle registered again is the same version. Raises BundleError when it does not
        verify.
        """
        bundle = verify_bundle(bundle_dir, self._public_key)
        if (version := self._find_version(name, bundle.sha256)) is not None:
            return version
        # The checksum in the path keeps a second bundle of the same run from mixing with the first.
        place = f"bundle/{bundle.sha256[:16]}"
        self.client.log_artifacts(run_id, str(bundle_dir), place)
        source = f"{self.client.get_run(run_id).info.artifact_uri.rstrip('/')}/{place}"
        with self._lease():
            if self._model(name) is None:
                self.client.create_registered_model(name)
            if (version := self._find_version(name, bundle.sha256)) is not None:
                return version
            created = self.client.create_model_version(
                name,
                source=source,
                run_id=run_id,
                tags={
                    VersionTag.KIND.value: bundle.kind,
                    VersionTag.DATA_HASH.value: bundle.data_hash,
                    VersionTag.GIT_COMMIT.value: bundle.git_commit,
                    VersionTag.LICENCE.value: bundle.licence,
                    **(tags or {}),
                    VersionTag.BUNDLE_SHA256.value: bundle.sha256,
                },
            )
            return int(created.version)

    def alias(self, name: str, alias: str) -> int | None:
        """Returns the version an alias names, or None, after syncing aliases with the ledger."""
        if alias in ALIASES:
            with self._lease():
                return self._sync_aliases(name).version_of(alias)
        return self._mlflow_alias(name, alias)

    def peek(self, name: str, alias: str) -> tuple[int, str] | None:
        """Returns (version, bundle checksum) of an alias, or None, without a lease: for polling.

        Champion, previous and challenger, and their checksums, are what the ledger says; nothing is
        put right. Raises LedgerError when it is not the ledger that MLflow's aliases were moved by,
        when a line is not to be believed, and when MLflow says another checksum.
        """
        mirrored = alias in ALIASES
        state = replay(self.ledger(name)) if mirrored else AliasState()
        version = state.version_of(alias) if mirrored else self._mlflow_alias(name, alias)
        if version is None:
            return None
        return version, self._decided_bundle(name, version, self._version(name, version))

    def annotate(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Sets tags of a version. Raises ValueError for a tag that says which bundle it is."""
        fixed = _FIXED & set(tags)
        if fixed:
            raise ValueError(
                f"model {name} v{version}: the tag {min(fixed)} says which bundle it is and stays."
            )
        present = self._version(name, version).tags
        for key, value in tags.items():
            if present.get(key) != value:
                self.client.set_model_version_tag(name, str(version), str(key), value)

    def readmit(self, name: str, version: int, *, actor: str, why: str) -> str:
        """Lets a stopped version be tried and promoted again; returns why it had been stopped.

        Who did so, and why, stays on the version. Raises RegistryError when it was not stopped or
        no reason is given.
        """
        stopped: str | None = self._version(name, version).tags.get(STOPPED)
        if not stopped:
            raise RegistryError(f"model {name} v{version}: nobody stopped it.")
        if not why.strip():
            raise RegistryError(
                f"model {name} v{version}: it was stopped ({stopped}). Say why it may go on."
            )
        note = f"by {actor}: {why.strip()} (it was stopped: {stopped})"
        self.annotate(name, version, {VersionTag.READMITTED: note})
        self.client.delete_model_version_tag(name, str(version), STOPPED.value)
        return stopped

    def version_tags(self, name: str, version: int) -> dict[str, str]:
        """Returns the tags of a version: those of VersionTag that are set, and any other."""
        return dict(self._version(name, version).tags)

    def run_of(self, name: str, version: int) -> str:
        """Returns the id of the MLflow run that trained a version."""
        return str(self._version(name, version).run_id)

    def fetch(self, name: str, which: str | int, to_dir: Path) -> Bundle:
        """Copies version `which` to `to_dir/name/v<version>` and returns the verified bundle.

        `which` is a number or an alias.

        A copy already in place is used if it still verifies, else fetched again. Raises
        RegistryError when there is no such version, or when what the store delivers is not what was
        registered, and LedgerError when it is not what the ledger's decision was about; nothing is
        kept then.
        """
        version = which if isinstance(which, int) else self.alias(name, which)
        if version is None:
            raise RegistryError(
                f"model {name}: nothing has the alias '{which}' yet. Promote a version first."
            )
        record = self._version(name, version)
        expected = self._decided_bundle(name, version, record)
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
                    f"model {name} v{version}: the store delivers bundle {bundle.sha256[:12]}, "
                    f"registered was {expected[:12]}. It has been tampered with; "
                    "register the model again."
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
        *,
        expected: int | None,
        decision: Mapping[str, Any],
        actor: str,
        now: datetime,
        approval: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Makes `version` the champion of `name` and returns the ledger's entry.

        `expected` is the champion the caller compared with (None: there is none). `decision` is the
        decision record as its JSON says it. `approval` is a person's answer
        (models.registry.approval), needed where the decision was made under settings that require
        one. Promoting the champion again by the same decision changes nothing.

        Raises PromotionRefusedError when the champion is another than `expected`, when the decision
        is refused, altered, about another bundle, made against another champion or waits for
        approval, and when the service has stopped the version. Raises LedgerError when the ledger
        is damaged, and as `fetch` does when the store delivers another bundle.
        """
        sha256 = self._accepted_bundle(name, version, decision)
        try:
            approved_by = find_approver(decision, approval)
        except ApprovalError as error:
            raise PromotionRefusedError(f"model {name} v{version}: {error}") from error
        self._check_delivery(name, version, sha256)
        with self._lease():
            champion = self._sync_aliases(name).champion
            current = champion.version if champion else None
            decided = str(decision["decision_id"])
            if champion and current == version and champion.decision_id == decided:
                return champion
            if current != expected:
                raise PromotionRefusedError(
                    f"model {name}: the champion is {_v(current)}, not {_v(expected)} as expected; "
                    f"somebody promoted meanwhile. "
                    f"Compare v{version} with {_v(current)} and decide again."
                )
            if champion:
                _check_reference(name, version, decision=decision, champion=champion)
            self.client.set_model_version_tag(
                name, str(version), VersionTag.DECISION_ID.value, decided
            )
            entry = self._append(
                Action.PROMOTE,
                name,
                version=version,
                previous=current,
                bundle_sha256=sha256,
                decision_id=decided,
                record_sha256=self._records.keep(decision),
                actor=actor,
                approved_by=approved_by,
                now=now,
            )
        self._on_move(entry)  # without the lease: it may talk to other machines
        return entry

    def challenge(
        self, name: str, version: int, *, decision: Mapping[str, Any], actor: str, now: datetime
    ) -> Entry:
        """Makes `version` the challenger of `name` and returns the ledger's entry.

        A challenger is a version that the gate accepted and nobody has promoted (yet). A second
        call changes nothing. Raises PromotionRefusedError unless `decision` accepts this very
        version, and when the service has stopped it.
        """
        sha256 = self._accepted_bundle(name, version, decision)
        self._check_delivery(name, version, sha256)
        with self._lease():
            state = self._sync_aliases(name)
            current = state.version_of(CHAMPION)
            if current == version:
                raise PromotionRefusedError(
                    f"model {name} v{version}: the champion cannot challenge itself."
                )
            decided = str(decision["decision_id"])
            challenger = state.challenger
            if challenger and challenger.version == version and challenger.decision_id == decided:
                return challenger
            return self._append(
                Action.CHALLENGE,
                name,
                version=version,
                previous=current,
                bundle_sha256=sha256,
                decision_id=decided,
                record_sha256=self._records.keep(decision),
                actor=actor,
                now=now,
            )

    def withdraw(self, name: str, actor: str, now: datetime) -> Entry | None:
        """Takes the alias challenger away; returns the ledger's entry, or None if nobody had it."""
        with self._lease():
            state = self._sync_aliases(name)
            challenger = state.challenger
            if challenger is None:
                return None
            return self._append(
                Action.WITHDRAW,
                name,
                version=challenger.version,
                previous=state.version_of(CHAMPION),
                bundle_sha256=challenger.bundle_sha256,
                decision_id=challenger.decision_id,
                record_sha256=challenger.record_sha256,
                actor=actor,
                now=now,
            )

    def rollback(
        self, name: str, actor: str, now: datetime, *, expected: int | None = None
    ) -> Entry:
        """Makes the champion before this one champion again and returns the ledger's entry.

        `expected` is the champion to leave (None: the one at the moment of the call). Rolling back
        twice goes two champions back. Two people who do so at the same moment go one back, and the
        later gets PromotionRefusedError. No gate is asked, as that version has passed it once, but
        its bundle must still be what was promoted then, or it raises as `fetch` does. Raises
        RegistryError when there is no earlier champion.
        """
        seen = replay(self.ledger(name))
        last, target = seen.champion, seen.previous
        if last is None or target is None:
            raise RegistryError(f"model {name}: no earlier champion to go back to.")
        if expected not in (None, last.version):
            raise PromotionRefusedError(
                f"model {name}: the champion is {_v(last.version)}, not {_v(expected)} as "
                "expected. Nothing was moved."
            )
        self._check_delivery(name, target.version, target.bundle_sha256)
        with self._lease():
            state = self._sync_aliases(name)
            # The entry is compared, not the version: that may have gone and come back.
            if state.champion != last:
                raise PromotionRefusedError(
                    f"model {name}: somebody moved the alias meanwhile; the champion is "
                    f"{_v(state.version_of(CHAMPION))}. Look at `keepline ledger` and decide again."
                )
            entry = self._append(
                Action.ROLLBACK,
                name,
                version=target.version,
                previous=last.version,
                bundle_sha256=target.bundle_sha256,
                decision_id=target.decision_id,
                record_sha256=target.record_sha256,
                actor=actor,
                now=now,
            )
        self._on_move(entry)
        return entry

    def ledger(self, name: str | None = None) -> list[Entry]:
        """Returns every move of an alias (of `name`), oldest first, after checking that it is to be
        believed.

        Raises LedgerError for a ledger that was altered or cut short, or is not the one that
        MLflow's aliases were moved by; for a line without the record that allows it (see
        models.registry.belief); and with a public key for a last line that its owner did not sign.
        """
        # MLflow is read first: an entry is in the ledger before its hash is in MLflow.
        models = self.client.search_registered_models() if name is None else [self._model(name)]
        entries = read_entries(self.ledger_path)
        for model in models:
            if model:
                self._check_anchor(model, entries)
        self._check_signature(entries)
        for one in sorted({entry.name for entry in entries}) if name is None else [name]:
            check_entries([entry for entry in entries if entry.name == one], self._records)
        return [entry for entry in entries if name in (None, entry.name)]

    def sign_ledger(self) -> Entry | None:
        """Signs the ledger's last line, for ledgers from before there was a key; returns it.

        Raises RegistryError without a signing key.
        """
        if self._signing_key is None:
            raise RegistryError("registry: no key to sign with. Set KEEPLINE_SIGNING_KEY.")
        with self._lease():
            return sign_last_entry(self.ledger_path, self._sign)

    def champion_at(self, name: str, when: date | datetime) -> int | None:
        """Returns the version that was champion at a moment or the end (UTC) of a day, or None."""
        champion = None
        for entry in self.ledger(name):
            if entry.action not in (Action.PROMOTE, Action.ROLLBACK):
                continue
            at = datetime.fromisoformat(entry.at)
            if isinstance(when, datetime):
                before = at <= when
            else:
                before = at < datetime.combine(when + timedelta(days=1), time.min, UTC)
            champion = entry.version if before else champion
        return champion

    # --- inside ---

    def _sign(self, text: str) -> str:
        return sign_text(text, self._signing_key) if self._signing_key else ""

    def _check_signature(self, entries: list[Entry]) -> None:
        """Raises LedgerError unless the last entry is signed, where there is a public key."""
        if self._public_key is None or not entries:
            return
        last = entries[-1]
        if not is_signed(last.hash, last.signature, self._public_key):
            raise LedgerError(
                f"{self.ledger_path}, line {last.seq} ({last.action} {last.name} v{last.version}, "
                f"by {last.actor}): not signed by the owner of {self._public_key}. Nothing is moved "
                "by it. If it is genuine, sign it with KEEPLINE_SIGNING_KEY and "
                "`keepline ledger --sign`."
            )

    def _decided_bundle(self, name: str, version: int, held: ModelVersion) -> str:
        """The checksum of a version: the ledger's, where it names the version, else MLflow's tag.

        Raises LedgerError when the two differ.
        """
        tag = str(held.tags.get(VersionTag.BUNDLE_SHA256, ""))
        decided = {e.bundle_sha256 for e in self.ledger(name) if e.version == version}
        if decided and decided != {tag}:
            raise LedgerError(
                f"{self.ledger_path} knows another '{name}' v{version} ({min(decided)[:12]}) than "
                f"MLflow holds ({tag[:12]}). Point both to the same store, or restore the one that "
                "was lost or tampered with."
            )
        return tag

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
                f"registry: another promotion has held {self._lease_path} for "
                f"{self._lease_s:.0f} s. Try again later."
            ) from error

    def _sync_aliases(self, name: str) -> AliasState:
        """Moves MLflow's aliases of `name` to what the ledger says; returns it. Needs the lease."""
        entries = self.ledger(name)
        state = replay(entries)
        last = entries[-1] if entries else None
        model = self._model(name)
        if model is None:
            if last:
                raise LedgerError(
                    f"{self.ledger_path} has a champion of '{name}', MLflow has no such model."
                )
            return state
        for alias in ALIASES:
            holder: Entry | None = getattr(state, alias)
            current = model.aliases.get(alias)
            if holder is None and current is not None:
                self.client.delete_registered_model_alias(name, alias.value)
            elif holder is not None and (current is None or int(current) != holder.version):
                version = holder.version
                self._decided_bundle(name, version, self._version(name, version))
                self.client.set_registered_model_alias(name, alias.value, str(version))
        if last and model.tags.get(ANCHOR) != last.hash:
            self.client.set_registered_model_tag(name, ANCHOR, last.hash)
        return state

    def _check_anchor(self, model: RegisteredModel, entries: list[Entry]) -> None:
        anchor = model.tags.get(ANCHOR)
        if anchor and anchor not in {entry.hash for entry in entries}:
            raise LedgerError(
                f"{self.ledger_path} lacks the last promotion of '{model.name}' that MLflow knows. "
                "It was cut short or is not this registry's; restore it, or point to the right "
                "folder."
            )

    def _append(
        self,
        action: Action,
        name: str,
        *,
        version: int,
        previous: int | None,
        bundle_sha256: str,
        decision_id: str,
        actor: str,
        now: datetime,
        record_sha256: str,
        approved_by: str = "",
    ) -> Entry:
        """Writes one entry to the ledger and moves MLflow's aliases after it. Needs the lease."""
        if self._public_key and not self._signing_key:
            raise RegistryError(
                f"model {name}: this registry's ledger is signed, and there is no key to sign with. "
                "Set KEEPLINE_SIGNING_KEY, or move aliases where it is set."
            )
        if now.tzinfo is None:
            raise ValueError(f"registry: {now} has no time zone. Pass a UTC time.")
        fields = {
            "at": now.astimezone(UTC).isoformat(),
            "action": action.value,
            "name": name,
            "version": version,
            "previous": previous,
            "bundle_sha256": bundle_sha256,
            "decision_id": decision_id,
            "actor": actor,
            "approved_by": approved_by,
            "record_sha256": record_sha256,
        }
        entry = append_entry(self.ledger_path, fields, self._sign)
        self._sync_aliases(name)
        return entry

    def _accepted_bundle(self, name: str, version: int, decision: Mapping[str, Any]) -> str:
        """The checksum of a version that `decision` accepts and the service has not stopped."""
        tags = self._version(name, version).tags
        sha256 = str(tags.get(VersionTag.BUNDLE_SHA256, ""))
        if reason := refusal_reason(decision, sha256):
            decided = decision.get("decision_id", "(without id)")
            raise PromotionRefusedError(f"model {name} v{version}: decision {decided} {reason}")
        if tags.get(STOPPED):
            raise PromotionRefusedError(
                f"model {name} v{version}: the service stopped it ({tags[STOPPED]}). Train "
                f"another, or `keepline readmit {name} {version} --why TEXT`."
            )
        return sha256

    def _check_delivery(self, name: str, version: int, sha256: str) -> None:
        """Fetches a version to a temporary folder to verify that it is the bundle `sha256`.

        Raises as `fetch` does.
        """
        with tempfile.TemporaryDirectory(prefix="keepline-") as temporary:
            delivered = self.fetch(name, version, Path(temporary)).sha256
        if delivered != sha256:
            raise RegistryError(
                f"model {name} v{version}: it was bundle {sha256[:12]} and is {delivered[:12]} now."
            )

    def _find_version(self, name: str, sha256: str) -> int | None:
        """The version of `name` that is this bundle."""
        for version in self.client.search_model_versions(f"name='{name}'"):
            if version.tags.get(VersionTag.BUNDLE_SHA256) == sha256:
                return int(version.version)
        return None

    def _mlflow_alias(self, name: str, alias: str) -> int | None:
        model = self._model(name)
        version = model.aliases.get(alias) if model else None
        return None if version is None else int(version)

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


def _check_reference(
    name: str, version: int, *, decision: Mapping[str, Any], champion: Entry
) -> None:
    """Raises PromotionRefusedError unless `decision` compared the version with the champion."""
    reference = (decision.get("reference") or {}).get("bundle_sha256")
    if reference != champion.bundle_sha256:
        raise PromotionRefusedError(
            f"model {name}: decision {decision['decision_id']} did not compare v{version} with "
            f"the champion v{champion.version}. Evaluate both on the same data and decide again."
        )


def _v(version: int | None) -> str:
    return "nobody" if version is None else f"v{version}"
