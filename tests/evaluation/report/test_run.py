"""The report of a run: true to the files in the store, whole without a network, and never in the way of a run."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import soundfile

from data.files import read_json, read_tables, write_json, write_table
from data.params import ParamsError, section
from evaluation.experience.monitoring_plan import MonitoringPlanParams
from evaluation.metrics.churn import attainable_skill
from evaluation.report.formatting import count, plain, share
from evaluation.report.run import ReportParams, write_report
from evaluation.scorecard import gain, load
from tests.evaluation.report.small_store import NOW, build_store, decoded, delivered
from tests.typing_helpers import known

IDS = [
    "numbers",
    "came-in",
    "refused",
    "version",
    "about",
    "hearing",
    "churn",
    "decisions",
    "at-risk",
    "treat",
    "worth",
    "short",
]
PARAMS = ReportParams(clip_s=8.0, monitoring_plan=MonitoringPlanParams(chosen=4, random=2))
VOID = {"meta", "link", "br", "img", "input", "hr", "circle", "line"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("run") / "store")


@pytest.fixture(scope="module")
def summary(store: Path) -> dict[str, Any]:
    return write(store)


@pytest.fixture(scope="module")
def page(summary: dict[str, Any]) -> str:
    return Path(summary["page"]).read_text(encoding="utf-8")


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    return shutil.copytree(store, tmp_path / "copy", ignore=shutil.ignore_patterns("raw", "report"))


def write(
    store: Path, params: ReportParams | None = None, audio: Any = "real", truth: bool = True
) -> dict[str, Any]:
    reader = decoded(store) if audio == "real" else audio
    at = store / "truth" if truth else None
    return write_report(
        store,
        truth=at,
        out=store / "report/index.html",
        read_audio=reader,
        now=NOW,
        params=params or PARAMS,
    )


def write_without_audio(store: Path, **changes: Any) -> tuple[dict[str, Any], str]:
    """The report without clips, which take longest: its summary and its page."""
    summary = write(store, audio=None, **changes)
    return summary, Path(summary["page"]).read_text(encoding="utf-8")


def part(page: str, name: str) -> str:
    """One section of the page, as text with tags."""
    return page.split(f'id="{name}"', 1)[1].split("</section>", 1)[0]


class Reader(HTMLParser):
    """Walks a page; keeps what it points to, and tags that were not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.points_to: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.points_to += [
            (tag, value or "")
            for name, value in attrs
            if name in ("src", "href", "srcset", "action")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.crossed.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def text(html: str) -> str:
    """What a person reads, with every kind of space as one."""
    return read("".join(Reader(html).words))


def read(shown: str) -> str:
    return re.sub(r"\s+", " ", shown)


# --- one file that anyone can open ---


def test_the_page_needs_nothing_but_itself(store: Path, page: str) -> None:
    reader = Reader(page)
    outside = [
        value
        for tag, value in reader.points_to
        if not value.startswith("#")
        and not (tag == "audio" and value.startswith("data:audio/ogg;base64,"))
    ]
    assert sorted(set(outside)) == sorted(
        [
            "../validation/index.html",
            *(f"../decisions/{path.parent.name}/{path.name}" for path in pages(store)),
        ]
    )
    assert all((store / "report" / value).exists() for value in outside)
    style = "".join(re.findall(r"<style>(.*?)</style>", page, re.S))
    assert "url(" not in style
    assert "@import" not in style
    assert not [
        tag for tag, _ in reader.tags if tag in ("link", "iframe", "img", "object", "embed")
    ]


def pages(store: Path) -> list[Path]:
    return sorted((store / "decisions").rglob("*.html"))


def test_the_page_is_well_formed_and_every_link_inside_it_leads_somewhere(page: str) -> None:
    reader = Reader(page)
    assert reader.crossed == []
    assert reader.open == []
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, value in reader.points_to if value.startswith("#")} <= set(ids)


def test_sections_come_in_the_promised_order(page: str) -> None:
    places = [
        page.index(
            f'<section {"class=" + chr(34) + "first" + chr(34) + " " if name == "numbers" else ""}id="{name}"'
        )
        for name in IDS
    ]
    assert places == sorted(places)


def test_who_cannot_see_is_told_the_same(page: str) -> None:
    reader = Reader(page)
    drawings = [attrs for tag, attrs in reader.tags if tag == "svg" and attrs.get("role") == "img"]
    assert drawings
    assert all(attrs["aria-label"] for attrs in drawings)
    assert all("scope" in attrs for tag, attrs in reader.tags if tag == "th")
    assert all(attrs["aria-label"] for tag, attrs in reader.tags if tag == "audio")
    assert ("html", {"lang": "en"}) in reader.tags


def test_all_words_are_there_without_javascript(page: str) -> None:
    bare = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert text(bare).count("Inclusion probability") >= 4
    assert "<audio controls" in bare


def test_the_same_store_gives_the_same_page(copy: Path) -> None:
    _, first = write_without_audio(copy)
    _, again = write_without_audio(copy)
    assert first == again


# --- true to the store ---


def test_headline_figures_come_from_the_files(store: Path, summary: dict[str, Any]) -> None:
    clean = read_tables(store / "clean")
    candidate = load(store / "scorecards/asr/candidate.json")
    scores = pl.read_parquet(store / "scores.parquet")
    verdicts = [read_json(path)["verdict"] for path in (store / "decisions").rglob("*.json")]
    assert 4 <= len(summary["headline"]) <= 6
    assert summary["headline"]["Contacts"] == count(clean["contacts"].height)
    labels = pl.read_parquet(store / "labels.parquet")
    troubled = labels.filter(
        pl.col("label").str.starts_with("friction_") & (pl.col("value") == "yes")
    )
    share_troubled = troubled["contact_id"].n_unique() / labels["contact_id"].n_unique()
    assert summary["headline"]["Contacts with friction"] == share(share_troubled, 0)
    assert summary["headline"]["Words heard wrong"] == share(candidate.metrics["wer"].value)
    assert summary["headline"]["Expected to leave"] == count(float(scores["risk_90"].sum()))
    assert summary["headline"]["Models accepted"] == f"{verdicts.count('accepted')} of 2"
    assert summary["headline"]["Foreseen"] == share(candidate_skill(store)["risk_365"], 0)


def candidate_skill(store: Path) -> dict[str, float]:
    reader: dict[str, float] = read_json(store / "scorecards/churn/candidate.json")["facts"][
        "attainable_skill"
    ]["churn candidate"]
    return reader


def test_every_refusal_is_counted_with_its_reason_and_next_step(store: Path, page: str) -> None:
    lines = [
        json.loads(line)
        for name in ("ingest", "validate")
        for line in (store / f"quarantine/{name}.jsonl").read_text().splitlines()
    ]
    shown = text(part(page, "refused"))
    assert len(lines) >= 8
    assert f"{len(lines)} things in quarantine" in shown
    for line in lines:
        reason = re.sub(r"\s*\(.*\)", "", line["reason"]).replace("-", " ")
        assert reason[1:] in shown
        assert line["next_step"] in shown
    numbers = re.findall(r'</th><td class="n">(\d+)</td><td class="n">', part(page, "refused"))
    assert sum(map(int, numbers)) == len(lines)


def test_what_the_real_contract_refuses_is_told(copy: Path) -> None:
    from data.validation import ValidationParams, validate

    summary = validate(copy, ValidationParams(), read_audio=delivered(copy, "tables"), now=NOW)
    _, page = write_without_audio(copy)
    shown = text(part(page, "refused"))
    assert summary["rejected"] > 2
    assert f"{summary['rejected']} broke the data contract" in shown
    for broken in ("Clipped", "Duplicate content", "Silent customer", "In the future"):
        assert broken in shown
    assert read(share(summary["accepted_audio_s"] / summary["input_audio_s"])) in shown
    assert all(f"{name[:1].upper()}{name[1:]}" in shown for name in summary["suites"])


def test_word_errors_before_and_after_stand_with_their_intervals(store: Path, page: str) -> None:
    shown = text(part(page, "hearing"))
    before, after = (
        load(store / f"scorecards/asr/{side}.json") for side in ("reference", "candidate")
    )
    figures = []
    for card in (before, after):
        wer = card.metrics["wer"]
        assert wer.low is not None
        figures.append(read(f"{share(wer.value)} {share(wer.low)[:-2]} to {share(wer.high)}"))
        assert card.model in shown
    assert f"All test speech{after.units.height}{''.join(figures)}" in shown
    better = gain(after, before, "wer", seed=0)
    assert f"better by {plain(100 * better.value, 1)} points" in shown
    assert all(f"Role: {role}" in shown for role in ("agent", "customer"))


def test_utterances_are_shown_word_by_word_as_they_were_said_and_heard(
    store: Path, page: str
) -> None:
    rows = load(store / "scorecards/asr/candidate.json").units.iter_rows(named=True)
    units = {(row["contact_id"], row["ref"]): row for row in rows}
    blocks = re.findall(r'<dl class="said">(.*?)</dl>', part(page, "hearing"), re.S)
    assert len(blocks) == 6
    for block in blocks:
        ref, _, after = re.findall(r"<dd>(.*?)</dd>", block, re.S)
        row = units[re.findall(r"Call (K\d+)", block)[0], text(ref)]
        recognised = text(re.sub(r"<del.*?</del>", "", after))
        assert recognised.split() == (row["hyp"].split() or ["(nothing)"])
        assert f"{row['errors']} after" in block
    assert {"Improved most", "Drawn by lot"} <= {
        known(re.search(r"about\">(.*?)\.", block))[1] for block in blocks
    }


def test_risks_are_held_against_the_truth(store: Path, page: str) -> None:
    shown = text(part(page, "churn"))
    predictions = pl.read_parquet(store / "scorecards/churn/predictions.parquet")
    truth = pl.read_parquet(store / "truth/customers.parquet")
    reached = attainable_skill(predictions, truth)
    for days in (30, 90, 180, 365):
        # Once as the scorecard has it, once computed from the predictions.
        assert shown.count(read(f"{days} days{share(reached[f'risk_{days}'])}")) == 2
    assert "true risk" in shown


def test_ranking_profit_and_calibration_by_slice_are_on_the_page(store: Path, page: str) -> None:
    units = read_json(store / "scorecards/churn/candidate.json")
    shown = text(part(page, "churn"))
    for name in ("c_index_180", "average_precision_180", "lift_5_180", "lift_20_180", "empc_180"):
        assert plain(units["metrics"][name]["value"]) in shown, name
    slices = units["facts"]["calibration_slices"]
    assert {entry["horizon_days"] for entry in slices} == {30, 90, 180, 365}
    for entry in slices:
        assert (f"Plan: {entry['value']}{entry['horizon_days']} days" in shown) == (
            entry["horizon_days"] in (30, 180)
        )


def test_a_real_contact_centre_has_no_truth_on_its_page(copy: Path) -> None:
    for kind in ("candidate", "reference"):
        units = read_json(copy / f"scorecards/churn/{kind}.json")
        units["facts"].pop("attainable_skill", None)
        write_json(copy / f"scorecards/churn/{kind}.json", units)
    summary, page = write_without_audio(copy, truth=False)
    assert "truth" not in text(page).lower()
    assert "AUC of leaving" in summary["headline"]
    assert "share that left" in page


def test_every_check_of_a_decision_is_on_the_page(store: Path, page: str) -> None:
    shown = text(part(page, "decisions"))
    for path in (store / "decisions").rglob("*.json"):
        record = read_json(path)
        assert record["summary"] in shown
        assert record["decision_id"] in shown
        for check in record["checks"]:
            assert check["sentence"] in shown
            if check["low"] is not None:
                assert f"{plain(check['low'], 4)} to {plain(check['high'], 4)}" in shown


def test_the_riskiest_customers_come_first_with_every_horizon(store: Path, page: str) -> None:
    scores = pl.read_parquet(store / "scores.parquet").sort(
        ["risk_180", "customer_id"], descending=[True, False]
    )
    rows = re.findall(r'<th scope="row">(C\d+)<br>.*?</th>(.*?)<td>', part(page, "at-risk"), re.S)
    assert [customer for customer, _ in rows] == scores["customer_id"].head(15).to_list()
    first = scores.row(0, named=True)
    assert re.findall(r'<td class="n">(.*?)</td>', rows[0][1]) == [
        share(first[f"risk_{days}"], 0) for days in (30, 90, 180, 365)
    ]


def test_reasons_on_the_page_belong_to_the_customer_they_stand_with(store: Path, page: str) -> None:
    owner = dict(
        pl.read_parquet(store / "clean/contacts.parquet")
        .select("contact_id", "customer_id")
        .iter_rows()
    )
    rows = re.findall(r'<th scope="row">(C\d+)<br>.*?</tr>', part(page, "at-risk"), re.S)
    bodies = re.findall(r'<th scope="row">C\d+<br>(.*?)</tr>', part(page, "at-risk"), re.S)
    linked = [
        (customer, contact)
        for customer, body in zip(rows, bodies, strict=True)
        for contact in re.findall(r"K\d{6}", body)
    ]
    assert linked
    assert all(owner[contact] == customer for customer, contact in linked)
    assert "lowers the risk" not in part(page, "at-risk")


# --- contacts worth hearing ---


def test_clips_play_and_are_no_longer_than_promised(summary: dict[str, Any], page: str) -> None:
    clips = re.findall(r'data:audio/ogg;base64,([^"]+)"', page)
    assert len(clips) == summary["clips"] == len(summary["worth_hearing"]) == 6
    for clip in clips:
        info = soundfile.info(io.BytesIO(base64.b64decode(clip)))
        assert (info.format, info.subtype) == ("OGG", "OPUS")
        assert 1 < info.duration <= 8.1
    assert summary["size_bytes"] < 6_000_000


def test_chosen_and_random_contacts_are_told_apart(page: str) -> None:
    section = part(page, "worth")
    tags = re.findall(r'<h3>.*?<span class="tag (chosen|random)">', section)
    assert tags == ["chosen"] * 4 + ["random"] * 2
    assert section.count("Drawn by lot:") == tags.count("random")


def test_words_say_whether_a_person_or_the_recogniser_wrote_them(store: Path, page: str) -> None:
    typed = set(
        pl.read_parquet(store / "clean/turns.parquet").filter(pl.col("origin") == "person")[
            "contact_id"
        ]
    )
    calls = re.findall(
        r'<article class="call" id="call-(K\d+)">(.*?)</article>', part(page, "worth"), re.S
    )
    assert calls
    for contact, body in calls:
        assert ("typed by a person" in body) == (contact in typed)
        assert ("heard by the recogniser" in body) == (contact not in typed)


def test_a_small_page_leaves_clips_out_and_says_so(copy: Path) -> None:
    summary = write(copy, replace(PARAMS, page_mb=1.06))
    assert 0 < summary["clips"] < len(summary["worth_hearing"])
    assert summary["size_bytes"] < 1_060_000
    assert any("left out to keep the page small" in note for note in summary["notes"])


def test_a_recording_that_cannot_be_read_costs_its_clip_alone(
    copy: Path, summary: dict[str, Any]
) -> None:
    broken, whole = summary["worth_hearing"][0], decoded(copy)

    def unreadable(contact_id: str) -> Any:
        if contact_id == broken:
            raise ValueError("shard 00000.tar: truncated.")
        return whole(contact_id)

    again = write(copy, replace(PARAMS, clip_s=2.0), audio=unreadable)
    assert again["clips"] == summary["clips"] - 1
    assert f"Call {broken} cannot be played: shard 00000.tar: truncated." in again["notes"]


# --- never in the way ---


def test_an_empty_store_gives_a_page_that_says_what_has_not_run(tmp_path: Path) -> None:
    summary = write_report(
        tmp_path / "none",
        truth=None,
        out=tmp_path / "none/report/index.html",
        read_audio=None,
        now=NOW,
        params=ReportParams(),
    )
    page = Path(summary["page"]).read_text(encoding="utf-8")
    assert summary["headline"] == {}
    for stage in ("ingest", "version", "label", "evaluate_asr", "evaluate_churn", "score"):
        assert f"The stage “{stage}” has not run" in text(page)
    assert Reader(page).crossed == []


NOT_RUN = "The stage “{}” has not run"
MISSING = {  # artefact: (section, sentence)
    "ingest.json": ("came-in", NOT_RUN.format("ingest")),
    "validate.json": ("short", NOT_RUN.format("validate")),
    "version.json": ("version", NOT_RUN.format("version")),
    "labels.parquet": ("about", NOT_RUN.format("label")),
    "label.json": ("about", "Labels of"),
    "splits.parquet": ("version", "Nobody is on two sides."),
    "scorecards/asr/candidate.json": ("hearing", NOT_RUN.format("evaluate_asr")),
    "scorecards/asr/reference.json": ("short", "There is no scorecard of the recogniser to beat"),
    "scorecards/churn/candidate.json": ("churn", NOT_RUN.format("evaluate_churn")),
    "scorecards/churn/reference.json": ("short", "There is no scorecard of a model to beat"),
    "scorecards/churn/predictions.parquet": ("churn", "scores.parquet"),
    "decisions/churn": ("short", "The gate has not judged a churn network yet."),
    "decisions": ("decisions", "The gate has not decided anything"),
    "scores.parquet": ("at-risk", NOT_RUN.format("score")),
    "reasons.parquet": ("short", "left no reasons.parquet"),
    "transcripts.parquet": ("short", NOT_RUN.format("transcribe")),
    "transcribe.json": ("hearing", "times faster than people speak."),
    "clean": ("came-in", "By channel"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_artefact_is_a_sentence_not_a_failure(copy: Path, name: str) -> None:
    gone, (where, sentence) = copy / name, MISSING[name]
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    summary, page = write_without_audio(copy)
    assert Reader(page).crossed == []
    assert sentence in text(part(page, where))
    assert not [note for note in summary["notes"] if "cannot be written" in note]


@pytest.mark.parametrize(
    "name", ["ingest.json", "labels.parquet", "scores.parquet", "scorecards/asr/candidate.json"]
)
def test_a_damaged_artefact_is_told_and_the_rest_still_written(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:40])
    summary, page = write_without_audio(copy)
    assert any("cannot be" in note or "not valid JSON" in note for note in summary["notes"])
    assert summary["headline"]
    assert Reader(page).crossed == []


def test_nobody_scored_is_said_where_no_churn_model_is_active(copy: Path) -> None:
    write_table(
        copy / "scores.parquet", pl.DataFrame(schema={"customer_id": pl.String, "as_of": pl.Date})
    )
    summary, page = write_without_audio(copy)
    assert "No churn model is active, so nobody was scored." in text(part(page, "at-risk"))
    assert summary["worth_hearing"]


def test_outcomes_without_dates_have_one_risk_and_no_horizon(copy: Path) -> None:
    scores = pl.read_parquet(copy / "scores.parquet").select(
        "customer_id", "as_of", pl.col("risk_180").alias("risk")
    )
    write_table(copy / "scores.parquet", scores)
    summary, page = write_without_audio(copy, truth=False)
    assert summary["headline"]["Expected to leave"] == count(float(scores["risk"].sum()))
    assert "None days" not in text(page)
    assert "Risk of leaving" not in summary["notes"]


def test_what_a_customer_says_cannot_become_part_of_the_page(
    copy: Path, summary: dict[str, Any]
) -> None:
    attack = "<script>alert('x')</script>"
    for name in ("clean/turns.parquet", "transcripts.parquet"):
        table = pl.read_parquet(copy / name)
        write_table(copy / name, table.with_columns(pl.lit(attack).alias("text")))
    customers = pl.read_parquet(copy / "clean/customers.parquet")
    write_table(
        copy / "clean/customers.parquet", customers.with_columns(pl.lit(attack).alias("plan"))
    )
    _, page = write_without_audio(copy)
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert" in part(page, "worth")
    assert "&lt;script&gt;alert" in part(page, "at-risk")


def test_a_page_half_written_never_replaces_a_whole_one(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, before = write_without_audio(copy)

    def fails(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("data.files.os.fsync", fails)
    with pytest.raises(OSError, match="no space left"):
        write(copy, replace(PARAMS, at_risk=3), audio=None)
    assert (copy / "report/index.html").read_text(encoding="utf-8") == before
    assert [path.name for path in (copy / "report").iterdir()] == ["index.html"]


# --- settings ---


def test_settings_come_from_params_yaml_and_change_the_page(copy: Path) -> None:
    values = {
        "at_risk": 3,
        "chart_horizons_days": [90],
        "monitoring_plan": {"chosen": 2, "random": 1},
    }
    params = section(ReportParams, values, "report")
    assert params.monitoring_plan == replace(MonitoringPlanParams(), chosen=2, random=1)
    summary, page = write_without_audio(copy, params=params)
    assert len(re.findall(r'<th scope="row">C\d+<br>', part(page, "at-risk"))) == 3
    assert len(summary["worth_hearing"]) == 3
    with pytest.raises(ParamsError, match=r"report\.monitoring_plan\.picked is not a setting"):
        section(ReportParams, {"monitoring_plan": {"picked": 2}}, "report")


def test_the_old_key_of_the_monitoring_plan_is_still_read_and_the_new_one_counts() -> None:
    old = section(ReportParams, {"worth_hearing": {"chosen": 2}}, "report")
    assert old.monitoring_plan == MonitoringPlanParams(chosen=2)
    both = {"worth_hearing": {"chosen": 2}, "monitoring_plan": {"chosen": 3}}
    assert section(ReportParams, both, "report").monitoring_plan == MonitoringPlanParams(chosen=3)


def test_importing_the_report_loads_no_vendor() -> None:
    script = (
        "import sys, evaluation.report.run; "
        "vendors = {'torch', 'nemo', 'mlflow', 'prefect', 'sklearn', 'great_expectations', 'snorkel', 'jinja2'}; "
        "print(sorted(vendors & set(sys.modules)))"
    )
    reader = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert reader.stdout.strip() == "[]"
