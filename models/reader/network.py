"""The contact reader's network: encodes contacts and scores each value of each label.

Each turn is the sum of its n-grams' vectors (models.reader.ngrams). One path scores each turn
linearly, as bag-of-words models do, and takes a smooth maximum over the turns. The other looks at
each turn with its neighbours, role and place, and lets every label attend to the turns that matter
for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import nn
from torch.nn import functional

from data.records import CHANNELS, ROLES
from models.reader.ngrams import make_ngrams, plain_text

_ROLES = {role: number for number, role in enumerate(ROLES)}
_CHANNELS = {channel: number for number, channel in enumerate(CHANNELS, start=1)}  # 0: unknown
_PLACES = 6  # first, second, third turn; last but one, last; anything between
_MAX_SCORE = 8.0  # bound of an attention score


class ReaderError(ValueError):
    """A contact cannot be read, or a folder holds no reader. The message says what to do."""


@dataclass(frozen=True)
class ReaderConfig:
    """All of a reader but its weights.

    `temperature` and `bias` calibrate each label: logits / temperature + bias.
    """

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
                "reader: bits must lie between 8 and 22, width between 1 and 512, "
                "and labels be there."
            )
        if not {*self.words, *self.letters} <= set(range(1, 9)) or not (self.words or self.letters):
            raise ReaderError("reader: n-grams have 1 to 8 words or letters; name some.")


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Contacts encoded for the network: the n-grams of each turn, its contact, role and place."""

    contact_ids: list[str]
    buckets: torch.Tensor  # [n-grams]
    offsets: torch.Tensor  # [turns + 1]
    contact: torch.Tensor  # [turns]
    role: torch.Tensor  # [turns]
    place: torch.Tensor  # [turns]
    channel: torch.Tensor  # [contacts]

    def __len__(self) -> int:
        return len(self.contact_ids)

    def select(self, rows: np.ndarray) -> Texts:
        """Returns the contacts at `rows`, in that order."""
        first = torch.searchsorted(self.contact, torch.arange(len(self) + 1))
        chosen = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        turns, contact = _ranges(first[chosen], first[chosen + 1])
        ngrams, turn = _ranges(self.offsets[turns], self.offsets[turns + 1])
        counts = torch.bincount(turn, minlength=len(turns))
        return Texts(
            contact_ids=[self.contact_ids[row] for row in chosen.tolist()],
            buckets=self.buckets[ngrams],
            offsets=torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
            contact=contact,
            role=self.role[turns],
            place=self.place[turns],
            channel=self.channel[chosen],
        )


def _ranges(begin: torch.Tensor, end: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers of the ranges begin … end - 1, range after range, and the range of each."""
    lengths = end - begin
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    within = torch.arange(len(owner)) - torch.repeat_interleave(
        lengths.cumsum(0) - lengths, lengths
    )
    return begin[owner] + within, owner


def encode_texts(contacts: pl.DataFrame, turns: pl.DataFrame, config: ReaderConfig) -> Texts:
    """Encodes `contacts` (contact_id, channel) with the words of their `turns`.

    `turns` has contact_id, turn, role, text and perhaps origin. Where people and a recogniser wrote
    down the same contact, the people's turns are used. Contacts without turns stay, with nothing to
    read. Raises ReaderError for an unknown role.
    """
    unknown = turns.filter(~pl.col("role").is_in(list(_ROLES)))
    if unknown.height:
        raise ReaderError(
            f"contact {unknown['contact_id'][0]}: {unknown['role'][0]!r} is no role "
            f"({', '.join(_ROLES)})."
        )
    if "origin" in turns.columns:
        by_recogniser = pl.col("origin") == "asr"
        turns = turns.filter(by_recogniser == by_recogniser.min().over("contact_id"))
    numbered = contacts.select("contact_id").with_row_index("_contact")
    rows = turns.join(numbered, on="contact_id", how="inner").sort(
        "_contact", "turn", maintain_order=True
    )
    at = pl.int_range(pl.len()).over("_contact")
    left = pl.len().over("_contact") - 1 - at
    place = pl.when(left < 2).then(4 - left).when(at < 3).then(at).otherwise(5)
    rows = rows.with_columns(place.cast(pl.Int64).alias("_place"))
    ngrams = make_ngrams(
        plain_text(rows["text"]), bits=config.bits, words=config.words, letters=config.letters
    )
    return Texts(
        contact_ids=contacts["contact_id"].to_list(),
        buckets=torch.from_numpy(ngrams.buckets),
        offsets=torch.from_numpy(ngrams.offsets.astype(np.int64)),
        contact=torch.from_numpy(rows["_contact"].cast(pl.Int64).to_numpy().copy()),
        role=torch.from_numpy(
            rows["role"].replace_strict(_ROLES, return_dtype=pl.Int64).to_numpy().copy()
        ),
        place=torch.from_numpy(rows["_place"].to_numpy().copy()),
        channel=torch.from_numpy(
            contacts["channel"]
            .replace_strict(_CHANNELS, default=0, return_dtype=pl.Int64)
            .to_numpy()
            .copy()
        ),
    )


class ReaderNetwork(nn.Module):
    """The network that the module describes.

    Vectors of n-grams start at 0, so one never seen in training adds nothing. The names of its
    parts are part of the file format.
    """

    known: torch.Tensor  # [buckets], 1 where training has seen an n-gram in uncorrupted text
    label_of: torch.Tensor  # [values of all labels], the index of the label of each

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
        """Returns logits [contacts, values of all labels].

        `keep` [n-grams] weighs n-grams (dropout).
        """
        counts = (texts.offsets[1:] - texts.offsets[:-1]).clamp(min=1)
        turns = (
            self.vectors(texts.buckets, texts.offsets, per_sample_weights=keep)
            / counts.sqrt()[:, None]
        )
        logits: torch.Tensor = self.channel(texts.channel)
        if not len(turns):
            return logits
        logits = logits + self._linear_path(turns, texts)
        return logits.index_add(0, texts.contact, self._attention_path(turns, texts))

    def _linear_path(self, turns: torch.Tensor, texts: Texts) -> torch.Tensor:
        """A smooth maximum over the turns' scores: [contacts, values of all labels].

        The turn that speaks most for a value decides, so that small talk cannot outvote it.
        """
        scores = self.linear(turns).view(len(turns), len(ROLES), -1)[
            torch.arange(len(turns)), texts.role
        ]
        sums = scores.new_zeros(len(texts), scores.shape[1])
        index = texts.contact[:, None].expand_as(scores)
        # The maximum is subtracted before exp, which then cannot overflow.
        most = scores.new_full(sums.shape, -torch.inf).scatter_reduce(
            0, index, scores.detach(), "amax"
        )
        most = torch.where(most.isfinite(), most, 0.0)
        total = sums.index_add(0, texts.contact, (scores - most[texts.contact]).exp())
        return torch.where(total > 0, total.clamp(min=1e-9).log() + most, 0.0)

    def _attention_path(self, turns: torch.Tensor, texts: Texts) -> torch.Tensor:
        """Each turn's scores times each label's attention to it: [turns, values of all labels]."""
        placed = turns + self.role(texts.role) + self.place(texts.place)
        same_contact = (texts.contact[1:] == texts.contact[:-1])[:, None]
        padding = placed.new_zeros(1, turns.shape[1])
        before = torch.cat([padding, placed[:-1] * same_contact])
        after = torch.cat([placed[1:] * same_contact, padding])
        hidden = functional.gelu(self.around(torch.cat([before, placed, after], dim=1)))
        weight = (_MAX_SCORE * torch.tanh(self.score(hidden) / _MAX_SCORE)).exp()
        total = weight.new_zeros(len(texts), weight.shape[1]).index_add(0, texts.contact, weight)
        attention = weight / total[texts.contact]
        scores: torch.Tensor = self.read(hidden) * attention[:, self.label_of]
        return scores


def calibrate(logits: torch.Tensor, config: ReaderConfig) -> list[torch.Tensor]:
    """Returns the logits of each label, [contacts, values], with temperature and bias applied."""
    parts = torch.split(logits, [len(values) for values in config.labels.values()], dim=1)
    temperature, bias = config.temperature or {}, config.bias or {}
    return [
        part / temperature.get(name, 1.0)
        + torch.tensor(bias.get(name, (0.0,) * part.shape[1]), dtype=part.dtype)
        for name, part in zip(config.labels, parts, strict=True)
    ]


def round_to_half(network: ReaderNetwork) -> ReaderNetwork:
    """Rounds the weights to half precision, so that saving changes no answer; returns it."""
    network.load_state_dict(
        {name: value.half().float() for name, value in network.state_dict().items()}
    )
    return network
