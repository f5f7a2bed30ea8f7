"""The labels a network spells with: kept, or replaced by characters or word pieces learnt from the training text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.text import ALPHABET
from models.asr.nemo import nemo_asr, suppress_logs
from models.asr.recognizer import Recognizer
from training.asr.losses import is_hybrid

KINDS = ("keep", "characters", "bpe")


class VocabularyError(ValueError):
    """The labels asked for cannot be had. The message says why and what to do."""


def replace_vocabulary(
    model: Any, kind: str, *, size: int, texts: Sequence[str], folder: Path
) -> Any:
    """`model` with new labels: its encoder as it was, a decoder that knows nothing yet.

    `characters` are a-z, apostrophe and space (data.text.ALPHABET); `bpe` are `size` sentencepiece pieces (fewer where
    the text has no more in it) learnt from `texts`, left in `folder`; `keep` changes nothing. Raises VocabularyError
    for another kind, for no text, and for fewer pieces than the text has characters.
    """
    if kind not in KINDS:
        raise VocabularyError(f"asr.vocabulary is {kind!r}. It can be {', '.join(KINDS)}.")
    if kind == "keep":
        return model
    if kind == "bpe":
        _learn_pieces(texts, size, folder)
    with suppress_logs():
        if kind == "characters" and getattr(model, "tokenizer", None) is None:
            model.change_vocabulary(list(ALPHABET))
            return model
        if kind == "bpe" and getattr(model, "tokenizer", None) is not None:
            model.change_vocabulary(new_tokenizer_dir=str(folder), new_tokenizer_type="bpe")
            return model
        return _of_other_kind(model, kind, folder)


def text_encoder(model: Any) -> Callable[[str], tuple[list[int], str]]:
    """Text → label numbers, and the characters there is no label for."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        label = {character: number for number, character in enumerate(Recognizer(model).labels)}

        def characters(text: str) -> tuple[list[int], str]:
            unknown = "".join(sorted(set(text) - set(label)))
            return [label[character] for character in text if character in label], unknown

        return characters

    def pieces(text: str) -> tuple[list[int], str]:
        numbers = tokenizer.text_to_ids(text)
        return numbers, "".join(sorted(set(text) - set(tokenizer.ids_to_text(numbers)) - {" "}))

    return pieces


def _learn_pieces(texts: Sequence[str], size: int, folder: Path) -> None:
    from nemo.collections.common.tokenizers.sentencepiece_tokenizer import create_spt_model

    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "text.txt"
    corpus.write_text("\n".join(texts) + "\n", encoding="utf-8")
    for name in (
        "tokenizer.model",
        "tokenizer.vocab",
        "vocab.txt",
    ):  # NeMo takes what is there as done
        (folder / name).unlink(missing_ok=True)
    try:
        create_spt_model(
            str(corpus),
            vocab_size=size,
            sample_size=-1,
            do_lower_case=False,
            tokenizer_type="bpe",
            output_dir=str(folder),
        )
    except (RuntimeError, ValueError) as error:
        words = len({word for text in texts for word in text.split()})
        raise VocabularyError(
            f"{size} word pieces cannot be learnt from {words} different words ({str(error).splitlines()[0]}). "
            "Raise asr.vocabulary_size, or train on more text."
        ) from error


def _of_other_kind(model: Any, kind: str, folder: Path) -> Any:
    """Characters for word pieces or the other way round, which NeMo's change_vocabulary does not do: a new model of
    the other class around the same encoder."""
    from omegaconf import OmegaConf

    models = nemo_asr()
    config: Any = OmegaConf.to_container(model.cfg)
    hybrid = is_hybrid(model)
    ctc = config["aux_ctc"]["decoder"] if hybrid else config["decoder"]
    for name in ("tokenizer", "labels", "target", "nemo_version"):
        config.pop(name, None)
    (config["aux_ctc"] if hybrid else config).pop("decoding", None)
    if kind == "bpe":
        config["tokenizer"] = {"dir": str(folder), "type": "bpe"}
        ctc |= {"num_classes": -1, "vocabulary": []}
        made = models.EncDecHybridRNNTCTCBPEModel if hybrid else models.EncDecCTCModelBPE
    else:
        config["labels"] = labels = list(ALPHABET)
        ctc |= {"num_classes": len(labels), "vocabulary": labels}
        if hybrid:
            config["decoder"]["vocab_size"] = len(labels)
            config["joint"] |= {"num_classes": len(labels), "vocabulary": labels}
        made = models.EncDecHybridRNNTCTCModel if hybrid else models.EncDecCTCModel
    other = made(OmegaConf.create(config))
    other.encoder.load_state_dict(model.encoder.state_dict())
    other.preprocessor.load_state_dict(model.preprocessor.state_dict())
    return other
