"""How champions are watched from night to night: the `monitoring` section of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from data.params import ParamsError


@dataclass(frozen=True)
class MonitoringParams:
    """Reference period, levels of the tests, and what follows from an alarm."""

    # --- the reference period, frozen when a version is promoted ---
    reference_days: int = 56  # at least so many days before the first night are the reference
    reference_units: int = 200  # and so many contacts, as far back as a year
    reference_calls: int = 200  # calls measured for it at most, spread over its days
    min_days: int = 10  # with fewer days in it nothing can be said of drift
    min_units: int = 40  # with fewer contacts in it nothing can be said of drift

    # --- drift ---
    # On average at most one false alarm of the whole panel in so many quiet nights.
    nights_per_false_alarm: float = 400.0
    windows: tuple[int, ...] = (1, 7, 28)  # last nights that are held against the reference
    ignored_features: tuple[str, ...] = ("tenure_days",)  # change by themselves as time passes

    # --- is a champion worse than when it was promoted? ---
    level: float = (
        0.05  # chance, over a champion's whole life, to be called worse or to hold wrongly
    )
    margin: float = 0.1  # a loss below this share of the promoted figure still holds
    min_clusters: int = 10  # with fewer voices or customers nothing is said

    # --- after a promotion ---
    watch_days: int = 28  # so long the champion before is scored beside the new one
    rollback_level: float = 0.01  # chance that a champion no worse is rolled back in that time

    # --- word errors without words ---
    # Whether the calls that people transcribe are a random share of all. Set false where people
    # choose them: then they say nothing of the other calls.
    random_transcripts: bool = True

    # --- what follows ---
    ask_again_days: int = 14  # a further alarm of a kind asks for another training after so long

    def __post_init__(self) -> None:
        """Raises ParamsError for a level outside of (0, 1) or a window without a night."""
        for name in ("level", "rollback_level"):
            if not 0 < getattr(self, name) < 1:
                raise ParamsError(f"params.yaml: monitoring.{name} must lie between 0 and 1.")
        if not self.windows or min(self.windows) < 1:
            raise ParamsError("params.yaml: monitoring.windows must name nights, such as [1, 7].")
        if self.nights_per_false_alarm < 1 or self.margin <= 0:
            raise ParamsError(
                "params.yaml: monitoring.nights_per_false_alarm must be 1 or more, "
                "monitoring.margin above 0."
            )
