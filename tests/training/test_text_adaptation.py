"""Adapting with text: terms are read or refused, weights come from validation only, simulated voices speak."""

import json

import numpy as np
import pytest
import soundfile

from data.text import ALPHABET
from models.asr import decoding
from models.asr.decoding import Decoding, load_decoder
from models.asr.language import Text
from models.asr.recognizer import Recognizer
from tests.models.asr.test_decoding import network_output
from training.asr import text_adaptation
from training.asr.text_adaptation import TermsError, TextAdaptation, adapt, read_terms, speak


class Ears:
    """A network that hears what was put into its ears, whatever the audio; the audio's first sample says which."""

    labels = tuple(ALPHABET)

    def __init__(self, *heard):
        self.heard = heard

    def log_probs(self, waves):
        return [self.heard[round(float(wave[0]) * 100)] for wave in waves], 0.02


@pytest.fixture
def listening(monkeypatch):
    """Makes `adapt` listen with given ears instead of restoring a `.nemo`."""

    def put(*heard):
        def recognizer(_):
            made = Recognizer.__new__(Recognizer)
            made.network, made.labels, made.decoder, made.calibration = (
                Ears(*heard),
                Ears.labels,
                None,
                None,
            )
            return made

        monkeypatch.setattr(text_adaptation, "restore", lambda path: path)
        monkeypatch.setattr(text_adaptation, "Recognizer", recognizer)

    return put


def a_manifest(path, texts):
    lines = []
    for number, text in enumerate(texts):
        wave = np.zeros(4000, np.float32)
        wave[0] = number / 100
        soundfile.write(path.parent / f"{number}.wav", wave, 16000, subtype="FLOAT")
        lines.append(
            json.dumps({"audio_filepath": f"{number}.wav", "duration": 0.25, "text": text})
        )
    path.write_text("\n".join(lines) + "\n")
    return path


ORDERS = [
    Text(text) for text in ("can i get a flat white", "a flat white please", "an iced latte please")
]


def test_what_validation_shows_to_be_better_is_left_beside_the_model(tmp_path, listening):
    texts = ["a flat white", "an iced latte"]
    listening(network_output("a flat wgite", texts[0]), network_output("an iced lagge", texts[1]))
    params = TextAdaptation(decoding=Decoding(mode="beam", boosts=("Zuzana",)))
    seen = []
    found = adapt(
        params,
        ORDERS,
        tmp_path / "model.nemo",
        a_manifest(tmp_path / "valid.jsonl", texts),
        tmp_path,
        lambda done, total: seen.append((done, total)),
    )
    assert (found["mode"], found["wer_greedy"], found["wer_beam"]) == ("beam", 2 / 6, 0)
    search = load_decoder(tmp_path / "model.nemo", Ears.labels)
    assert search.settings.boosts == ("Zuzana",)
    assert (search.settings.alpha, search.settings.beta) == (found["alpha"], found["beta"])
    assert search(network_output("a flat wgite", texts[0]), 0.02).text == texts[0]
    assert (
        "\tzuzana\t" in (tmp_path / "language.arpa").read_text()
    )  # a term to listen for is known to the model
    assert json.loads((tmp_path / "language.json").read_text())["texts"] == 4
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_greedy_stays_where_text_does_not_help(tmp_path, listening):
    listening(network_output("a cortado", probability=0.97))
    valid = a_manifest(tmp_path / "valid.jsonl", ["a cortado"])
    found = adapt(
        TextAdaptation(decoding=Decoding(mode="beam")), ORDERS, tmp_path / "m.nemo", valid, tmp_path
    )
    assert (found["mode"], found["wer_greedy"]) == ("greedy", 0)
    assert load_decoder(tmp_path / "model.nemo", Ears.labels) is None


def test_without_tuning_the_given_weights_are_kept_and_no_speech_is_needed(tmp_path):
    params = TextAdaptation(decoding=Decoding(mode="beam", alpha=0.7, beta=1.1), tuning=False)
    found = adapt(params, ORDERS, tmp_path / "no.nemo", tmp_path / "no.jsonl", tmp_path)
    assert (found["alpha"], found["beta"], found["wer_beam"]) == (0.7, 1.1, None)
    assert set(decoding.FILES) <= {path.name for path in tmp_path.iterdir()}


def test_tuning_needs_speech_and_says_so(tmp_path, listening):
    listening()
    (tmp_path / "valid.jsonl").write_text("\n")
    with pytest.raises(
        ValueError, match=r"valid\.jsonl: no utterance to use .* set adaptation\.tuning to false"
    ):
        adapt(
            TextAdaptation(decoding=Decoding(mode="beam")),
            ORDERS,
            tmp_path,
            tmp_path / "valid.jsonl",
            tmp_path,
        )


def test_more_speech_than_asked_for_is_thinned_not_cut_off(tmp_path):
    manifest = a_manifest(tmp_path / "valid.jsonl", [f"text {n}" for n in "abcdefgh"])
    waves, texts = text_adaptation._some_of(manifest, 0.25 * 4)
    assert texts == ["text a", "text c", "text e", "text g"]
    assert len(waves) == 4


def test_rows_that_cannot_be_heard_are_left_out_and_a_cut_of_a_longer_file_is_heard(tmp_path):
    manifest = a_manifest(tmp_path / "valid.jsonl", ["text a", "text b", "text c"])
    (tmp_path / "1.wav").write_bytes(b"RIFF")
    soundfile.write(
        tmp_path / "call.wav", np.concatenate([np.zeros(8000), np.full(8000, 0.5)]), 16000
    )
    for row in (
        {"offset": 0.5, "text": "text d"},
        {"audio_filepath": "gone.wav", "text": "text e"},
        {"text": None},
    ):
        manifest.write_text(
            manifest.read_text() + json.dumps({"audio_filepath": "call.wav", **row}) + "\n"
        )
    waves, texts = text_adaptation._some_of(manifest, 60.0)
    assert texts == ["text a", "text c", "text d"]
    assert (len(waves[2]), round(float(waves[2].mean()), 2)) == (8000, 0.5)
    for name in ("0.wav", "2.wav", "call.wav"):
        (tmp_path / name).write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"set adaptation\.tuning to false"):
        text_adaptation._some_of(manifest, 60.0)


def test_capitals_are_no_errors(tmp_path, listening, monkeypatch):
    monkeypatch.setattr(Ears, "labels", tuple(ALPHABET.upper()))
    listening(network_output("a flat white"))
    valid = a_manifest(tmp_path / "valid.jsonl", ["A flat white."])
    found = adapt(
        TextAdaptation(decoding=Decoding(mode="beam")), ORDERS, tmp_path / "m.nemo", valid, tmp_path
    )
    assert (found["mode"], found["wer_greedy"]) == ("greedy", 0)


def test_terms_are_read_with_their_weights(tmp_path):
    path = tmp_path / "terms.txt"
    path.write_text("# our products\nFlat White\t5\nZuzana Kowalska\n\nCan I get it to go?\n")
    assert read_terms(path) == [
        Text("Flat White", 5, whole=False),
        Text("Zuzana Kowalska", whole=False),
        Text("Can I get it to go?"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"latte\tmany\n", r"terms\.txt:1: weight 'many'"),
        (b"latte\n***\n", r"terms\.txt:2: .* nothing to say"),
        (b"\xff\xfe\x00", r"terms\.txt: cannot be read"),
    ],
)
def test_a_bad_term_is_named_by_its_line(tmp_path, content, words):
    (tmp_path / "terms.txt").write_bytes(content)
    with pytest.raises(TermsError, match=words):
        read_terms(tmp_path / "terms.txt")


def test_simulated_voices_speak_every_text_before_one_again(tmp_path):
    texts = ["a flat white please", "42 lattes!", "no sugar"]
    path = speak(texts, tmp_path / "spoken.jsonl", 7, seed=1, telephone_share=0.5)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["text"] for row in rows[:3]} == {
        "a flat white please",
        "forty two lattes",
        "no sugar",
    }
    assert len(rows) == 7
    assert len({row["voice"] for row in rows}) > 3
    dull = 0
    for row in rows:
        wave, rate_hz = soundfile.read(tmp_path / row["audio_filepath"])
        assert rate_hz == 16000
        assert row["duration"] == pytest.approx(len(wave) / rate_hz)
        assert np.abs(wave).max() > 0.05
        spectrum = np.abs(np.fft.rfft(wave)) ** 2
        dull += (
            spectrum[len(spectrum) // 2 :].sum() < 1e-6 * spectrum.sum()
        )  # a telephone has nothing above 4 kHz
    assert 1 <= dull < 7


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_speaking_again_speaks_the_same_and_only_what_is_missing(tmp_path):
    path = speak(["one", "two"], tmp_path / "spoken.jsonl", 4, seed=2)
    before, lines = (
        {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "spoken").iterdir()},
        path.read_text(),
    )
    lost, torn = list(before)[:2]
    (tmp_path / "spoken" / lost).unlink()
    (tmp_path / "spoken" / torn).write_bytes(before[torn][0][:100])  # as a power cut leaves it
    (tmp_path / "spoken" / "stale.wav").write_bytes(b"")
    speak(["one", "two"], path, 4, seed=2)
    after = contents(path.with_suffix(""))
    assert {name: content for name, (content, _) in after.items()} == {
        n: c for n, (c, _) in before.items()
    }
    assert [name for name in after if after[name][1] != before[name][1]] == [lost, torn]
    assert path.read_text() == lines


def test_there_must_be_something_to_speak(tmp_path):
    with pytest.raises(ValueError, match="no text with a word to speak"):
        speak(["..."], tmp_path / "spoken.jsonl", 3, seed=0)
