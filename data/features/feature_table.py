"""Writes docs/features.md from the declared features: `python -m data.features.feature_table`."""

from __future__ import annotations

import re
import sys

from data.features.contact_marks import parse_feature_name
from data.features.features import Feature, FeatureParams, declared_features

_INTRO = """# Features

Written by `python -m data.features.feature_table` from the declarations in
`data/features/features.py` and `data/features/contact_marks.py`; a test compares them.
Training and scoring compute them with the same function, at the start of an as-of day (UTC), from
contacts that began before it. Windows are in days; `decayed` is a sum in which a contact counts
half after `features.half_life_days`.

**use**: *always*; *additive* (decayed sums of contact effects: the model sums them inside the
hazard, and a smooth contact takes the share `features.relief` of what came before it);
*many churners* (a refinement that enters only where `churn.leavers_per_feature` customers left for
each feature). Columns of the customer record enter as `attr_<name>`, always.

| feature | windows | definition | unit | group of reasons | use |
|---|---|---|---|---|---|
"""


def value_unit(feature: Feature) -> str:
    """Returns what a value of the feature counts in."""
    base = parse_feature_name(feature.name).base
    if feature.value_type == "categorical":
        return "category"
    if base == "sentiment_trend":
        return "mean mood of contacts"
    if base == "monthly_price":
        return "currency of the CRM"
    if base.startswith("days_") or base.endswith("_days"):
        return "days"
    if base.endswith("_s"):
        return "seconds"
    plain = base.startswith("contacts") or base in (
        "repeated_contacts",
        "channel_switches",
        "smooth_contacts",
    )
    return "contacts" if plain else "label probabilities"


def features_page(params: FeatureParams | None = None) -> str:
    """Returns the page as Markdown, one row a measure with all its windows."""
    rows: dict[tuple[str, str], list[str]] = {}
    facts: dict[tuple[str, str], Feature] = {}
    for feature in declared_features(params or FeatureParams()):
        base, days, is_decayed = parse_feature_name(feature.name)
        window = "decayed" if is_decayed else str(days or "")
        use = "additive" if feature.carries else "many churners" if feature.detail else "always"
        rows.setdefault((base, use), []).append(window)
        facts.setdefault((base, use), feature)
    lines = []
    for (base, use), windows in rows.items():
        feature = facts[base, use]
        meaning = re.sub(r" (in the last \d+ days|recently, fading with age)$", "", feature.meaning)
        shown = ", ".join(window for window in windows if window) or "–"
        lines.append(
            f"| `{base}` | {shown} | {meaning} | {value_unit(feature)} | {feature.group} | {use} |"
        )
    return _INTRO + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(features_page())
