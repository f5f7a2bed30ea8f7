"""Replaces a network's labels by characters or word pieces learnt from the training text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.text import ALPHABET
from models.asr.nemo import nemo_asr, suppress_logs
from models.asr.recognizer import Recognizer
from training.asr.losses import is_hybrid

VOCABULARIES = ("keep", "characters", "bpe")


class VocabularyError(ValueError):
    """The requested labels cannot be made. The message says why and what to do."""


def replace_vocabulary(
    model: Any, vocabulary: str, *, size: int, texts: Sequence[str], folder: Path
) -> Any:
    """Returns `model` with new labels: the same encoder, a freshly initialised decoder.

    `characters` are a-z, apostrophe and space (data.text.ALPHABET); `bpe` are `size` sentencepiece
    pieces (fewer where the text has no more in it) learnt from `texts`, left in `folder`; `keep`
    changes nothing. Raises VocabularyError for another vocabulary, for no text, and for fewer
    pieces than the text has characters.
    """
    if vocabulary not in VOCABULARIES:
        raise VocabularyError(
            f"asr.vocabulary is {vocabulary!r}. It can be {', '.join(VOCABULARIES)}."
        )
    if vocabulary == "keep":
        return model
    if vocabulary == "bpe":
        _train_tokenizer(texts, size, folder)
    with suppress_logs():
        if vocabulary == "characters" and getattr(model, "tokenizer", None) is None:
            model.change_vocabulary(list(ALPHABET))
            return model
        if vocabulary == "bpe" and getattr(model, "tokenizer", None) is not None:
            model.change_vocabulary(new_tokenizer_dir=str(folder), new_tokenizer_type="bpe")
            return model
        return _convert_label_type(model, vocabulary, folder)


def text_encoder(model: Any) -> Callable[[str], tuple[list[int], str]]:
    """Returns a function from text to (label numbers, characters without a label)."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        label = {character: number for number, character in enumerate(Recognizer(model).labels)}

        def encode_characters(text: str) -> tuple[list[int], str]:
            unknown = "".join(sorted(set(text) - set(label)))
            return [label[character] for character in text if character in label], unknown

        return encode_characters

    def encode_pieces(text: str) -> tuple[list[int], str]:
        numbers = tokenizer.text_to_ids(text)
        return numbers, "".join(sorted(set(text) - set(tokenizer.ids_to_text(numbers)) - {" "}))

    return encode_pieces


def _train_tokenizer(texts: Sequence[str], size: int, folder: Path) -> None:
    """Trains a sentencepiece tokenizer on `texts` into `folder`."""
    from nemo.collections.common.tokenizers.sentencepiece_tokenizer import create_spt_model

    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "text.txt"
    corpus.write_text("\n".join(texts) + "\n", encoding="utf-8")
    # NeMo takes files that exist as finished.
    for name in ("tokenizer.model", "tokenizer.vocab", "vocab.txt"):
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
            f"{size} word pieces cannot be learnt from {words} different words "
            f"({str(error).splitlines()[0]}). Raise asr.vocabulary_size, or train on more text."
        ) from error


def _convert_label_type(model: Any, vocabulary: str, folder: Path) -> Any:
    """Returns a new model with characters instead of word pieces, or the other way round.

    NeMo's change_vocabulary does not do that: it takes a model of another class around the same
    encoder.
    """
    from omegaconf import OmegaConf

    models = nemo_asr()
    config: Any = OmegaConf.to_container(model.cfg)
    hybrid = is_hybrid(model)
    ctc = config["aux_ctc"]["decoder"] if hybrid else config["decoder"]
    for name in ("tokenizer", "labels", "target", "nemo_version"):
        config.pop(name, None)
    (config["aux_ctc"] if hybrid else config).pop("decoding", None)
    if vocabulary == "bpe":
        config["tokenizer"] = {"dir": str(folder), "type": "bpe"}
        ctc |= {"num_classes": -1, "vocabulary": []}
        model_class = models.EncDecHybridRNNTCTCBPEModel if hybrid else models.EncDecCTCModelBPE
    else:
        config["labels"] = labels = list(ALPHABET)
        ctc |= {"num_classes": len(labels), "vocabulary": labels}
        if hybrid:
            config["decoder"]["vocab_size"] = len(labels)
            config["joint"] |= {"num_classes": len(labels), "vocabulary": labels}
        model_class = models.EncDecHybridRNNTCTCModel if hybrid else models.EncDecCTCModel
    converted = model_class(OmegaConf.create(config))
    converted.encoder.load_state_dict(model.encoder.state_dict())
    converted.preprocessor.load_state_dict(model.preprocessor.state_dict())
    return converted
