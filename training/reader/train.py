"""Trains the contact reader on the label model's beliefs, on texts as written and as misheard.

Targets are the label model's probabilities, not its decisions; where it abstains nothing is learnt.
In each epoch a share of the contacts is read with corrupted characters, so that an inaccurate
transcript is still classified right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from data.progress import Progress
from training.run import MetricsLog

if TYPE_CHECKING:
    import torch

    from models.reader.network import ReaderConfig, ReaderNetwork, Texts

MODEL = "model"
_PREDICT_BATCH = 512  # contacts
_MIN_CALIBRATION_ROWS = 20  # of a label; with fewer it stays uncalibrated


class ReaderTrainingError(ValueError):
    """There is not enough, or not the right kind of text to train on."""


@dataclass(frozen=True)
class ReaderTraining:
    """Settings of training the contact reader."""

    seed: int = 0  # of the initial weights, the order of contacts, dropout and corruption
    bits: int = 16  # n-grams fall into 2 ** bits buckets
    width: int = 48  # of an n-gram's vector
    words: tuple[int, ...] = (1, 2)  # lengths of word n-grams
    letters: tuple[int, ...] = (3, 4, 5)  # lengths of letter n-grams within a word, in bytes
    learning_rate: float = 0.01  # of Adam, falling to zero
    batch_size: int = 256  # contacts a step
    epochs: int = 9
    dropout: float = 0.3  # share of n-grams dropped in training
    misheard_share: float = 0.4  # of the contacts are read with corrupted characters in each epoch
    misheard_letters: float = 0.3  # share of characters corrupted in those, at most
    max_contacts: int = 6000  # at most so many contacts to train on, drawn at random
    min_contacts: int = 60  # in train; fewer are refused

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that make no network."""
        if not 8 <= self.bits <= 22 or self.width < 1 or self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                "reader: bits must lie between 8 and 22; width, epochs and batch_size be at least "
                "1."
            )


@dataclass(frozen=True)
class LabelledContacts:
    """Contacts with their turns, the target probabilities, and which labels have a target."""

    contacts: pl.DataFrame
    turns: pl.DataFrame
    targets: np.ndarray  # float32 [contacts, values of all labels]
    mask: np.ndarray  # float32 [contacts, labels], 1 where a label has a target

    def __len__(self) -> int:
        return self.contacts.height

    def take(self, chosen: np.ndarray) -> LabelledContacts:
        """Returns the contacts numbered `chosen`."""
        contacts = self.contacts[chosen.tolist()]
        turns = self.turns.join(contacts, on="contact_id", how="semi")
        return LabelledContacts(contacts, turns, self.targets[chosen], self.mask[chosen])


def labelled_contacts(
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    beliefs: pl.DataFrame,
    *,
    labels: Mapping[str, tuple[str, ...]],
) -> LabelledContacts:
    """Returns the contacts that have turns, with `beliefs` about them as targets.

    `beliefs` holds contact_id, label, value and probability; `labels` are the values of each label.
    """
    with_turns = contacts.join(
        turns.select("contact_id").unique(), on="contact_id", how="semi", maintain_order="left"
    )
    pairs = [(name, value) for name, values in labels.items() for value in values]
    column = {pair: number for number, pair in enumerate(pairs)}
    label_number = {name: number for number, name in enumerate(labels)}
    numbered = beliefs.join(
        with_turns.select("contact_id").with_row_index("row"), on="contact_id", how="inner"
    )
    targets = np.zeros((with_turns.height, len(column)), np.float32)
    mask = np.zeros((with_turns.height, len(labels)), np.float32)
    for (name, value), part in numbered.group_by("label", "value"):
        if (name, value) in column:
            rows = part["row"].to_numpy()
            targets[rows, column[name, value]] = part["probability"].to_numpy()
            mask[rows, label_number[name]] = 1
    return LabelledContacts(
        with_turns, turns.join(with_turns, on="contact_id", how="semi"), targets, mask
    )


def train(
    params: ReaderTraining,
    labels: Mapping[str, tuple[str, ...]],
    examples: Mapping[str, LabelledContacts],
    *,
    work_dir: Path,
    run: MetricsLog,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Trains on examples["train"], stops and calibrates on examples["valid"], returns a summary.

    Writes the model to `work_dir`/model. Deterministic. Raises ReaderTrainingError when there are
    too few contacts to train on, or none to calibrate on.
    """
    import torch

    from models.reader.model import Reader
    from models.reader.network import ReaderConfig, ReaderNetwork, encode_texts, round_to_half

    learn, valid = examples["train"], examples["valid"]
    _check_examples(params, learn, valid)
    rng = np.random.default_rng(params.seed)
    torch.manual_seed(params.seed)
    config = ReaderConfig(dict(labels), params.bits, params.width, params.words, params.letters)
    learn = learn.take(np.sort(rng.permutation(len(learn))[: params.max_contacts]))
    texts = _texts_twice(learn, config, params.misheard_letters, rng=rng)
    valid_texts = encode_texts(valid.contacts, valid.turns, config)
    network = ReaderNetwork(config)
    network.known[texts.select(np.arange(len(learn))).buckets] = 1.0
    trainer = _Trainer(network, texts, learn, params=params, rng=rng)
    best_loss, best_epoch, best = float("inf"), 0, network.state_dict()
    for epoch in range(1, params.epochs + 1):
        train_loss = trainer.train_epoch()
        valid_loss = float(
            _loss(
                _predict_logits(network, valid_texts),
                torch.from_numpy(valid.targets),
                torch.from_numpy(valid.mask),
                sizes=network.sizes,
            )
        )
        run.log_metrics({"train_loss": train_loss, "valid_loss": valid_loss}, step=epoch)
        if valid_loss < best_loss:
            best_loss, best_epoch = valid_loss, epoch
            best = {name: value.clone() for name, value in network.state_dict().items()}
        progress(epoch, params.epochs)
    network.load_state_dict(best)
    network = round_to_half(network.eval())
    config = _calibrate(config, _predict_logits(network, valid_texts), valid)
    Reader(config, network).save(work_dir / MODEL)
    return {
        "model": str(work_dir / MODEL),
        "run_id": run.run_id,
        "epochs": params.epochs,
        "best_epoch": best_epoch,
        "valid_loss": best_loss,
        "contacts": {"train": len(learn), "valid": len(valid)},
        "labels": {name: int(learn.mask[:, n].sum()) for n, name in enumerate(labels)},
        "known_buckets": int(network.known.sum()),
    }


def _check_examples(
    params: ReaderTraining, learn: LabelledContacts, valid: LabelledContacts
) -> None:
    if len(learn) < params.min_contacts or not learn.mask.any():
        raise ReaderTrainingError(
            f"reader: {len(learn)} labelled contacts with words to learn from, "
            f"{params.min_contacts} needed. Deliver messages or transcripts, or lower "
            "reader.min_contacts."
        )
    if not valid.mask.any():
        raise ReaderTrainingError(
            "reader: no labelled contact in the valid split. Raise splits.valid_share."
        )


def _texts_twice(
    examples: LabelledContacts, config: ReaderConfig, most: float, *, rng: np.random.Generator
) -> Texts:
    """Returns the n-grams of every contact as written, then of every contact as misheard.

    Misheard are up to `most` of a contact's characters.
    """
    from models.reader.network import encode_texts

    corrupted_id = pl.format("misheard {}", "contact_id").alias("contact_id")
    contacts = examples.contacts.with_columns(corrupted_id)
    turns = _corrupt_turns(examples.turns, most, rng).with_columns(corrupted_id)
    return encode_texts(
        pl.concat([examples.contacts, contacts]), pl.concat([examples.turns, turns]), config
    )


def _corrupt_turns(turns: pl.DataFrame, most: float, rng: np.random.Generator) -> pl.DataFrame:
    """Returns the turns with corrupted characters, each contact with an error rate of its own."""
    from models.reader.ngrams import corrupt_characters, plain_text

    ids = turns["contact_id"].rank("dense").to_numpy().astype(int) - 1
    rates = rng.uniform(0, most, ids.max(initial=-1) + 1)[ids]
    return turns.with_columns(
        corrupt_characters(plain_text(turns["text"]), rates, rng).alias("text")
    )


class _Trainer:
    """The optimizer and schedule of a reader, and the texts it is trained on."""

    def __init__(
        self,
        network: ReaderNetwork,
        texts: Texts,
        examples: LabelledContacts,
        *,
        params: ReaderTraining,
        rng: np.random.Generator,
    ) -> None:
        import torch

        self._network, self._texts, self._params, self._rng = network, texts, params, rng
        self._optimizer = torch.optim.Adam(
            network.parameters(), lr=params.learning_rate, fused=True
        )
        steps = params.epochs * -(-len(examples) // params.batch_size)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, params.learning_rate, total_steps=steps, pct_start=0.15
        )
        self._targets = torch.from_numpy(examples.targets)
        self._mask = torch.from_numpy(examples.mask)

    def train_epoch(self) -> float:
        """Trains on every contact once, as written or as misheard; returns the mean loss."""
        import torch

        params, rng = self._params, self._rng
        self._network.train()
        order = rng.permutation(len(self._targets))
        losses = []
        for begin in range(0, len(order), params.batch_size):
            rows = order[begin : begin + params.batch_size]
            is_misheard = rng.random(len(rows)) < params.misheard_share
            texts = self._texts.select(rows + is_misheard * len(order))
            keep = (torch.rand(len(texts.buckets)) >= params.dropout) / (1 - params.dropout)
            self._optimizer.zero_grad()
            loss = _loss(
                self._network(texts, keep),
                self._targets[rows],
                self._mask[rows],
                sizes=self._network.sizes,
            )
            loss.backward()
            self._optimizer.step()
            self._schedule.step()
            losses.append(float(loss.detach()))
        self._network.eval()
        return float(np.mean(losses))


def _loss(
    logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor, *, sizes: list[int]
) -> torch.Tensor:
    """Returns the cross-entropy with soft targets, a scalar.

    It is a mean over the labels of the mean over the contacts where each has a target.
    """
    import torch

    total, count = logits.new_zeros(()), 0
    for number, (label_logits, label_targets) in enumerate(
        zip(logits.split(sizes, 1), targets.split(sizes, 1), strict=True)
    ):
        weight = mask[:, number]
        if weight.any():
            losses = -(label_targets * torch.log_softmax(label_logits, dim=1)).sum(dim=1)
            total = total + (losses * weight).sum() / weight.sum()
            count += 1
    return total / max(count, 1)


def _predict_logits(network: ReaderNetwork, texts: Texts) -> torch.Tensor:
    """Returns logits [contacts, values of all labels]."""
    import torch

    with torch.inference_mode():
        parts = [
            network(texts.select(np.arange(begin, min(begin + _PREDICT_BATCH, len(texts)))))
            for begin in range(0, len(texts), _PREDICT_BATCH)
        ]
    return torch.cat(parts).clone()


def _calibrate(config: ReaderConfig, logits: torch.Tensor, valid: LabelledContacts) -> ReaderConfig:
    """Returns the configuration with a temperature a label and a bias a value, fitted on `valid`.

    Temperature scaling after Guo et al. 2017 (arXiv 1706.04599).
    """
    import torch

    sizes = [len(values) for values in config.labels.values()]
    targets = torch.from_numpy(valid.targets).split(sizes, 1)
    temperature, bias = {}, {}
    for number, (name, label_logits) in enumerate(
        zip(config.labels, logits.split(sizes, 1), strict=True)
    ):
        rows = torch.from_numpy(valid.mask[:, number] > 0)
        temperature[name], bias[name] = 1.0, (0.0,) * label_logits.shape[1]
        if rows.sum() < _MIN_CALIBRATION_ROWS:
            continue
        temperature[name], bias[name] = _fit_temperature(
            label_logits[rows].double(), targets[number][rows].double()
        )
    return replace(config, temperature=temperature, bias=bias)


def _fit_temperature(
    logits: torch.Tensor, targets: torch.Tensor
) -> tuple[float, tuple[float, ...]]:
    """Returns the likeliest (temperature, bias of each value) of one label, slightly penalised."""
    import torch

    scale = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale, shift], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        log_probabilities = torch.log_softmax(logits * scale.exp() + shift, dim=1)
        loss = -(targets * log_probabilities).sum(dim=1).mean()
        loss = loss + 0.01 * (shift**2).sum() + 0.01 * (scale**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return float((-scale).exp().detach()), tuple(float(value) for value in shift.detach())
