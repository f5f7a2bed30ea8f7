"""Trains the contact reader on what the label model believes, in the words people used and as a recogniser hears them.

Targets are the label model's probabilities, not its verdicts; where it abstains nothing is learned. In each pass a
share of the contacts is read through misheard letters, so that a poor transcript still says what it said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from data.progress import Progress

if TYPE_CHECKING:
    import torch

    from models.reader.network import ReaderConfig, ReaderNetwork, Texts

MODEL = "model"


class ReaderTrainingError(ValueError):
    """There is not enough, or not the right kind of text to learn from."""


class Run(Protocol):
    """Where training writes down what it did; an MLflow run in earnest."""

    @property
    def run_id(self) -> str: ...

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


@dataclass(frozen=True)
class ReaderTraining:
    """How the contact reader learns."""

    seed: int = 0  # of the first weights, the order of contacts, dropout and mishearing
    bits: int = 16  # n-grams fall into 2 ** bits buckets
    width: int = 48  # of an n-gram's vector
    words: tuple[int, ...] = (1, 2)  # lengths of word n-grams
    letters: tuple[int, ...] = (3, 4, 5)  # lengths of letter n-grams within a word, in bytes
    learning_rate: float = 0.01  # of Adam, falling to nothing
    batch_size: int = 256  # contacts a step
    epochs: int = 9  # passes
    dropout: float = 0.3  # share of n-grams dropped in training
    misheard_share: float = 0.4  # of the contacts are read misheard in each pass
    misheard_letters: float = 0.3  # share of letters that go wrong in those, at most
    max_contacts: int = 6000  # at most so many contacts to learn from, drawn by chance
    min_contacts: int = 60  # in train; fewer are refused

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that make no network."""
        if not 8 <= self.bits <= 22 or self.width < 1 or self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                "reader: bits must lie between 8 and 22; width, epochs and batch_size be at least 1."
            )


@dataclass(frozen=True)
class LabelledContacts:
    """Texts with targets [contacts, values of all labels] and which labels are known, `mask` [contacts, labels]."""

    contacts: pl.DataFrame
    turns: pl.DataFrame
    targets: np.ndarray
    mask: np.ndarray

    def __len__(self) -> int:
        return self.contacts.height

    def of(self, chosen: np.ndarray) -> LabelledContacts:
        """The contacts numbered `chosen`."""
        contacts = self.contacts[chosen.tolist()]
        turns = self.turns.join(contacts, on="contact_id", how="semi")
        return LabelledContacts(contacts, turns, self.targets[chosen], self.mask[chosen])


def labelled_contacts(
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    beliefs: pl.DataFrame,
    labels: Mapping[str, tuple[str, ...]],
) -> LabelledContacts:
    """The contacts that have turns, with what `beliefs` (contact_id, label, value, probability) says of each."""
    read = contacts.join(
        turns.select("contact_id").unique(), on="contact_id", how="semi", maintain_order="left"
    )
    places = {
        (name, value): n
        for n, (name, value) in enumerate((k, v) for k, vs in labels.items() for v in vs)
    }
    of_label = {name: number for number, name in enumerate(labels)}
    numbered = beliefs.join(
        read.select("contact_id").with_row_index("row"), on="contact_id", how="inner"
    )
    targets = np.zeros((read.height, len(places)), np.float32)
    mask = np.zeros((read.height, len(labels)), np.float32)
    for (name, value), part in numbered.group_by("label", "value"):
        if (name, value) in places:
            rows = part["row"].to_numpy()
            targets[rows, places[name, value]] = part["probability"].to_numpy()
            mask[rows, of_label[name]] = 1
    return LabelledContacts(read, turns.join(read, on="contact_id", how="semi"), targets, mask)


def train(
    params: ReaderTraining,
    labels: Mapping[str, tuple[str, ...]],
    lessons: Mapping[str, LabelledContacts],
    work_dir: Path,
    run: Run,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Learns from lessons["train"], chooses the pass and calibrates on lessons["valid"], writes `work_dir`/model.

    Deterministic. Raises ReaderTrainingError when there are too few contacts to read, or none to calibrate on.
    """
    import torch

    from models.reader.model import Reader
    from models.reader.network import ReaderConfig, ReaderNetwork, encode_texts, round_to_half

    learn, valid = lessons["train"], lessons["valid"]
    if len(learn) < params.min_contacts or not learn.mask.any():
        raise ReaderTrainingError(
            f"reader: {len(learn)} labelled contacts with words to learn from, {params.min_contacts} wanted. Deliver "
            "messages or transcripts, or lower reader.min_contacts."
        )
    if not valid.mask.any():
        raise ReaderTrainingError(
            "reader: no labelled contact in the valid split. Raise splits.valid_share."
        )
    rng = np.random.default_rng(params.seed)
    torch.manual_seed(params.seed)
    config = ReaderConfig(dict(labels), params.bits, params.width, params.words, params.letters)
    learn = learn.of(np.sort(rng.permutation(len(learn))[: params.max_contacts]))
    # Every contact twice: as it was written or said, and misheard.
    again = [
        frame.with_columns(pl.format("misheard {}", "contact_id").alias("contact_id"))
        for frame in (learn.contacts, _misheard(learn.turns, params.misheard_letters, rng))
    ]
    heard = encode_texts(
        pl.concat([learn.contacts, again[0]]), pl.concat([learn.turns, again[1]]), config
    )
    valid_texts = encode_texts(valid.contacts, valid.turns, config)
    network = ReaderNetwork(config)
    network.known[heard.select(np.arange(len(learn))).buckets] = 1.0
    optimizer = torch.optim.Adam(network.parameters(), lr=params.learning_rate, fused=True)
    steps = params.epochs * -(-len(learn) // params.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, params.learning_rate, total_steps=steps, pct_start=0.15
    )
    targets, mask = (torch.from_numpy(part) for part in (learn.targets, learn.mask))
    best_loss, best_epoch, best = float("inf"), 0, network.state_dict()
    for epoch in range(1, params.epochs + 1):
        train_loss = _one_pass(network, optimizer, schedule, heard, targets, mask, params, rng)
        found = _logits(network, valid_texts)
        valid_loss = float(
            _loss(
                found, torch.from_numpy(valid.targets), torch.from_numpy(valid.mask), network.sizes
            )
        )
        run.log_metrics({"train_loss": train_loss, "valid_loss": valid_loss}, step=epoch)
        if valid_loss < best_loss:
            best_loss, best_epoch = valid_loss, epoch
            best = {name: value.clone() for name, value in network.state_dict().items()}
        progress(epoch, params.epochs)
    network.load_state_dict(best)
    network = round_to_half(network.eval())
    config = _calibrated(config, _logits(network, valid_texts), valid)
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


def _misheard(turns: pl.DataFrame, most: float, rng: np.random.Generator) -> pl.DataFrame:
    """The turns as a recogniser may have heard them, each contact with an error rate of its own."""
    from models.reader.ngrams import corrupt_characters, plain_text

    ids = turns["contact_id"].rank("dense").to_numpy().astype(int) - 1
    rates = rng.uniform(0, most, ids.max(initial=-1) + 1)[ids]
    return turns.with_columns(
        corrupt_characters(plain_text(turns["text"]), rates, rng).alias("text")
    )


def _one_pass(
    network: ReaderNetwork,
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    heard: Texts,
    targets: torch.Tensor,
    mask: torch.Tensor,
    params: ReaderTraining,
    rng: np.random.Generator,
) -> float:
    import torch

    network.train()
    order = rng.permutation(len(targets))
    losses = []
    for at in range(0, len(order), params.batch_size):
        rows = order[at : at + params.batch_size]
        through = rng.random(len(rows)) < params.misheard_share
        texts = heard.select(rows + through * len(order))
        keep = (torch.rand(len(texts.buckets)) >= params.dropout) / (1 - params.dropout)
        optimizer.zero_grad()
        loss = _loss(network(texts, keep), targets[rows], mask[rows], network.sizes)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    network.eval()
    return float(np.mean(losses))


def _loss(
    logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor, sizes: list[int]
) -> torch.Tensor:
    """Cross-entropy with soft targets, a mean over the labels of the mean over the contacts where each is known."""
    import torch

    total, count = logits.new_zeros(()), 0
    for number, (found, wanted) in enumerate(
        zip(logits.split(sizes, 1), targets.split(sizes, 1), strict=True)
    ):
        weight = mask[:, number]
        if weight.any():
            each = -(wanted * torch.log_softmax(found, dim=1)).sum(dim=1)
            total = total + (each * weight).sum() / weight.sum()
            count += 1
    return total / max(count, 1)


def _logits(network: ReaderNetwork, texts: Texts) -> torch.Tensor:
    import torch

    with torch.inference_mode():
        parts = [
            network(texts.select(np.arange(at, min(at + 512, len(texts)))))
            for at in range(0, len(texts), 512)
        ]
    return torch.cat(parts).clone()


def _calibrated(
    config: ReaderConfig, logits: torch.Tensor, valid: LabelledContacts
) -> ReaderConfig:
    """A temperature a label (Guo et al. 2017, arXiv 1706.04599) and a bias a value, the likeliest on `valid`."""
    import torch

    sizes = [len(values) for values in config.labels.values()]
    temperature, bias = {}, {}
    for number, (name, found) in enumerate(zip(config.labels, logits.split(sizes, 1), strict=True)):
        rows = torch.from_numpy(valid.mask[:, number] > 0)
        temperature[name], bias[name] = 1.0, (0.0,) * found.shape[1]
        if rows.sum() < 20:
            continue
        known = found[rows].double()
        wanted = torch.from_numpy(valid.targets).split(sizes, 1)[number][rows].double()
        scale = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        shift = torch.zeros(found.shape[1], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([scale, shift], max_iter=50, line_search_fn="strong_wolfe")

        def closure(
            known=known, wanted=wanted, scale=scale, shift=shift, optimizer=optimizer
        ) -> torch.Tensor:
            optimizer.zero_grad()
            loss = (
                -(wanted * torch.log_softmax(known * scale.exp() + shift, dim=1)).sum(dim=1).mean()
            )
            loss = loss + 0.01 * (shift**2).sum() + 0.01 * (scale**2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        temperature[name] = float((-scale).exp().detach())
        bias[name] = tuple(float(value) for value in shift.detach())
    return replace(config, temperature=temperature, bias=bias)
