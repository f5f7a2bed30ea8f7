"""The contact reader: from the words of a contact to what it was about, what went wrong, its mood and its outcome.

`models.reader_network` is the network, `models.occlusion` tells which words made it so. Probabilities are calibrated
label by label.
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
    calibrated,
    texts_of,
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
        """Each label's probabilities, float64 [contacts, values], and how familiar the words are, [contacts].

        Familiar is the share of a contact's n-grams that training has seen, 0 where there is nothing to read: near 1 in
        the language it learned from, low in another.
        """
        parts = [self._of(texts) for texts in self._batches(texts_of(contacts, turns, self.config))]
        together = np.concatenate(
            [part for part, _ in parts] or [np.zeros((0, sum(self.network.sizes)))]
        )
        familiar = np.concatenate([known for _, known in parts] or [np.zeros(0)])
        ends = np.cumsum(self.network.sizes)[:-1]
        return dict(
            zip(self.config.labels, np.split(together, ends, axis=1), strict=True)
        ), familiar

    def beliefs(
        self, contacts: pl.DataFrame, turns: pl.DataFrame, min_familiar: float = 0.0
    ) -> pl.DataFrame:
        """LABELS with a row for every value of each label, of the contacts whose words are familiar enough."""
        return self.beliefs_of(contacts, *self.probabilities(contacts, turns), min_familiar)

    def beliefs_of(
        self,
        contacts: pl.DataFrame,
        found: dict[str, np.ndarray],
        familiar: np.ndarray,
        min_familiar: float = 0.0,
    ) -> pl.DataFrame:
        """`beliefs` from what `probabilities` said of the same contacts."""
        readable = pl.Series(familiar >= min_familiar)
        ids = contacts["contact_id"].filter(readable)
        return pl.concat(
            pl.DataFrame(
                {
                    "contact_id": ids,
                    "label": name,
                    "value": value,
                    "probability": chances[readable.to_numpy(), number],
                    "origin": ORIGIN,
                },
                schema=LABELS,
            )
            for name, chances in found.items()
            for number, value in enumerate(self.config.labels[name])
        )

    @property
    def parameters(self) -> int:
        """How many numbers it learned."""
        return sum(weight.numel() for weight in self.network.parameters())

    def save(self, folder: Path) -> None:
        """Writes weights.safetensors (half precision; `rounded` weights lose nothing) and config.json."""
        weights = {name: value.half() for name, value in self.network.state_dict().items()}
        with atomic(folder / WEIGHTS) as temporary:
            safetensors.torch.save_file(weights, temporary)
        # As pairs: JSON objects here have sorted keys, and the order of labels is that of the network's outputs.
        labels = [[name, list(values)] for name, values in self.config.labels.items()]
        write_json(folder / CONFIG, {"format": FORMAT, **asdict(self.config), "labels": labels})

    @classmethod
    def load(cls, folder: Path) -> Reader:
        """Reads what `save` wrote. Raises ReaderError naming the file that is missing or does not fit."""
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
            texts.of(np.arange(at, min(at + _BATCH, len(texts))))
            for at in range(0, len(texts), _BATCH)
        ]

    def _of(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            logits = self.network(texts)
            chances = torch.cat(
                [torch.softmax(part.double(), dim=1) for part in calibrated(logits, self.config)],
                dim=1,
            ).numpy()
            known = torch.zeros(len(texts)).index_add(
                0,
                torch.repeat_interleave(texts.contact, texts.offsets[1:] - texts.offsets[:-1]),
                self.network.known[texts.buckets],
            )
            every = torch.zeros(len(texts)).index_add(
                0, texts.contact, (texts.offsets[1:] - texts.offsets[:-1]).float()
            )
        return chances, (known / every.clamp(min=1)).double().numpy()


def _config(found: Any, path: Path) -> ReaderConfig:
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise ReaderError(f"{path}: not a reader of format {FORMAT}. Train it again.")
    try:
        labels = {str(name): tuple(map(str, values)) for name, values in found.pop("labels")}
        bias = {name: tuple(values) for name, values in (found.pop("bias") or {}).items()}
        words, letters = tuple(found.pop("words")), tuple(found.pop("letters"))
        return ReaderConfig(labels, bias=bias, words=words, letters=letters, **found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ReaderError(f"{path}: incomplete ({error}). Train it again.") from error
