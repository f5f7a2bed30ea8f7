"""S5: models carry card, licence, checksums and a signature; what is tampered with or could run
code is refused.
"""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.runtime.params import read_params
from flows.runtime.settings import ROOT
from models.asr.nemo_archive import TARGETS, NemoArchiveError, check_nemo
from models.registry.bundle import BundleError, verify_bundle, write_bundle
from models.registry.registry import Registry
from models.registry.signing import sign_folder
from tests.registry_helpers import RegistryFixture, a_bundle

CONFIG = (
    "target: nemo.collections.asr.models.EncDecCTCModel\n"
    "encoder: {_target_: nemo.collections.asr.modules.ConvASREncoder}\n"
)
FACTS: dict[str, Any] = {
    "data_hash": "d",
    "git_commit": "c",
    "created_at": "2026-03-01",
    "licence": "MIT",
}
Members = list[tuple[tarfile.TarInfo, bytes]]


def state_dict() -> bytes:
    """What torch.save makes of one tensor."""
    import torch

    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def honest() -> Members:
    return [
        member("./model_config.yaml", CONFIG.encode()),
        member("./model_weights.ckpt", state_dict()),
    ]


def a_tar(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w:") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def with_config(text: str) -> Members:
    return [member("model_config.yaml", text.encode()), honest()[1]]


def with_weights(content: bytes) -> Members:
    return [honest()[0], member("model_weights.ckpt", content)]


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("a payload ran",))


def poisoned_weights(compression: int = zipfile.ZIP_STORED, name: str = "w/data.pkl") -> bytes:
    """A PyTorch archive whose pickle calls a function."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(name, pickle.dumps({"w": _Payload()}, protocol=2))
        archive.writestr("w/version", "3")
    return buffer.getvalue()


def _bomb() -> str:
    lines = ["a: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return CONFIG + "\n".join(lines)


HOSTILE: dict[str, tuple[Callable[[], Members], str]] = {
    "path traversal": (lambda: [*honest(), member("../../etc/x.txt", b"x")], "outside its folder"),
    "an absolute path": (lambda: [*honest(), member("/tmp/x.txt", b"x")], "outside its folder"),
    "a symbolic link": (
        lambda: [*honest(), member("x.txt", kind=tarfile.SYMTYPE, link="/etc/passwd")],
        "is a link",
    ),
    "a hard link": (
        lambda: [*honest(), member("x.txt", kind=tarfile.LNKTYPE, link="model_config.yaml")],
        "is a link",
    ),
    "a device": (lambda: [*honest(), member("x.txt", kind=tarfile.CHRTYPE)], "a device"),
    "a member twice": (
        lambda: [*honest(), member("model_config.yaml", b"target: os.system")],
        "in it twice",
    ),
    "a pickle beside": (
        lambda: [*honest(), member("extra.pkl", pickle.dumps(1))],
        "may hold a pickle",
    ),
    "a second checkpoint": (lambda: [*honest(), member("other.ckpt", b"x")], "may hold a pickle"),
    "too many members": (
        lambda: [*honest(), *(member(f"{n}.txt") for n in range(500))],
        "more than 500 members",
    ),
    "no weights": (lambda: honest()[:1], r"model_weights\.ckpt is missing"),
    "a target outside nemo": (
        lambda: with_config(CONFIG + "x: {_target_: os.system}"),
        "would build 'os.system'",
    ),
    "a target like nemo": (
        lambda: with_config(CONFIG + "x: {_target_: nemo_evil.run}"),
        "would build 'nemo_evil.run'",
    ),
    "a deep target": (
        lambda: with_config(CONFIG + "x: [{y: {_target_: subprocess.run}}]"),
        "'subprocess.run'",
    ),
    "a function of NeMo's that writes files": (
        lambda: with_config(
            CONFIG + "tokenizer: {_target_: nemo.collections.common.tokenizers.megatron_utils."
            "_download, path: /tmp/x, url: 'data:text/plain,x'}"
        ),
        "would build 'nemo.collections.common.tokenizers.megatron_utils._download' at tokenizer",
    ),
    "a function of NeMo's that deletes a folder": (
        lambda: with_config(
            CONFIG.replace(
                "nemo.collections.asr.modules.ConvASREncoder",
                "nemo.collections.asr.parts.utils.data_simulation_utils.get_cleaned_base_path",
            )
        ),
        "get_cleaned_base_path' at encoder",
    ),
    "a dotted path through a module of NeMo's": (
        lambda: with_config(
            "target: nemo.core.connectors.save_restore_connector.os.system\nencoder: {}\n"
        ),
        r"os\.system' at target",
    ),
    "a class at another place": (
        lambda: with_config(CONFIG + "x: {_target_: nemo.collections.asr.modules.ConvASREncoder}"),
        r"ConvASREncoder' at x\._target_",
    ),
    "a class inside another": (
        lambda: with_config(
            CONFIG.replace("}", ", x: {_target_: nemo.collections.asr.modules.ConvASRDecoder}}")
        ),
        r"at encoder\.x\._target_",
    ),
    "a target by interpolation": (
        lambda: with_config(CONFIG + "name: os.system\ndecoder: {_target_: '${name}'}"),
        r"would build '\$\{name\}' at decoder",
    ),
    "half a call": (
        lambda: with_config(CONFIG + "decoder: {_partial_: true}"),
        "an instruction for how something is built",
    ),
    "arguments by position": (
        lambda: with_config(CONFIG + "decoder: {_args_: ['id']}"),
        "an instruction for how something is built",
    ),
    "a YAML tag": (
        lambda: with_config(CONFIG + "x: !!python/object/apply:os.system ['id']"),
        "not plain YAML",
    ),
    "a YAML bomb": (lambda: with_config(_bomb()), "unfolds to more than"),
    "code from a hub": (
        lambda: with_config(CONFIG + "t: {trust_remote_code: true}"),
        "run code from a hub",
    ),
    "the environment": (
        lambda: with_config(CONFIG + "t: '${oc.env:AWS_SECRET_ACCESS_KEY}'"),
        "reads the environment",
    ),
    "the environment after a blank": (
        lambda: with_config(CONFIG + "t: '${ oc.env:HOME}'"),
        "reads the environment",
    ),
    "the environment by a nested name": (
        lambda: with_config(CONFIG + "n: oc\nt: '${${n}.env:HOME}'"),
        "reads the environment",
    ),
    "a huge config": (lambda: with_config(CONFIG + "# " + "x" * 5_000_000), "bytes, more than"),
    "a call in the weights": (
        lambda: with_weights(poisoned_weights()),
        "would call '__builtin__.print'",
    ),
    "a bare pickle": (lambda: with_weights(pickle.dumps(_Payload())), "not a PyTorch archive"),
    "a newer pickle": (lambda: with_weights(_protocol_4()), "STACK_GLOBAL"),
    "a compressed pickle": (
        lambda: with_weights(poisoned_weights(zipfile.ZIP_DEFLATED)),
        "is compressed",
    ),
    "a script": (
        lambda: with_weights(poisoned_weights(name="w/code/x.py")),
        "not just a state dict",
    ),
    "a zip after a pickle": (
        lambda: with_weights(pickle.dumps(_Payload()) + state_dict()),
        "not a PyTorch archive",
    ),
}


def _protocol_4() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("w/data.pkl", pickle.dumps({"w": _Payload()}, protocol=4))
    return buffer.getvalue()


def test_S5_every_name_on_the_list_is_a_class_of_nemo_or_ours() -> None:
    from importlib import import_module

    for place, names in TARGETS.items():
        for name in names:
            module, _, title = name.rpartition(".")
            assert isinstance(getattr(import_module(module), title), type), (place, name)


def test_S5_an_honest_nemo_passes_and_so_does_the_one_that_ships(tmp_path: Path) -> None:
    check_nemo(a_tar(tmp_path / "honest.nemo", honest()))
    check_nemo(ROOT / "models" / "base" / "keepline-base.nemo")


@pytest.mark.parametrize("what", HOSTILE)
def test_S5_a_hostile_nemo_is_refused_with_its_reason(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    members, says = HOSTILE[what]
    path = a_tar(tmp_path / "model.nemo", members())
    with pytest.raises(NemoArchiveError, match=says):
        check_nemo(path)
    with pytest.raises(BundleError, match=says):
        write_bundle(tmp_path / "b", "asr", {"model.nemo": path, "card.md": "# A card"}, **FACTS)
    assert not (tmp_path / "b").exists()
    assert "a payload ran" not in capsys.readouterr().out


def test_S5_a_compressed_or_cut_archive_is_refused(tmp_path: Path) -> None:
    whole = a_tar(tmp_path / "model.nemo", honest()).read_bytes()
    with tarfile.open(tmp_path / "gz.nemo", "w:gz") as archive:
        for info, content in honest():
            archive.addfile(info, io.BytesIO(content))
    (tmp_path / "cut.nemo").write_bytes(whole[:700])
    (tmp_path / "empty.nemo").write_bytes(b"")
    for name in ("gz", "cut", "empty"):
        with pytest.raises(NemoArchiveError, match=f"{name}.nemo"):
            check_nemo(tmp_path / f"{name}.nemo")


# --- bundles ---


def test_S5_a_flipped_byte_anywhere_is_refused(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path / "b")
    for name in bundle.files:
        content = (bundle.path / name).read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            flipped = bytearray(content)
            flipped[place] ^= 1
            (bundle.path / name).write_bytes(flipped)
            with pytest.raises(BundleError, match=f"{name} has changed"):
                verify_bundle(bundle.path)
        (bundle.path / name).write_bytes(content)
    assert verify_bundle(bundle.path) == bundle


def test_S5_json_nested_too_deeply_is_refused_and_not_a_crash(tmp_path: Path) -> None:
    deep = b"[" * 200_000
    weights = len(deep).to_bytes(8, "little") + deep
    with pytest.raises(BundleError, match=r"weights\.safetensors is not what its name says"):
        a_bundle(tmp_path / "w", files={"weights.safetensors": weights, "card.md": "# A card\n"})
    bundle = a_bundle(tmp_path / "b")
    (bundle.path / "bundle.json").write_bytes(deep)
    with pytest.raises(BundleError, match=r"bundle\.json is not JSON"):
        verify_bundle(bundle.path)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two key pairs: ours and somebody else's."""
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for who in ("ours", "theirs"):
        made[who], made[f"{who} public"] = folder / f"{who}.pem", folder / f"{who}.pub.pem"
        make = [
            "openssl",
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            str(made[who]),
        ]
        subprocess.run(make, check=True, capture_output=True)
        show = [
            "openssl",
            "ec",
            "-in",
            str(made[who]),
            "-pubout",
            "-out",
            str(made[f"{who} public"]),
        ]
        subprocess.run(show, check=True, capture_output=True)
    return made


def test_S5_with_a_public_key_only_what_its_owner_signed_is_taken(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    bundle = a_bundle(tmp_path / "b")
    with pytest.raises(BundleError, match="not signed"):
        verify_bundle(bundle.path, keys["ours public"])
    sign_folder(bundle.path, keys["theirs"])
    with pytest.raises(BundleError, match="signature does not hold"):
        verify_bundle(bundle.path, keys["ours public"])
    sign_folder(bundle.path, keys["ours"])
    signed = verify_bundle(bundle.path, keys["ours public"])
    assert signed.sha256 == bundle.sha256, "the signature is not part of what it signs"
    assert verify_bundle(bundle.path) == signed, "who asks for no signature is not disturbed by one"


def test_S5_a_signature_does_not_fit_another_bundle(tmp_path: Path, keys: dict[str, Path]) -> None:
    bundle, other = a_bundle(tmp_path / "one"), a_bundle(tmp_path / "two", "two")
    signature = sign_folder(bundle.path, keys["ours"])
    (other.path / signature.name).write_bytes(signature.read_bytes())
    with pytest.raises(BundleError, match="signature does not hold"):
        verify_bundle(other.path, keys["ours public"])
    (bundle.path / signature.name).write_text("{}")
    with pytest.raises(BundleError, match="signature does not hold"):
        verify_bundle(bundle.path, keys["ours public"])


def test_S5_the_registry_takes_and_gives_only_what_is_signed(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    fixture = RegistryFixture(tmp_path)
    strict = Registry(fixture.uri, tmp_path / "registry", public_key=keys["ours public"])
    bundle = a_bundle(tmp_path / "b")
    with pytest.raises(BundleError, match="not signed"):
        strict.register(bundle.path, "churn", fixture.run_id)
    sign_folder(bundle.path, keys["ours"])
    version = strict.register(bundle.path, "churn", fixture.run_id)
    assert strict.fetch("churn", version, tmp_path / "cache").sha256 == bundle.sha256
    (stored,) = (tmp_path / "art").rglob("bundle.sig")
    stored.unlink()
    with pytest.raises(BundleError, match="not signed"):
        strict.fetch("churn", version, tmp_path / "other")


# --- settings ---


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("churn: !!python/object/apply:os.system ['touch ran']", "not YAML"),
        ("churn: !!python/name:os.system", "not YAML"),
        ("- churn", "must hold sections"),
        ("churn: {hidden: !!binary aGk=}", "churn.hidden"),
        ("os: {system: touch ran}", "os is not a section"),
        (_bomb().replace("target:", "gates:") + "\nchurn: {}", "unfolds to more than"),
        ("gates: &g {asr: {floors: *g}}", "unfolds to more than"),
        ("gates: " + "[" * 20_000, "nested too deeply|not YAML"),
        (
            "churn: {epochs: 3}\nreport: {}\nchurn: {epochs: 4}",
            "churn stands in it twice, again in line 3",
        ),
        (
            "gates:\n  asr:\n    floors: {wer: 0.1, wer: 0.9}",
            "wer stands in it twice, again in line 3",
        ),
        (
            "gates: {churn: {floors: {brier: none at all}}}",
            "gates.churn.floors.brier must be float",
        ),
        ("gates: {churn: {floors: {off: 1.0}}}", "the key False"),
        ("gates: {churn: {max_size_mib: .nan}}", "gates.churn.max_size_mib is not a number"),
    ],
)
def test_S5_a_hostile_params_yaml_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_params(tmp_path / "params.yaml")
    assert not Path("ran").exists()


def test_S5_nobody_can_switch_pickles_on_for_a_command() -> None:
    script = (
        "import os; from flows.runtime.settings import quiet_vendors; quiet_vendors(); "
        "print(os.environ['MLFLOW_ALLOW_PICKLE_DESERIALIZATION'], os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        },
    )
    assert done.stdout.split() == ["false", "None"]
