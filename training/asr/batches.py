"""Chooses the utterances of each training step: of like length, each once an epoch, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data.audio import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Pool:
    """Utterances `begin` to `end` of a corpus that make up a `share` of the audio of an epoch."""

    begin: int
    end: int
    share: float


def batch_sampler(
    frames: np.ndarray,
    batch_duration_s: float,
    *,
    seed: int,
    pools: Sequence[Pool] = (),
    buckets: int = 0,
) -> Callable[[int], np.ndarray]:
    """Returns a function from step (0, 1, …) to utterance numbers; it depends on the step alone.

    An epoch holds every utterance once. Of each of `pools` (which must lie at the end) it holds as
    many, drawn anew, as give the pool its share of the audio; a pool too small for that repeats. A
    batch holds as many utterances as fit `batch_duration_s` when padded to the longest, and one at
    least.

    With `buckets` Lhotse's DynamicBucketingSampler forms the batches (it does not count padding),
    else sorting by length does. `frames` is int64 [utterances], in samples at 16 kHz.
    """
    members = _epoch_members(frames, pools, seed)
    limit = batch_duration_s * SAMPLE_RATE_HZ

    def epoch_batches(epoch: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([seed, 1, epoch])
        if buckets:
            return _bucketed(
                frames,
                members(epoch),
                batch_duration_s=batch_duration_s,
                buckets=buckets,
                rng=rng,
            )
        return iter(_sorted_by_length(frames, members(epoch), limit=limit, rng=rng))

    epoch, next_step = 0, 0
    batches = epoch_batches(0)

    def at(step: int) -> np.ndarray:
        nonlocal epoch, next_step, batches
        if step < next_step:
            epoch, next_step = 0, 0
            batches = epoch_batches(0)
        while True:
            for batch in batches:
                next_step += 1
                if next_step > step:
                    return batch
            epoch += 1
            batches = epoch_batches(epoch)

    return at


def _epoch_members(
    frames: np.ndarray, pools: Sequence[Pool], seed: int
) -> Callable[[int], np.ndarray]:
    """Returns a function from epoch to its utterances: all main speech and each pool's share."""
    main = np.arange(pools[0].begin if pools else len(frames))
    epoch_frames = frames[main].sum() / (1 - sum(pool.share for pool in pools))

    def members(epoch: int) -> np.ndarray:
        chosen = [main]
        for number, pool in enumerate(pools):
            rng = np.random.default_rng([seed, 5, epoch, number])
            pool_frames = epoch_frames * pool.share
            rounds = int(np.ceil(pool_frames / frames[pool.begin : pool.end].sum()))
            order = np.concatenate(
                [rng.permutation(np.arange(pool.begin, pool.end)) for _ in range(rounds)]
            )
            count = int(np.searchsorted(np.cumsum(frames[order]), pool_frames)) + 1
            chosen.append(order[:count])
        return np.concatenate(chosen)

    return members


def _sorted_by_length(
    frames: np.ndarray, members: np.ndarray, *, limit: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Returns shuffled batches of `members` of like length, each up to `limit` frames."""
    order = members[
        np.argsort(frames[members] * rng.uniform(0.95, 1.05, len(members)), kind="stable")
    ]
    batches, begin, longest = [], 0, 0
    for end, length in enumerate(frames[order].tolist()):
        longest = max(longest, length)
        if longest * (end - begin + 1) > limit and end > begin:
            batches.append(order[begin:end])
            begin, longest = end, length
    batches.append(order[begin:])
    return [batches[i] for i in rng.permutation(len(batches))]


def _bucketed(
    frames: np.ndarray,
    members: np.ndarray,
    *,
    batch_duration_s: float,
    buckets: int,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yields Lhotse's dynamic buckets over shuffled `members`; only a buffer is in memory."""
    from lhotse import MonoCut
    from lhotse.dataset.sampling import DynamicBucketingSampler

    order = rng.permutation(members)

    class Cuts:
        """Durations for the sampler; audio is not read."""

        def __iter__(self) -> Iterator[MonoCut]:
            for index in order.tolist():
                yield MonoCut(
                    id=str(index), start=0, duration=frames[index] / SAMPLE_RATE_HZ, channel=0
                )

    sampler = DynamicBucketingSampler(
        Cuts(),
        max_duration=batch_duration_s,
        num_buckets=min(buckets, len(order)),
        shuffle=True,
        world_size=1,
        rank=0,
        seed=int(rng.integers(2**31)),
        sync_buckets=True,  # without it Lhotse 1.33 ends an epoch too early
    )
    for batch in sampler:
        yield np.array([int(cut.id) for cut in batch], np.int64)
