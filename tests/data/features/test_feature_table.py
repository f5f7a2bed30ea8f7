"""Tests that docs/features.md is what the code declares and computes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from data.features.feature_table import features_page
from data.features.features import KEYS, FeatureParams, declared_features, features
from tests.data.features.test_features import labels, tables


def test_docs_features_is_current() -> None:
    written = (Path(__file__).parents[3] / "docs" / "features.md").read_text(encoding="utf-8")
    assert written == features_page(), (
        "run: python -m data.features.feature_table > docs/features.md"
    )


def test_every_column_is_declared_and_every_declaration_a_column() -> None:
    params = FeatureParams(windows_days=(14, 60))
    columns = features(tables(), labels(), [date(2026, 6, 1)], params=params).columns
    computed = {name for name in columns if name not in KEYS and not name.startswith("attr_")}
    assert computed == {feature.name for feature in declared_features(params)}
    assert len(computed) > 60
