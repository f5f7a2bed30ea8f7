"""Signs bundles (with model-signing, OpenSSF) and ledger lines, and checks their signatures.

It is the only module that imports model-signing and cryptography. Keys are elliptic-curve keys in PEM files, made
with `openssl ecparam -name prime256v1 -genkey -noout -out private.pem` and `openssl ec -in
private.pem -pubout -out public.pem`. A signature covers every file of the folder but itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIGNATURE = "bundle.sig"


class SignatureError(ValueError):
    """A bundle is unsigned, or signed by somebody else, or has changed since it was signed."""


def sign_folder(path: Path, private_key: Path) -> Path:
    """Writes `bundle.sig` into the folder `path` and returns its path.

    Raises SignatureError when the key cannot be used.
    """
    from model_signing import signing

    target = path / SIGNATURE
    target.unlink(missing_ok=True)
    try:
        config: Any = signing.Config()  # type: ignore[no-untyped-call]
        config = config.set_hashing_config(_covered_files(target))
        config.use_elliptic_key_signer(private_key=private_key).sign(path, target)
    except (OSError, ValueError, TypeError) as error:
        raise SignatureError(
            f"{private_key}: cannot sign with it ({error}). Name an elliptic-curve key in PEM."
        ) from error
    return target


def check_signature(path: Path, public_key: Path) -> None:
    """Raises SignatureError unless the owner of `public_key` signed the folder as it is."""
    from model_signing import verifying

    signature = path / SIGNATURE
    where = f"bundle {path.name}"
    if not public_key.is_file():
        raise SignatureError(
            f"{public_key}: no such public key. Set KEEPLINE_PUBLIC_KEY to the PEM file."
        )
    if not signature.is_file() or signature.is_symlink():
        raise SignatureError(
            f"{where}: not signed, and a public key is configured. "
            "Sign it with KEEPLINE_SIGNING_KEY."
        )
    config: Any = verifying.Config()  # type: ignore[no-untyped-call]
    config = config.set_hashing_config(_covered_files(signature))
    try:
        config.use_elliptic_key_verifier(public_key=public_key).verify(path, signature)
    except Exception as error:  # whatever the signature's parser meets, it is no signature of ours
        reason = str(error) or type(error).__name__
        raise SignatureError(
            f"{where}: its signature does not hold ({reason}). Fetch it again, or sign it anew."
        ) from error


def _covered_files(signature: Path) -> Any:
    """The hashing configuration of all files of the folder but the signature itself."""
    from model_signing import hashing

    config: Any = hashing.Config()  # type: ignore[no-untyped-call]
    return config.set_ignored_paths(paths=[signature], ignore_git_paths=False)


def sign_text(text: str, private_key: Path) -> str:
    """Returns the signature (ECDSA with SHA-256, in hex) of a short text, such as a line's hash.

    Raises SignatureError when the key cannot be used.
    """
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(private_key.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("it is of another type")
    except (OSError, ValueError, TypeError) as error:
        raise SignatureError(
            f"{private_key}: cannot sign with it ({error}). Name an elliptic-curve key in PEM."
        ) from error
    return key.sign(text.encode(), ec.ECDSA(hashes.SHA256())).hex()


def is_signed(text: str, signature: str, public_key: Path) -> bool:
    """Returns whether the owner of `public_key` signed `text`.

    Raises SignatureError when there is no such key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(public_key.read_bytes())
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("it is of another type")
    except (OSError, ValueError) as error:
        raise SignatureError(
            f"{public_key}: no such public key ({error}). Set KEEPLINE_PUBLIC_KEY to the PEM file."
        ) from error
    try:
        key.verify(bytes.fromhex(signature), text.encode(), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True
