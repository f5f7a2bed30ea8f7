"""Accounts for every recorded hour between delivery and training, by reason.

The unit is the millisecond of one side of a call, counted in whole numbers, so that sums are exact
and the reasons add up to the input. A stereo call of ten seconds is twenty of them. Some reasons
are expected (a test set, a pause); the others are losses and have a budget.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.audio import AudioError, probe
from data.files import read_lines

TRAIN = "train"
# What is not trained on and is no loss.
BELOW_CONFIDENCE = "not transcribed surely enough"
EXPECTED_REASONS = (
    "valid",
    "test",
    "agent outside train",
    "call set aside by the split",
    "between turns",
    "not transcribed",
    BELOW_CONFIDENCE,
)


class HoursError(ValueError):
    """Hours are missing without a reason, or more are lost than the budget allows."""


@dataclass(frozen=True)
class HoursParams:
    """How much may be lost between the source and training; section `hours` of params.yaml."""

    max_lost_share: float = 0.3  # of the recorded hours, over all reasons that are losses
    # reason → share of the recorded hours, expected or not
    limits: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for a share that is none."""
        for name, share in {"max_lost_share": self.max_lost_share, **self.limits}.items():
            if not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise ValueError(
                    f"params.yaml: hours: {name} is {share}; it must lie between 0 and 1."
                )


@dataclass(frozen=True)
class HoursAccount:
    """Milliseconds of one side of a call by reason, `train` among them.

    `unmeasured` counts refused files of unknown length by reason.
    """

    input_ms: int
    ms: Mapping[str, int]
    unmeasured: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises HoursError when the reasons do not add up to the input."""
        total = sum(self.ms.values())
        if total != self.input_ms or min(self.ms.values(), default=0) < 0:
            raise HoursError(
                f"hours: {self.input_ms} ms came in and reasons account for {total}. "
                "This is a mistake of the program, please report it."
            )

    @property
    def lost(self) -> dict[str, int]:
        """The reasons that are losses, largest first."""
        losses = {
            reason: ms
            for reason, ms in self.ms.items()
            if ms and reason not in (TRAIN, *EXPECTED_REASONS)
        }
        return dict(sorted(losses.items(), key=lambda item: (-item[1], item[0])))

    def with_training_skips(self, skipped_s: Mapping[str, float]) -> HoursAccount:
        """Returns the account after training left out speech of `train` (seconds by reason)."""
        ms = Counter(self.ms)
        for reason, seconds in skipped_s.items():
            skipped = min(round(1000 * seconds), ms[TRAIN])
            ms[f"training: {reason}"] += skipped
            ms[TRAIN] -= skipped
        return HoursAccount(self.input_ms, dict(ms), self.unmeasured)

    def with_pseudo(self, added_s: float) -> HoursAccount:
        """Returns the account after training also used `added_s` seconds transcribed by a machine.

        What is left of the untranscribed calls is then what the machine was not sure enough
        of, or silence.
        """
        ms = Counter(self.ms)
        untranscribed = ms.pop("not transcribed", 0)
        learned = min(milliseconds(added_s), untranscribed)
        return HoursAccount(
            self.input_ms,
            ms + Counter({TRAIN: learned, BELOW_CONFIDENCE: untranscribed - learned}),
            self.unmeasured,
        )

    def summary(self, params: HoursParams) -> dict[str, Any]:
        """Returns the content of hours.json: hours of one side of a call by reason, violations."""
        return {
            "unit": "hours of one side of a call",
            "input_h": self.input_ms / 3_600_000,
            "train_h": self.ms.get(TRAIN, 0) / 3_600_000,
            "lost_h": sum(self.lost.values()) / 3_600_000,
            "lost_share": self._share(sum(self.lost.values())),
            "reasons": {
                reason: {
                    "ms": ms,
                    "hours": ms / 3_600_000,
                    "meant": reason in (TRAIN, *EXPECTED_REASONS),
                }
                for reason, ms in sorted(self.ms.items(), key=lambda item: (-item[1], item[0]))
                if ms
            },
            "unmeasured_files": dict(self.unmeasured),
            "max_lost_share": params.max_lost_share,
            "limits": params.limits,
            "over_budget": self.budget_violations(params),
        }

    def budget_violations(self, params: HoursParams) -> list[str]:
        """Returns a sentence for each limit that is exceeded; an empty list when none is."""
        violations = []
        lost = sum(self.lost.values())
        if self._share(lost) > params.max_lost_share:
            worst = ", ".join(
                f"{reason} {format_duration(ms)}" for reason, ms in list(self.lost.items())[:3]
            )
            violations.append(
                f"{format_duration(lost)} of {format_duration(self.input_ms)} got lost on the way "
                f"to training ({self._share(lost):.0%}, hours.max_lost_share is "
                f"{params.max_lost_share:.0%}): {worst}."
            )
        for reason, limit in sorted(params.limits.items()):
            share = self._share(self.ms.get(reason, 0))
            if share > limit:
                violations.append(
                    f"{reason}: {share:.0%} of {format_duration(self.input_ms)}, hours.limits "
                    f"allows {limit:.0%}."
                )
        return violations

    def enforce_budget(self, params: HoursParams) -> None:
        """Raises HoursError when a limit is exceeded."""
        violations = self.budget_violations(params)
        if violations:
            raise HoursError(
                f"hours: {' '.join(violations)} Mend the source (see quarantine/), or raise the "
                "limit."
            )

    def _share(self, ms: int) -> float:
        return ms / self.input_ms if self.input_ms else 0.0


def read_hours_account(summary: Mapping[str, Any]) -> HoursAccount:
    """Returns the account behind the summary in an hours.json."""
    ms = {reason: int(entry["ms"]) for reason, entry in summary["reasons"].items()}
    return HoursAccount(sum(ms.values()), ms, summary["unmeasured_files"])


def side_count(recording: Mapping[str, Any]) -> int:
    """Returns how many channels of a recording count: 2, or 1 where both roles share one."""
    return 1 if recording["customer_channel"] == recording["agent_channel"] else 2


def milliseconds(seconds: float | None) -> int:
    """Returns seconds as whole milliseconds; None counts as 0."""
    return round(1000 * (seconds or 0.0))


def side_ms(
    duration_s: float, claims: Sequence[tuple[float, float, str]], rest: str
) -> Counter[str]:
    """Divides one side of a call by reason and returns milliseconds for each.

    `claims` are (start_s, end_s, reason); where several overlap, the first counts. What no
    claim covers is `rest`. The sum is the length of the side, whatever the claims.
    """
    reasons = [rest, *dict.fromkeys(reason for _, _, reason in claims)]
    owner = np.zeros(milliseconds(duration_s), np.int16)
    for start_s, end_s, reason in reversed(claims):
        owner[max(0, milliseconds(start_s)) : max(0, milliseconds(end_s))] = reasons.index(reason)
    counts = np.bincount(owner, minlength=len(reasons))
    return Counter(
        {reason: int(count) for reason, count in zip(reasons, counts, strict=True) if count}
    )


def hours_account(
    delivered: pl.DataFrame,
    clean: pl.DataFrame,
    *,
    cut_ms: Mapping[str, int],
    quarantine: Path | None = None,
) -> HoursAccount:
    """Accounts for `delivered` recordings: refused by ingest, rejected by validation, or cut.

    `delivered` and `clean` are recordings tables, `cut_ms` the milliseconds by reason that
    `data.speech.utterances.cut_utterances` returns for the clean ones, and `quarantine` the
    folder with the lines of ingest and validation. Raises HoursError when the reasons do not
    add up.
    """
    ms = Counter(cut_ms)
    reject_reasons = _reject_reasons(quarantine)
    for row in delivered.join(clean, on="contact_id", how="anti").iter_rows(named=True):
        reason = reject_reasons.get(row["contact_id"], "with its contact")
        ms[f"quarantined: {reason}"] += side_count(row) * milliseconds(row["duration_s"])
    refused, unmeasured = _refused_audio(quarantine, set(delivered["contact_id"].to_list()))
    ms.update(refused)
    delivered_ms = sum(
        side_count(row) * milliseconds(row["duration_s"]) for row in delivered.iter_rows(named=True)
    )
    return HoursAccount(delivered_ms + sum(refused.values()), dict(ms), unmeasured)


def _lines(quarantine: Path | None, name: str) -> Iterable[dict[str, Any]]:
    path = quarantine / name if quarantine else None
    if path is None or not path.is_file():
        return []
    return read_lines(path)


def _reject_reasons(quarantine: Path | None) -> dict[str, str]:
    return {
        line["thing"]: line["reason"]
        for line in _lines(quarantine, "validate.jsonl")
        if line["table"] == "recordings"
    }


def _refused_audio(
    quarantine: Path | None, ingested: set[str]
) -> tuple[Counter[str], dict[str, int]]:
    """Milliseconds refused and not ingested since, by reason, and files of unknown length."""
    ms: Counter[str] = Counter()
    unmeasured: Counter[str] = Counter()
    seen: set[str] = set()
    for line in _lines(quarantine, "ingest.jsonl"):
        call = line["thing"].removeprefix("call ")
        if line["kind"] != "recording" or call in ingested or line["thing"] in seen:
            continue
        seen.add(line["thing"])
        reason = f"refused: {line['reason'].partition(' (')[0]}"
        try:
            info = probe((quarantine or Path()) / line["audio"])
            ms[reason] += min(2, info.channels) * milliseconds(info.duration_s)
        except (AudioError, OSError, KeyError):
            unmeasured[reason] += 1
    return ms, dict(unmeasured)


def format_duration(ms: int) -> str:
    """Returns milliseconds as text: hours from six minutes on, else minutes."""
    return f"{ms / 3_600_000:.2f} h" if ms >= 360_000 else f"{ms / 60_000:.1f} min"
