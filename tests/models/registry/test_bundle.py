"""A bundle is what its manifest says, or it is refused by name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from models.registry.bundle import Bundle, BundleError, verify_bundle, write_bundle
from tests.registry_helpers import a_bundle, weights


def test_what_was_written_verifies_and_says_what_it_is(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path / "b", params={"epochs": 3})
    again = verify_bundle(tmp_path / "b")
    assert again == bundle
    assert (again.kind, again.params, set(again.files)) == (
        "churn",
        {"epochs": 3},
        {"weights.safetensors", "config.json", "card.md"},
    )
    assert again.size_bytes == sum(item.stat().st_size for item in (tmp_path / "b").iterdir())


def test_the_same_content_has_the_same_checksum_and_other_content_another(tmp_path: Path) -> None:
    assert a_bundle(tmp_path / "a").sha256 == a_bundle(tmp_path / "b").sha256
    assert a_bundle(tmp_path / "a").sha256 != a_bundle(tmp_path / "c", "two").sha256


def test_writing_over_a_bundle_replaces_it_whole(tmp_path: Path) -> None:
    a_bundle(tmp_path / "b", "one")
    (tmp_path / "b" / "left.txt").write_text("from before")
    second = a_bundle(tmp_path / "b", "two")
    assert verify_bundle(tmp_path / "b").sha256 == second.sha256
    assert [item.name for item in tmp_path.iterdir()] == ["b"]


def _change(folder: Path) -> None:
    (folder / "config.json").write_text('{"x": 1}')


def _add(folder: Path) -> None:
    (folder / "extra.json").write_text("{}")


def _remove(folder: Path) -> None:
    (folder / "config.json").unlink()


def _link(folder: Path) -> None:
    content = (folder / "config.json").rename(folder.parent / "elsewhere.json")
    (folder / "config.json").symlink_to(content)


def _subfolder(folder: Path) -> None:
    (folder / "more").mkdir()


def _no_manifest(folder: Path) -> None:
    (folder / "bundle.json").unlink()


def _escape(folder: Path) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"]["../outside.json"] = "0" * 64
    (folder / "bundle.json").write_text(json.dumps(manifest))


def _not_json(folder: Path) -> None:
    (folder / "bundle.json").write_text("{")


def _unknown_key(folder: Path) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "entry_point": "os.system"}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_change, "config.json has changed"),
        (_add, "extra.json is not in bundle.json"),
        (_remove, "config.json is missing"),
        (_link, "config.json is a link"),
        (_subfolder, "more is a link or a folder"),
        (_no_manifest, "no bundle.json"),
        (_escape, "not a plain file name"),
        (_not_json, "not JSON"),
        (_unknown_key, "must have exactly"),
    ],
)
def test_a_damaged_bundle_is_refused_naming_the_file(
    tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    a_bundle(tmp_path / "b")
    damage(tmp_path / "b")
    with pytest.raises(BundleError, match=says):
        verify_bundle(tmp_path / "b")


def _write(path: Path, files: Mapping[str, Path | bytes | str]) -> Bundle:
    return write_bundle(
        path, "churn", files, data_hash="d", git_commit="c", created_at="2026-03-01", licence="MIT"
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model.pkl", pickle.dumps([1]), "may hold a pickle"),
        ("model.pt", b"x", "may hold a pickle"),
        ("more.safetensors", pickle.dumps({"w": [1]}), "not what its name says"),
        ("more.nemo", pickle.dumps({"w": [1]}), "not what its name says"),
        ("more.json", pickle.dumps({"w": [1]}), "not what its name says"),
    ],
)
def test_a_pickle_under_any_name_is_refused_and_nothing_is_left(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    files: dict[str, Path | bytes | str] = {
        "weights.safetensors": weights(),
        "card.md": "# A card",
        name: content,
    }
    with pytest.raises(BundleError, match=says):
        _write(tmp_path / "b", files)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("card", [{}, {"card.md": "  \n"}])
def test_a_bundle_without_a_model_card_is_refused(tmp_path: Path, card: dict[str, str]) -> None:
    with pytest.raises(BundleError, match="no model card"):
        _write(tmp_path / "b", {"weights.safetensors": weights(), **card})


def test_a_bundle_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no weights"):
        _write(tmp_path / "b", {"card.md": "# A card"})


@pytest.mark.parametrize("name", ["../up.json", "in/side.json", "bundle.json"])
def test_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="plain name"):
        _write(
            tmp_path / "b", {"weights.safetensors": weights(), "card.md": "# A card", name: "{}"}
        )
