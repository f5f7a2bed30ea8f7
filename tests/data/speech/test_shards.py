"""Shards: the same recordings give the same bytes, and only what changed is written."""

import hashlib
import tarfile
from pathlib import Path

import pytest

from data.records import frame
from data.speech import shards as speech_shards
from data.speech.shards import ShardError
from tests.factories import a_recording, a_wav


@pytest.fixture
def wavs(tmp_path: Path) -> dict[str, Path]:
    """Six calls of 32 kB each."""
    return {f"call-{n}.wav": a_wav(tmp_path / "in" / f"{n}.wav", seed=n) for n in range(6)}


def test_the_same_recordings_give_the_same_bytes_whatever_their_order_and_age(
    tmp_path: Path, wavs: dict[str, Path]
) -> None:
    speech_shards.add_shards(tmp_path / "a", wavs, first=0, shard_mb=64)
    for path in wavs.values():
        path.touch()
    speech_shards.add_shards(tmp_path / "b", dict(reversed(wavs.items())), first=0, shard_mb=64)
    assert (tmp_path / "a" / "00000.tar").read_bytes() == (
        tmp_path / "b" / "00000.tar"
    ).read_bytes()
    with tarfile.open(tmp_path / "a" / "00000.tar") as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname) == (0, 0, 0, "")
        assert tar.getnames() == sorted(wavs)


def test_a_shard_is_filled_up_to_its_size_and_a_bigger_call_has_its_own(tmp_path: Path) -> None:
    big = {"big.wav": a_wav(tmp_path / "big.wav", duration_s=80.0)}  # 2.6 MB
    small = {
        f"small-{n}.wav": a_wav(tmp_path / f"{n}.wav", duration_s=12.0) for n in range(6)
    }  # 0.4 MB each
    placed = speech_shards.add_shards(tmp_path / "shards", {**big, **small}, first=3, shard_mb=1)
    shards = [placed[name][0] for name in sorted(placed)]
    assert shards == [
        "00003.tar",
        "00004.tar",
        "00004.tar",
        "00005.tar",
        "00005.tar",
        "00006.tar",
        "00006.tar",
    ]


def test_a_member_comes_back_as_it_was_with_its_sha256(
    tmp_path: Path, wavs: dict[str, Path]
) -> None:
    placed = speech_shards.add_shards(tmp_path / "shards", wavs, first=0, shard_mb=64)
    for name, path in wavs.items():
        audio = speech_shards.read_member(tmp_path / "shards", placed[name][0], name)
        assert audio == path.read_bytes()
        assert placed[name][1] == hashlib.sha256(audio).hexdigest()


def test_replacing_one_call_keeps_the_bytes_of_the_others(
    tmp_path: Path, wavs: dict[str, Path]
) -> None:
    speech_shards.add_shards(tmp_path / "shards", wavs, first=0, shard_mb=64)
    new = a_wav(tmp_path / "new.wav", seed=99, duration_s=1.0)
    speech_shards.rewrite_shard(tmp_path / "shards", "00000.tar", {"call-3.wav": new})
    for name, path in {**wavs, "call-3.wav": new}.items():
        assert (
            speech_shards.read_member(tmp_path / "shards", "00000.tar", name) == path.read_bytes()
        )
    speech_shards.add_shards(tmp_path / "fresh", {**wavs, "call-3.wav": new}, first=0, shard_mb=64)
    assert (tmp_path / "shards" / "00000.tar").read_bytes() == (
        tmp_path / "fresh" / "00000.tar"
    ).read_bytes()


def test_an_id_that_is_no_file_name_becomes_one(tmp_path: Path) -> None:
    assert speech_shards.member_name("../a/b c", tmp_path / "x.WAV") == "%2E.%2Fa%2Fb%20c.wav"
    assert speech_shards.member_name("1785745378.0", tmp_path / "x.wav") == "1785745378.0.wav"


def test_missing_shards_and_members_are_named(tmp_path: Path, wavs: dict[str, Path]) -> None:
    speech_shards.add_shards(tmp_path / "shards", wavs, first=0, shard_mb=64)
    with pytest.raises(ShardError, match=r"00007.tar: no such shard"):
        speech_shards.read_member(tmp_path / "shards", "00007.tar", "call-1.wav")
    with pytest.raises(ShardError, match=r"00000.tar: no member 'call-9.wav'"):
        speech_shards.read_member(tmp_path / "shards", "00000.tar", "call-9.wav")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.98])
def test_a_truncated_shard_is_an_error_and_never_half_a_call(
    tmp_path: Path, wavs: dict[str, Path], keep: float
) -> None:
    speech_shards.add_shards(tmp_path / "shards", wavs, first=0, shard_mb=64)
    shard = tmp_path / "shards" / "00000.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[: int(6 * 33_000 * keep)])
    with pytest.raises(ShardError, match=r"00000.tar"):
        speech_shards.read_member(tmp_path / "shards", "00000.tar", "call-5.wav")


def test_verify_names_the_call_whose_bytes_differ(tmp_path: Path, wavs: dict[str, Path]) -> None:
    placed = speech_shards.add_shards(tmp_path / "shards", wavs, first=0, shard_mb=64)
    rows = [
        a_recording(name.removesuffix(".wav"), shard=shard, member=name, sha256=sha256)
        for name, (shard, sha256) in placed.items()
    ]
    rows.append(a_recording("gone", shard="00009.tar"))
    shard = tmp_path / "shards" / "00000.tar"
    assert len(speech_shards.verify(tmp_path / "shards", frame("recordings", rows[:-1]))) == 0
    offset, _ = speech_shards.shard_index(shard)["call-2.wav"]
    content = bytearray(shard.read_bytes())
    content[offset + 1000] ^= 1
    shard.write_bytes(content)
    problems = speech_shards.verify(tmp_path / "shards", frame("recordings", rows))
    assert [problem.split(":")[0] for problem in problems] == ["call call-2", "call gone"]


def test_leftovers_go_unless_they_hold_what_is_nowhere_else(
    tmp_path: Path, wavs: dict[str, Path]
) -> None:
    shards = tmp_path / "shards"
    first, second, third = (dict(list(wavs.items())[n : n + 2]) for n in (0, 2, 4))
    for number, members in enumerate((first, second, third)):
        speech_shards.add_shards(shards, members, first=number, shard_mb=64)
    (shards / ".00003.tar.0a1b2c3d.tmp").touch()
    removed = speech_shards.clear_leftovers(shards, {"00000.tar"}, set(first) | set(second))
    assert removed == ["00001.tar"]
    assert sorted(path.name for path in shards.iterdir()) == ["00000.tar", "00002.tar"]
    assert speech_shards.next_number(shards) == 3
