"""The contact reader's network: contacts as numbers, and from them a score for each value of each label.

Each turn is the sum of its n-grams' vectors (models.ngrams). One path reads the labels off each turn linearly, as
bag-of-words models do, and lets the turn decide that speaks most for a value; the other looks at each turn with its
neighbours, role and place, and lets every label attend to the turns that matter for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import nn
from torch.nn import functional

from data.records import CHANNELS, ORIGIN_MACHINE, ROLES
from models.reader.ngrams import grams, plain

_ROLES = {role: number for number, role in enumerate(ROLES)}
_CHANNELS = {channel: number for number, channel in enumerate(CHANNELS, start=1)}  # 0: unknown
_PLACES = 6  # first, second, third turn; last but one, last; anything between
_LOUDEST = 8.0  # bound of an attention score


class ReaderError(ValueError):
    """Something cannot be read, or is no reader. The message says what to do."""


@dataclass(frozen=True)
class ReaderConfig:
    """Everything but the weights. `temperature` and `bias` calibrate: logits / temperature + bias, label by label."""

    labels: dict[str, tuple[str, ...]]  # label -> its values
    bits: int = 16  # n-grams fall into 2 ** bits buckets
    width: int = 48  # of an n-gram's vector
    words: tuple[int, ...] = (1, 2)  # lengths of word n-grams
    letters: tuple[int, ...] = (3, 4, 5)  # lengths of letter n-grams, in bytes
    temperature: dict[str, float] | None = None
    bias: dict[str, tuple[float, ...]] | None = None

    def __post_init__(self) -> None:
        """Raises ReaderError for sizes that make no network, or one that fills the memory."""
        if not 8 <= self.bits <= 22 or not 1 <= self.width <= 512 or not self.labels:
            raise ReaderError(
                "reader: bits must lie between 8 and 22, width between 1 and 512, and labels be there."
            )
        if not {*self.words, *self.letters} <= set(range(1, 9)) or not (self.words or self.letters):
            raise ReaderError("reader: n-grams have 1 to 8 words or letters; name some.")


@dataclass(frozen=True)
class Texts:
    """Contacts as numbers: which n-grams each turn has, and whose turn of which contact it is, in order."""

    contact_ids: list[str]
    buckets: torch.Tensor  # [n-grams]
    offsets: torch.Tensor  # [turns + 1]
    contact: torch.Tensor  # [turns]
    role: torch.Tensor  # [turns]
    place: torch.Tensor  # [turns]
    channel: torch.Tensor  # [contacts]

    def __len__(self) -> int:
        return len(self.contact_ids)

    def of(self, chosen: np.ndarray) -> Texts:
        """The contacts numbered `chosen`, in that order."""
        first = torch.searchsorted(self.contact, torch.arange(len(self) + 1))
        pick = torch.from_numpy(np.asarray(chosen, dtype=np.int64))
        turns, contact = _runs(first[pick], first[pick + 1])
        spots, turn = _runs(self.offsets[turns], self.offsets[turns + 1])
        counts = torch.bincount(turn, minlength=len(turns))
        return Texts(
            [self.contact_ids[number] for number in pick.tolist()],
            self.buckets[spots],
            torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
            contact,
            self.role[turns],
            self.place[turns],
            self.channel[pick],
        )


def _runs(begin: torch.Tensor, end: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All numbers of the ranges begin … end - 1, one range after the other, and which range each is of."""
    lengths = end - begin
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    within = torch.arange(len(owner)) - torch.repeat_interleave(
        lengths.cumsum(0) - lengths, lengths
    )
    return begin[owner] + within, owner


def texts_of(contacts: pl.DataFrame, turns: pl.DataFrame, config: ReaderConfig) -> Texts:
    """`contacts` (contact_id, channel) with the words of `turns` (contact_id, turn, role, text and perhaps origin).

    Where people and a recogniser wrote down the same contact, the people's turns are used. Contacts without turns stay,
    with nothing to read. Raises ReaderError for a role that is none.
    """
    strange = turns.filter(~pl.col("role").is_in(list(_ROLES)))
    if strange.height:
        raise ReaderError(
            f"contact {strange['contact_id'][0]}: {strange['role'][0]!r} is no role ({', '.join(_ROLES)})."
        )
    if "origin" in turns.columns:
        heard = pl.col("origin") == ORIGIN_MACHINE
        turns = turns.filter(heard == heard.min().over("contact_id"))
    numbered = contacts.select("contact_id").with_row_index("_contact")
    rows = turns.join(numbered, on="contact_id", how="inner").sort(
        "_contact", "turn", maintain_order=True
    )
    at = pl.int_range(pl.len()).over("_contact")
    left = pl.len().over("_contact") - 1 - at
    place = pl.when(left < 2).then(4 - left).when(at < 3).then(at).otherwise(5)
    rows = rows.with_columns(place.cast(pl.Int64).alias("_place"))
    found = grams(plain(rows["text"]), config.bits, config.words, config.letters)
    return Texts(
        contacts["contact_id"].to_list(),
        torch.from_numpy(found.buckets),
        torch.from_numpy(found.offsets.astype(np.int64)),
        torch.from_numpy(rows["_contact"].cast(pl.Int64).to_numpy().copy()),
        torch.from_numpy(
            rows["role"].replace_strict(_ROLES, return_dtype=pl.Int64).to_numpy().copy()
        ),
        torch.from_numpy(rows["_place"].to_numpy().copy()),
        torch.from_numpy(
            contacts["channel"]
            .replace_strict(_CHANNELS, default=0, return_dtype=pl.Int64)
            .to_numpy()
            .copy()
        ),
    )


class ReaderNetwork(nn.Module):
    """See the module. Vectors of n-grams begin as nothing, so one never seen in training says nothing."""

    known: torch.Tensor  # [buckets], 1 where training has seen an n-gram that was not misheard
    label_of: torch.Tensor  # [values of all labels], which label each is of

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.sizes = [len(values) for values in config.labels.values()]
        width, outputs, labels = config.width, sum(self.sizes), len(self.sizes)
        self.vectors = nn.EmbeddingBag(2**config.bits, width, mode="sum", include_last_offset=True)
        nn.init.zeros_(self.vectors.weight)
        self.linear = nn.Linear(width, len(ROLES) * outputs)
        self.channel = nn.Embedding(len(CHANNELS) + 1, outputs)
        nn.init.zeros_(self.channel.weight)
        self.role, self.place = nn.Embedding(len(ROLES), width), nn.Embedding(_PLACES, width)
        self.around = nn.Linear(3 * width, width)
        self.score = nn.Linear(width, labels)
        self.read = nn.Linear(width, outputs)
        self.register_buffer("known", torch.zeros(2**config.bits))
        self.register_buffer(
            "label_of",
            torch.repeat_interleave(torch.arange(labels), torch.tensor(self.sizes)),
            False,
        )

    def forward(self, texts: Texts, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [contacts, values of all labels]; `keep` [n-grams] weighs n-grams (dropout)."""
        counts = (texts.offsets[1:] - texts.offsets[:-1]).clamp(min=1)
        turns = (
            self.vectors(texts.buckets, texts.offsets, per_sample_weights=keep)
            / counts.sqrt()[:, None]
        )
        contacts, width = len(texts), turns.shape[1]
        logits = self.channel(texts.channel)
        if not len(turns):
            return logits
        # The turn that speaks most for a value decides (a smooth maximum), so that small talk cannot outvote it.
        alone = self.linear(turns).view(len(turns), len(ROLES), -1)[
            torch.arange(len(turns)), texts.role
        ]
        of = texts.contact[:, None].expand_as(alone)
        most = alone.new_full(logits.shape, -torch.inf).scatter_reduce(
            0, of, alone.detach(), "amax"
        )
        most = torch.where(most.isfinite(), most, 0.0)
        total = torch.zeros_like(logits).index_add(
            0, texts.contact, (alone - most[texts.contact]).exp()
        )
        logits = logits + torch.where(total > 0, total.clamp(min=1e-9).log() + most, 0.0)
        placed = turns + self.role(texts.role) + self.place(texts.place)
        same = (texts.contact[1:] == texts.contact[:-1])[:, None]
        nothing = placed.new_zeros(1, width)
        before = torch.cat([nothing, placed[:-1] * same])
        after = torch.cat([placed[1:] * same, nothing])
        seen = functional.gelu(self.around(torch.cat([before, placed, after], dim=1)))
        weight = (_LOUDEST * torch.tanh(self.score(seen) / _LOUDEST)).exp()
        total = weight.new_zeros(contacts, weight.shape[1]).index_add(0, texts.contact, weight)
        share = weight / total[texts.contact]
        said = self.read(seen) * share[:, self.label_of]
        return logits.index_add(0, texts.contact, said)


def calibrated(logits: torch.Tensor, config: ReaderConfig) -> list[torch.Tensor]:
    """The logits of each label, [contacts, values], with temperature and bias."""
    parts = torch.split(logits, [len(values) for values in config.labels.values()], dim=1)
    temperature, bias = config.temperature or {}, config.bias or {}
    return [
        part / temperature.get(name, 1.0)
        + torch.tensor(bias.get(name, (0.0,) * part.shape[1]), dtype=part.dtype)
        for name, part in zip(config.labels, parts, strict=True)
    ]


def rounded(network: ReaderNetwork) -> ReaderNetwork:
    """The network with its weights as half precision keeps them, so that saving changes no answer."""
    network.load_state_dict(
        {name: value.half().float() for name, value in network.state_dict().items()}
    )
    return network
