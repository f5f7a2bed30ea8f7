"""Refuses a hostile `.nemo` before anything in it is unpacked.

A `.nemo` has to be a tar of plain files with a plain config and nothing but weights. NeMo skips
unsafe paths and checks what it instantiates, and PyTorch unpickles weights only. But NeMo says
nothing about what it skipped, and an environment variable (TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD) takes
PyTorch's check away. So the file is read here first, and what no model needs is refused with its
reason. Nothing is executed or written.
"""

from __future__ import annotations

import pickletools
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
# What else a model may bring: tokenizers and word lists. None of these is ever unpickled.
SUFFIXES = (".yaml", ".yml", ".txt", ".model", ".vocab", ".json", ".md", ".tsv", ".csv")
WHISPER_ENCODER = "models.asr.whisper_encoder.WhisperEncoder"  # allowed by this exact name
MAX_MEMBERS = 500
MAX_CONFIG_BYTES = 4 * 2**20
MAX_CONFIG_VALUES = 500_000  # a vocabulary has thousands; aliases of aliases have billions
MAX_PICKLE_BYTES = 64 * 2**20  # of names and shapes; the numbers are other entries of the zip
# What a state dict of plain tensors is made of (PyTorch writes it so since 1.6).
_TENSOR_NAMES = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    *(
        f"torch {dtype}Storage"
        for dtype in (
            "Float",
            "Double",
            "Half",
            "BFloat16",
            "Long",
            "Int",
            "Short",
            "Char",
            "Byte",
            "Bool",
        )
    ),
}

# What a PyTorch zip holds in its folder.
_ENTRIES = {
    "data",
    "data.pkl",
    "byteorder",
    "version",
    ".data",
    ".format_version",
    ".storage_alignment",
}


def _places(package: str, *classes: tuple[str, str]) -> tuple[str, ...]:
    """Returns the names by which classes (module, name) of a NeMo package may be asked for."""
    return tuple(
        name
        for module, title in classes
        for name in (f"{package}.{title}", f"{package}.{module}.{title}")
    )


_MODULES = "nemo.collections.asr.modules"
_CTC_DECODER = _places(_MODULES, ("conv_asr", "ConvASRDecoder"), ("lstm_decoder", "LSTMDecoder"))
# All that a config may have built, each class at its place alone. NeMo's own list goes by the
# beginnings of names and lets functions through that write and delete files.
TARGETS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("target",): _places(
        "nemo.collections.asr.models",
        ("ctc_models", "EncDecCTCModel"),
        ("ctc_bpe_models", "EncDecCTCModelBPE"),
        ("hybrid_rnnt_ctc_models", "EncDecHybridRNNTCTCModel"),
        ("hybrid_rnnt_ctc_bpe_models", "EncDecHybridRNNTCTCBPEModel"),
        ("rnnt_models", "EncDecRNNTModel"),
        ("rnnt_bpe_models", "EncDecRNNTBPEModel"),
    ),
    ("preprocessor", "_target_"): _places(
        _MODULES,
        ("audio_preprocessing", "AudioToMelSpectrogramPreprocessor"),
        ("audio_preprocessing", "AudioToMFCCPreprocessor"),
    ),
    ("spec_augment", "_target_"): _places(
        _MODULES, ("audio_preprocessing", "SpectrogramAugmentation")
    ),
    ("encoder", "_target_"): (
        *_places(
            _MODULES,
            ("conv_asr", "ConvASREncoder"),
            ("conformer_encoder", "ConformerEncoder"),
            ("rnn_encoder", "RNNEncoder"),
        ),
        WHISPER_ENCODER,
    ),
    ("decoder", "_target_"): (
        *_CTC_DECODER,
        *_places(_MODULES, ("rnnt", "RNNTDecoder"), ("rnnt", "StatelessTransducerDecoder")),
    ),
    ("joint", "_target_"): _places(_MODULES, ("rnnt", "RNNTJoint"), ("rnnt", "SampledRNNTJoint")),
    ("aux_ctc", "decoder", "_target_"): _CTC_DECODER,
}
# OmegaConf's `${name:argument}`. The name may have blanks around it or be an interpolation itself,
# so whatever has a colon after `${` is refused; `${model.sample_rate}` has none.
_RESOLVER = re.compile(r"\$\{.*:", re.DOTALL)
# Ways to reach a name other than GLOBAL, which is read above.
_BUILDERS = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"}


class NemoArchiveError(ValueError):
    """A `.nemo` holds what no model needs. The message names the file, the part and the reason."""


def check_nemo(path: Path) -> None:
    """Raises NemoArchiveError unless `path` is an uncompressed tar of harmless model files.

    Refused are links, devices, sparse or doubled members, paths that leave the folder, other file
    types, YAML tags, whatever would be built besides TARGETS, instructions for building, code from a
    hub, calls of resolvers (which can read the environment), and in the weights any pickled name
    that is no tensor.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            parts = _parts(archive, path.name)
            for name in (CONFIG, WEIGHTS):
                if name not in parts:
                    raise NemoArchiveError(
                        f"{path.name}: {name} is missing in it. Export it with NeMo's save_to."
                    )
            _check_config(_opened(archive, parts[CONFIG]), parts[CONFIG].size, path.name)
            _check_weights(_opened(archive, parts[WEIGHTS]), f"{path.name}: {WEIGHTS}")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise NemoArchiveError(
            f"{path.name}: not an uncompressed tar archive ({error}). "
            "Export it with NeMo's save_to (1.7 or newer)."
        ) from error


def _parts(archive: tarfile.TarFile, where: str) -> dict[str, tarfile.TarInfo]:
    """The files of the archive by name, each checked by name and type."""
    parts: dict[str, tarfile.TarInfo] = {}
    for number, member in enumerate(archive):
        if number >= MAX_MEMBERS:
            raise NemoArchiveError(
                f"{where}: more than {MAX_MEMBERS} members. A model has a handful."
            )
        member_path = PurePosixPath(member.name)
        if (
            member_path.is_absolute()
            or ".." in member_path.parts
            or "\\" in member.name
            or "\x00" in member.name
        ):
            raise NemoArchiveError(
                f"{where}: '{member.name}' would be unpacked outside its folder."
            )
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise NemoArchiveError(
                f"{where}: '{member.name}' is a link, a device or a sparse file, not a plain one."
            )
        name = str(member_path)
        if name in parts:
            raise NemoArchiveError(
                f"{where}: '{name}' is in it twice; which one counts depends on the reader."
            )
        if name != WEIGHTS and member_path.suffix.lower() not in SUFFIXES:
            raise NemoArchiveError(
                f"{where}: '{name}' may hold a pickle. "
                f"Allowed beside {WEIGHTS}: {', '.join(SUFFIXES)}."
            )
        parts[name] = member
    return parts


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    handle = archive.extractfile(member)
    if handle is None:
        raise NemoArchiveError(f"{member.name}: cannot be read.")
    return handle


def _check_config(handle: IO[bytes], size: int, where: str) -> None:
    """Checks the YAML and every scalar of it."""
    where = f"{where}: {CONFIG}"
    if size > MAX_CONFIG_BYTES:
        raise NemoArchiveError(f"{where} has {size} bytes, more than {MAX_CONFIG_BYTES}.")
    try:
        config = yaml.safe_load(handle.read())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NemoArchiveError(
            f"{where} is not plain YAML ({reason}). Tags that build objects are refused."
        ) from error
    if not isinstance(config, dict):
        raise NemoArchiveError(f"{where} holds no mapping.")
    for place, value in _leaves(config, where):
        key = place[-1] if place else ""
        if _builds(place, value) and value not in TARGETS.get(place, ()):
            raise NemoArchiveError(
                f"{where} would build {value!r} at {'.'.join(place)}, which no recogniser of ours "
                "is made of."
            )
        if any(part.startswith("_") and part != "_target_" for part in place):
            raise NemoArchiveError(
                f"{where} holds {'.'.join(place)}, an instruction for how something is built."
            )
        if key == "trust_remote_code" and value:
            raise NemoArchiveError(f"{where} asks to run code from a hub (trust_remote_code).")
        if isinstance(value, str) and _RESOLVER.search(value):
            raise NemoArchiveError(
                f"{where} calls a resolver, which reads the environment or worse when opened "
                f"({key}: {value[:60]!r})."
            )


def _builds(place: tuple[str, ...], value: Any) -> bool:
    """Returns whether a value of the config names something to be built."""
    if not place or value is None:
        return False
    if place[-1] in ("_target_", "__class__", "cls") or place == ("target",):
        return True
    return place[-1] == "target" and isinstance(value, str) and "." in value


def _leaves(value: Any, where: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields (keys from the top, value) of every scalar, aliases unfolded as a reader would."""
    stack: list[tuple[tuple[str, ...], Any]] = [((), value)]
    seen = 0
    while stack:
        place, value = stack.pop()
        seen += 1
        if seen > MAX_CONFIG_VALUES:
            raise NemoArchiveError(f"{where} unfolds to more than {MAX_CONFIG_VALUES} values.")
        if isinstance(value, dict):
            stack.extend(((*place, str(name)), inner) for name, inner in value.items())
        elif isinstance(value, list):
            stack.extend((place, inner) for inner in value)
        else:
            yield place, value


def _check_weights(handle: IO[bytes], where: str) -> None:
    """Checks that the file is a PyTorch zip whose one pickle names tensors and nothing else.

    It reads names, not numbers.
    """
    # PyTorch goes by the beginning of a file, zip readers by its end.
    if handle.read(4) != b"PK\x03\x04":
        raise NemoArchiveError(f"{where} is not a PyTorch archive. Save it with torch.save.")
    _check_pickle(_read_pickle(handle, where), where)


def _read_pickle(handle: IO[bytes], where: str) -> bytes:
    """The content of data.pkl, once the entries of the zip are what PyTorch writes."""
    try:
        with zipfile.ZipFile(handle) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise NemoArchiveError(f"{where} is compressed, as PyTorch never writes it.")
            names = [PurePosixPath(entry.filename) for entry in entries]
            if len(set(names)) != len(names):
                raise NemoArchiveError(f"{where} holds an entry twice.")
            pickles = [
                entry for entry, name in zip(entries, names, strict=True) if name.name == "data.pkl"
            ]
            unexpected = [
                str(name)
                for name in names
                if len(name.parts) > 1
                and name.parts[1] not in _ENTRIES
                and not name.name.startswith(".")
            ]
            if unexpected or len(pickles) != 1:
                extra = unexpected[0] if unexpected else len(pickles)
                raise NemoArchiveError(f"{where} holds {extra}, not just a state dict.")
            if pickles[0].file_size > MAX_PICKLE_BYTES:
                raise NemoArchiveError(f"{where} has a pickle of {pickles[0].file_size} bytes.")
            return archive.read(pickles[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise NemoArchiveError(
            f"{where} is not a PyTorch archive ({error}). Save it with torch.save."
        ) from error


def _check_pickle(content: bytes, where: str) -> None:
    """Refuses any name in the pickle that is no tensor's. Nothing is unpickled."""
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name == "GLOBAL" and argument not in _TENSOR_NAMES:
                raise NemoArchiveError(
                    f"{where} would call {str(argument).replace(' ', '.')!r} when loaded."
                )
            if operation.name in _BUILDERS:
                raise NemoArchiveError(
                    f"{where} uses pickle's {operation.name}, which no tensor needs."
                )
    except ValueError as error:
        if isinstance(error, NemoArchiveError):
            raise
        raise NemoArchiveError(f"{where} holds a broken pickle ({error}).") from error
