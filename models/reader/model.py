"""The contact reader: from the words of a contact to its reason, friction, sentiment and outcome.

`models.reader.network` is the network, `models.reader.occlusion` explains its answers by the words.
Probabilities are calibrated label by label.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import safetensors.torch
import torch

from data.files import atomic, read_json, write_json
from data.records import LABELS
from models.reader.network import (
    ReaderConfig,
    ReaderError,
    ReaderNetwork,
    Texts,
    calibrate,
    encode_texts,
)

__all__ = ["Reader", "ReaderConfig", "ReaderError", "ReaderNetwork"]

WEIGHTS, CONFIG, FORMAT = "weights.safetensors", "config.json", 1
ORIGIN = "reader"
_BATCH = 512  # contacts


class Reader:
    """A trained network with its calibration."""

    def __init__(self, config: ReaderConfig, network: ReaderNetwork | None = None) -> None:
        self.config = config
        self.network = network or ReaderNetwork(config)
        self.network.eval()

    def probabilities(
        self, contacts: pl.DataFrame, turns: pl.DataFrame
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns each label's probabilities, float64 [contacts, values], and familiarity.

        Familiarity [contacts] is the share of a contact's n-grams that training has seen, 0 where
        there is nothing to read: near 1 in the language of the training data, low in another.
        """
        texts = encode_texts(contacts, turns, self.config)
        batches = [self._read(batch) for batch in self._batches(texts)]
        probabilities = np.concatenate(
            [part for part, _ in batches] or [np.zeros((0, sum(self.network.sizes)))]
        )
        familiar = np.concatenate([part for _, part in batches] or [np.zeros(0)])
        ends = np.cumsum(self.network.sizes)[:-1]
        by_label = np.split(probabilities, ends, axis=1)
        return dict(zip(self.config.labels, by_label, strict=True)), familiar

    def beliefs(
        self, contacts: pl.DataFrame, turns: pl.DataFrame, min_familiar: float = 0.0
    ) -> pl.DataFrame:
        """Returns LABELS, a row for every value of each label, of the contacts familiar enough."""
        probabilities, familiar = self.probabilities(contacts, turns)
        return self.beliefs_of(contacts, probabilities, familiar, min_familiar=min_familiar)

    def beliefs_of(
        self,
        contacts: pl.DataFrame,
        probabilities: dict[str, np.ndarray],
        familiar: np.ndarray,
        *,
        min_familiar: float = 0.0,
    ) -> pl.DataFrame:
        """Returns `beliefs` from what `probabilities` returned for the same contacts."""
        readable = pl.Series(familiar >= min_familiar)
        ids = contacts["contact_id"].filter(readable)
        return pl.concat(
            pl.DataFrame(
                {
                    "contact_id": ids,
                    "label": name,
                    "value": value,
                    "probability": values[readable.to_numpy(), number],
                    "origin": ORIGIN,
                },
                schema=LABELS,
            )
            for name, values in probabilities.items()
            for number, value in enumerate(self.config.labels[name])
        )

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.network.parameters())

    def save(self, folder: Path) -> None:
        """Writes weights.safetensors and config.json.

        Weights have half precision, which changes no answer after `network.round_to_half`.
        """
        weights = {name: value.half() for name, value in self.network.state_dict().items()}
        with atomic(folder / WEIGHTS) as temporary:
            safetensors.torch.save_file(weights, temporary)
        # As pairs: write_json sorts keys, and the order of labels is that of the network's outputs.
        labels = [[name, list(values)] for name, values in self.config.labels.items()]
        write_json(folder / CONFIG, {"format": FORMAT, **asdict(self.config), "labels": labels})

    @classmethod
    def load(cls, folder: Path) -> Reader:
        """Reads what `save` wrote.

        Raises ReaderError naming the file that is missing or does not fit.
        """
        for name in (WEIGHTS, CONFIG):
            if not (folder / name).is_file():
                raise ReaderError(f"{folder}: no {name}. Point at a reader's bundle, or train one.")
        config = _config(read_json(folder / CONFIG), folder / CONFIG)
        network = ReaderNetwork(config)
        try:
            weights = safetensors.torch.load_file(folder / WEIGHTS)
            network.load_state_dict({name: value.float() for name, value in weights.items()})
        except (RuntimeError, safetensors.SafetensorError) as error:
            raise ReaderError(
                f"{folder / WEIGHTS}: does not fit config.json ({error}). Train it again."
            ) from error
        return cls(config, network)

    def _batches(self, texts: Texts) -> list[Texts]:
        return [
            texts.select(np.arange(at, min(at + _BATCH, len(texts))))
            for at in range(0, len(texts), _BATCH)
        ]

    def _read(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of all labels side by side, [contacts, values], and familiarity."""
        with torch.inference_mode():
            logits = self.network(texts)
            probabilities = torch.cat(
                [torch.softmax(part.double(), dim=1) for part in calibrate(logits, self.config)],
                dim=1,
            ).numpy()
            counts = texts.offsets[1:] - texts.offsets[:-1]
            seen = torch.zeros(len(texts)).index_add(
                0,
                torch.repeat_interleave(texts.contact, counts),
                self.network.known[texts.buckets],
            )
            total = torch.zeros(len(texts)).index_add(0, texts.contact, counts.float())
        return probabilities, (seen / total.clamp(min=1)).double().numpy()


def _config(fields: Any, path: Path) -> ReaderConfig:
    if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
        raise ReaderError(f"{path}: not a reader of format {FORMAT}. Train it again.")
    try:
        labels = {str(name): tuple(map(str, values)) for name, values in fields.pop("labels")}
        bias = {name: tuple(values) for name, values in (fields.pop("bias") or {}).items()}
        words, letters = tuple(fields.pop("words")), tuple(fields.pop("letters"))
        return ReaderConfig(labels, bias=bias, words=words, letters=letters, **fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ReaderError(f"{path}: incomplete ({error}). Train it again.") from error
