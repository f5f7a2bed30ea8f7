"""O3: the file of sites is read and written carefully, and a site's settings reach its runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from flows.cli import app
from flows.commands import sites as commands
from flows.runtime import sites
from flows.runtime.context import context_of, existing_context, load_context
from flows.runtime.settings import Settings, from_environment
from flows.runtime.sites import Site, SiteError, UnknownSiteError, read_sites, site_named
from flows.runtime.sites_file import add_site, remove_site
from flows.runtime.store_record import claim, read_record
from tests.factories import an_export

SILENT = Console(quiet=True)
HAND_WRITTEN = """\
# who we work for
acme: # our first
  export: exports/acme
  store: stores/acme
  params: acme.yaml

# the second
beta: {export: exports/beta, store: stores/beta, source: folder, timezone: Asia/Tokyo}
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with an empty default store and a file of sites that is not there yet."""
    for name in ("KEEPLINE_PARAMS", "MLFLOW_TRACKING_URI", "KEEPLINE_LEASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEPLINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("KEEPLINE_SITES", str(tmp_path / "sites.yaml"))
    return from_environment()


@pytest.fixture
def written(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with two sites that somebody wrote by hand."""
    settings.sites_file.write_text(HAND_WRITTEN)
    (tmp_path / "acme.yaml").write_text(
        "sources: {timezone: Europe/Zurich, mono_ok: true}\nsplits: {test_share: 0.3}\n"
    )
    for name in ("acme", "beta"):
        an_export(tmp_path / "exports" / name)
    return settings


def add(name: str, source: Path | str, **more: str | Path | None) -> None:
    given = {"store": None, "params": None, "timezone": None, **more}
    commands.add(SILENT, name, str(source), kind=str(given.pop("kind", "auto")), **given)  # type: ignore[arg-type]


def test_a_site_is_read_with_its_places_relative_to_the_file(
    written: Settings, tmp_path: Path
) -> None:
    found = read_sites()
    assert list(found) == ["demo", "acme", "beta"]
    assert found["acme"] == Site(
        name="acme",
        export=tmp_path / "exports" / "acme",
        store=tmp_path / "stores" / "acme",
        params=tmp_path / "acme.yaml",
        timezone="Europe/Zurich",  # that of its parameters
    )
    assert found["beta"].timezone == "Asia/Tokyo"
    assert (found["demo"].export, found["demo"].store) == (None, tmp_path / "store")
    with pytest.raises(UnknownSiteError, match=r"'gamma'.*demo, acme, beta.*keepline site add"):
        site_named("gamma")


def test_parameters_and_time_zone_of_a_site_reach_its_runs(
    written: Settings, tmp_path: Path
) -> None:
    acme, beta = context_of("acme"), context_of("beta")
    assert (acme.site, acme.store, acme.export) == (
        "acme",
        tmp_path / "stores" / "acme",
        tmp_path / "exports" / "acme",
    )
    assert acme.params.splits.test_share == 0.3
    assert acme.params.sources.timezone == "Europe/Zurich"
    assert acme.params.sources.mono_ok  # the rest of the section stays
    assert (beta.params.sources.timezone, beta.source) == ("Asia/Tokyo", "folder")
    assert load_context(acme.store) == acme  # by its store, as a Prefect flow may name it
    assert load_context(export=tmp_path / "exports" / "acme") == acme
    assert load_context().site == "demo"
    assert load_context(tmp_path / "elsewhere").site == "elsewhere"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "acme: {export: e, store: s, shop: 1}",
            r"site acme: shop is not a setting. Known: export",
        ),
        ("acme: {export: e}", "site acme: store is missing"),
        ("acme: {store: s}", "site acme: export is missing"),
        ("acme: {export: e, store: 7}", "store must be text, not 7"),
        ("acme: [e, s]", "must be a mapping"),
        ("- acme", "must hold sections"),
        ("acme: {export: e, store: s}\nacme: {export: e, store: t}", "acme stands in it twice"),
        ("acme: {export: e, store: s, timezone: Mars/Base}", "Mars/Base.*Europe/Zurich"),
        ("acme: {export: e, store: s, timezone: ../../etc/passwd}", "not an IANA time zone"),
        ("acme: {export: e, store: s, source: cobol}", "'cobol' is not a source.*asterisk"),
        ("../x: {export: e, store: s}", "cannot be the name of a site"),
        ("Acme: {export: e, store: s}", "cannot be the name of a site"),
        ("demo: {export: e, store: s}", "demo is the simulated contact centre"),
        ("a: {export: e, store: s}\nb: {export: f, store: ./s}", "a and b have one store"),
        ("a: {export: e, store: s}\nb: {export: f, store: s/b}", "of b, .* lies inside that of a"),
        ("a: {export: e, store: store/deep}", "of a, .* lies inside that of demo"),
        ("a: {export: e", "not YAML"),
    ],
)
def test_a_wrong_file_of_sites_is_refused_by_name(settings: Settings, text: str, says: str) -> None:
    settings.sites_file.write_text(text)
    with pytest.raises(SiteError, match=f"(?s){settings.sites_file}.*{says}"):
        read_sites()


def test_a_source_that_is_away_stops_nobody_else(written: Settings, tmp_path: Path) -> None:
    (tmp_path / "exports" / "acme").rename(tmp_path / "gone")
    assert context_of("beta").site == "beta"
    assert context_of("acme").site == "acme"  # to ask its store, or serve it
    rows = {row["name"]: row for row in map(commands._facts, read_sites().values())}
    assert "no folder" in rows["acme"]["state"]
    assert rows["beta"]["state"] == "no run yet"


def test_a_site_is_added_and_removed_and_what_people_wrote_stays(
    written: Settings, tmp_path: Path
) -> None:
    add("gamma", an_export(tmp_path / "in"), timezone="America/Lima")
    text = written.sites_file.read_text()
    assert text.startswith(HAND_WRITTEN)
    assert read_sites()["gamma"] == Site(
        name="gamma",
        export=tmp_path / "in",
        store=tmp_path / "stores" / "gamma",
        timezone="America/Lima",
    )
    with pytest.raises(SiteError, match="there is a site gamma already"):
        add("gamma", an_export(tmp_path / "other"))

    store = tmp_path / "stores" / "acme"
    store.mkdir(parents=True)
    commands.remove(SILENT, "acme")
    assert list(read_sites()) == ["demo", "beta", "gamma"]
    assert store.is_dir()
    assert "# who we work for" in written.sites_file.read_text()
    assert "# the second\nbeta:" in written.sites_file.read_text()
    remove_site("beta", written)
    remove_site("gamma", written)
    assert list(read_sites()) == ["demo"]
    with pytest.raises(SiteError, match="no site demo"):
        remove_site("demo", written)


def test_nothing_is_written_for_a_site_that_would_not_do(
    settings: Settings, tmp_path: Path
) -> None:
    export, file = an_export(tmp_path / "in"), settings.sites_file
    for name, source, more, says in (
        ("Acme", export, {}, "cannot be the name"),
        ("a" * 65, export, {}, "cannot be the name"),
        ("acme", tmp_path / "none", {}, "no folder"),
        ("acme", tmp_path, {}, "not an export I know"),
        ("acme", export, {"kind": "cobol"}, "not a source"),
        ("acme", export, {"params": tmp_path / "none.yaml"}, "no file"),
        ("acme", export, {"timezone": "Mars/Base"}, "IANA"),
        ("acme", export, {"store": tmp_path / "store" / "acme"}, "inside that of demo"),
        ("acme", export, {"store": tmp_path}, "demo, .* lies inside that of acme"),
        ("demo", export, {}, "a site demo already"),
    ):
        with pytest.raises(ValueError, match=says):
            add(name, source, **more)  # type: ignore[arg-type]
        assert not file.exists()
    add("acme", export)
    before = file.read_text()
    for name, source, more, says in (
        ("beta", export, {}, "is the source of site acme"),
        ("beta", "simulator", {"store": tmp_path / "stores" / "acme"}, "have one store"),
    ):
        with pytest.raises(SiteError, match=says):
            add(name, source, **more)  # type: ignore[arg-type]
        assert file.read_text() == before


def test_a_store_is_taken_over_by_a_site_once(settings: Settings, tmp_path: Path) -> None:
    """What `keepline run EXPORT` made before there were sites can become a site's."""
    export = an_export(tmp_path / "in")
    made = load_context(export=export)
    assert (made.site, made.site_known) == ("in", False)
    made.store.mkdir(parents=True)
    claim(made.store, made.site, site_known=False, export=export, takes_in=True)
    add("acme", export, store=made.store)
    acme = context_of("acme")
    claim(acme.store, acme.site, site_known=True, export=export, takes_in=False)
    record = read_record(made.store)
    assert record is not None
    assert (record.site, record.declared, record.simulated) == ("acme", True, False)
    assert record.created

    remove_site("acme", settings)
    assert load_context(made.store).site == "acme"  # still known by what it says itself
    with pytest.raises(SiteError, match="is that of site acme"):
        add("beta", export, store=made.store)
    (made.store / "site.json").write_text("{}")
    with pytest.raises(SiteError, match=r"site\.json: does not say whose store"):
        load_context(made.store)


def test_a_second_simulated_centre_is_a_site_too(settings: Settings, tmp_path: Path) -> None:
    add("winter", "simulator")
    assert context_of("winter").export is None
    with pytest.raises(SiteError, match="simulated contact centre"):
        context_of("winter", export=an_export(tmp_path / "in"))


def test_a_default_store_that_a_site_has_is_that_sites(settings: Settings, tmp_path: Path) -> None:
    """KEEPLINE_STORE named one contact centre's store before there were sites."""
    site = Site(name="acme", export=an_export(tmp_path / "in"), store=settings.store)
    add_site(site, settings)
    assert list(read_sites()) == ["acme"]
    assert load_context().site == "acme"
    assert load_context().export == tmp_path / "in"


def test_the_commands_take_a_site_in_place_of_a_store(written: Settings, tmp_path: Path) -> None:
    run = CliRunner().invoke
    both = run(app, ["decisions", "--site", "acme", "--store", str(tmp_path / "own")])
    assert isinstance(both.exception, SiteError)
    assert "is not the store of site acme" in str(both.exception)
    for words in (["--site", "acme"], ["--site", "acme", "--store", str(tmp_path / "stores/acme")]):
        alone = run(app, ["decisions", *words])
        assert f"{tmp_path / 'stores' / 'acme'}/decisions: no decision yet" in str(alone.exception)
    unknown = run(app, ["backtest", "--site", "nobody"])
    assert isinstance(unknown.exception, UnknownSiteError)
    listed = json.loads(run(app, ["site", "list", "--json"]).stdout)
    assert [row["name"] for row in listed] == ["demo", "acme", "beta"]
    assert "Europe/Zurich" in run(app, ["site", "show", "acme"]).stdout


def test_every_command_on_a_store_takes_a_site() -> None:
    without = []
    for command in _commands_of(typer.main.get_command(app)):
        options = {each.name for each in command.params if not getattr(each, "is_flag", False)}
        if "store" in options and "site" not in options:
            without.append(command.name)
    assert without == ["experiments", "add"]  # which make one


def _commands_of(group: Any) -> list[Any]:
    inner = getattr(group, "commands", None)
    return [each for child in inner.values() for each in _commands_of(child)] if inner else [group]


def test_places_of_a_context_follow_the_site(written: Settings, tmp_path: Path) -> None:
    acme = context_of("acme")
    assert acme.settings.tracking_uri == f"sqlite:///{tmp_path}/stores/acme/mlflow.db"
    assert replace(acme, export=None).site == "acme"
    with pytest.raises(FileNotFoundError, match="no run has been here"):
        existing_context(acme.store)
    assert sites.default_store("x", written) == tmp_path / "stores" / "x"
