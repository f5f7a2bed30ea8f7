"""Which utterances make up a step: of like length, each once a pass, extra speech at its share, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from training.asr.speech import SAMPLE_RATE_HZ

Members = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Pool:
    """Utterances `begin` to `end` of a corpus that make up a `share` of the audio of a pass."""

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
    """Names the utterances of step 0, 1, …; depends on nothing but the step.

    A pass holds every utterance once. Of each of `pools` (which must lie at the end) it holds as many, drawn anew, as
    give it its share of the audio; a pool too small for it is gone through more than once. A batch holds as many
    utterances as fit `batch_duration_s` when padded to the longest, and one at least.

    With `buckets` Lhotse's DynamicBucketingSampler forms the batches (it does not count the padding), else sorting by
    length does. `frames` is int64 [utterances], in samples at 16 kHz.
    """
    members = _mixed(frames, pools, seed)
    limit = batch_duration_s * SAMPLE_RATE_HZ

    def of(number: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([seed, 1, number])
        if buckets:
            return _bucketed(frames, members(number), batch_duration_s, buckets, rng)
        return iter(_sorted(frames, members(number), limit, rng))

    begun: dict[str, int] = {"pass": 0, "next": 0}
    running = of(0)

    def at(step: int) -> np.ndarray:
        nonlocal running
        if step < begun["next"]:
            begun.update({"pass": 0, "next": 0})
            running = of(0)
        while True:
            for batch in running:
                begun["next"] += 1
                if begun["next"] > step:
                    return batch
            begun["pass"] += 1
            running = of(begun["pass"])

    return at


def _mixed(frames: np.ndarray, pools: Sequence[Pool], seed: int) -> Members:
    """The utterances of a pass: all of the main speech, and of each pool what its share asks for."""
    main = np.arange(pools[0].begin if pools else len(frames))
    main_frames = frames[main].sum() / (1 - sum(pool.share for pool in pools))

    def of(number: int) -> np.ndarray:
        chosen = [main]
        for place, pool in enumerate(pools):
            rng = np.random.default_rng([seed, 5, number, place])
            wanted = main_frames * pool.share
            rounds = int(np.ceil(wanted / frames[pool.begin : pool.end].sum()))
            order = np.concatenate(
                [rng.permutation(np.arange(pool.begin, pool.end)) for _ in range(rounds)]
            )
            count = int(np.searchsorted(np.cumsum(frames[order]), wanted)) + 1
            chosen.append(order[:count])
        return np.concatenate(chosen)

    return of


def _sorted(
    frames: np.ndarray, members: np.ndarray, limit: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Sorted by a length that is shaken a little, cut where a batch is full, shuffled."""
    order = members[
        np.argsort(frames[members] * rng.uniform(0.95, 1.05, len(members)), kind="stable")
    ]
    found, begin, longest = [], 0, 0
    for end, length in enumerate(frames[order].tolist()):
        longest = max(longest, length)
        if longest * (end - begin + 1) > limit and end > begin:
            found.append(order[begin:end])
            begin, longest = end, length
    found.append(order[begin:])
    return [found[i] for i in rng.permutation(len(found))]


def _bucketed(
    frames: np.ndarray,
    members: np.ndarray,
    batch_duration_s: float,
    buckets: int,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Lhotse's dynamic buckets over a shuffled pass; only a buffer of utterances is ever laid out."""
    from lhotse import MonoCut
    from lhotse.dataset.sampling import DynamicBucketingSampler

    order = rng.permutation(members)

    class Cuts:
        """Durations for the sampler; the audio stays where it is."""

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
        sync_buckets=True,  # without it Lhotse 1.33 ends a pass too early
    )
    for batch in sampler:
        yield np.array([int(cut.id) for cut in batch], np.int64)
