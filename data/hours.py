"""Where every recorded hour went on its way to training: each has a reason, and the reasons add up to the input.

The unit is the millisecond of one side of a call, counted in whole numbers, so that sums are exact. A stereo call of
ten seconds is twenty of them. Some reasons are meant (a test set, a pause), the others are losses and have a budget.
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
    """Hours went missing without a reason, or more than the budget allows."""


@dataclass(frozen=True)
class HoursParams:
    """How much may get lost between the source and training."""

    max_lost_share: float = 0.3  # of the recorded hours, over all reasons but those that are meant
    limits: dict[str, float] = field(
        default_factory=dict
    )  # reason → share of the recorded hours, meant or not

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

    `unmeasured` counts files of unknown length.
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
        """The ledger after training left out further speech of `train` (seconds a reason)."""
        ms = Counter(self.ms)
        for reason, seconds in skipped_s.items():
            skipped = min(round(1000 * seconds), ms[TRAIN])
            ms[f"training: {reason}"] += skipped
            ms[TRAIN] -= skipped
        return HoursAccount(self.input_ms, dict(ms), self.unmeasured)

    def with_pseudo(self, added_s: float) -> HoursAccount:
        """The ledger after training also learned `added_s` seconds that a machine transcribed.

        What is left of the untranscribed calls is then what the machine was not sure enough of, or
        silence.
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
        """What hours.json holds: hours (of one side of a call) a reason, and whether the budget was kept."""
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
        """What is over budget, a sentence each; nothing when all is well."""
        violations = []
        lost = sum(self.lost.values())
        if self._share(lost) > params.max_lost_share:
            worst = ", ".join(
                f"{reason} {format_duration(ms)}" for reason, ms in list(self.lost.items())[:3]
            )
            violations.append(
                f"{format_duration(lost)} of {format_duration(self.input_ms)} got lost on the way "
                "to training "
                f"({self._share(lost):.0%}, hours.max_lost_share is {params.max_lost_share:.0%}): "
                f"{worst}."
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
        """Raises HoursError when the budget is not kept."""
        violations = self.budget_violations(params)
        if violations:
            raise HoursError(
                f"hours: {' '.join(violations)} Mend the source (see quarantine/), or raise the limit."
            )

    def _share(self, ms: int) -> float:
        return ms / self.input_ms if self.input_ms else 0.0


def read_hours_account(summary: Mapping[str, Any]) -> HoursAccount:
    """The ledger behind an hours.json."""
    ms = {reason: int(entry["ms"]) for reason, entry in summary["reasons"].items()}
    return HoursAccount(sum(ms.values()), ms, summary["unmeasured_files"])


def side_count(recording: Mapping[str, Any]) -> int:
    """How many channels of a recording are listened to: 2, or 1 where both roles share one."""
    return 1 if recording["customer_channel"] == recording["agent_channel"] else 2


def milliseconds(seconds: float | None) -> int:
    """Whole milliseconds."""
    return round(1000 * (seconds or 0.0))


def side_ms(
    duration_s: float, claims: Sequence[tuple[float, float, str]], rest: str
) -> Counter[str]:
    """One side of a call by reason.

    `claims` are (start_s, end_s, reason); where several meet, the first counts.

    What nobody claims is `rest`. The sum is the length of the side, whatever the claims.
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
    """Puts together what ingest refused, validation rejected and the cut did with the rest.

    `delivered` and `clean` are recordings tables, `cut_ms` what data.utterances.cut says of the
    clean ones, and `quarantine` the folder with ingest's and validation's lines. Raises HoursError
    when it does not add up.
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
    """What ingest refused and has not taken since: milliseconds a reason, and files of which no length is known."""
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
    return f"{ms / 3_600_000:.2f} h" if ms >= 360_000 else f"{ms / 60_000:.1f} min"
