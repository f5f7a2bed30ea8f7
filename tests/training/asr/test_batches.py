"""Batches: every utterance once an epoch, within the budget, extra speech at its share, repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from training.asr.batches import Pool, batch_sampler

FRAMES = np.random.default_rng(0).integers(3200, 160000, 57)


@pytest.mark.parametrize("buckets", [0, 4])
def test_every_epoch_holds_every_utterance_once_within_the_budget(buckets: int) -> None:
    at = batch_sampler(FRAMES, 30.0, seed=3, buckets=buckets)
    seen: list[int] = []
    step = 0
    while len(seen) < 3 * len(FRAMES):
        batch = at(step)
        audio = FRAMES[batch].sum() if buckets else FRAMES[batch].max() * len(batch)
        assert len(batch) == 1 or audio <= 30.0 * 16000
        seen += batch.tolist()
        step += 1
    for number in range(3):
        assert sorted(seen[number * 57 : (number + 1) * 57]) == list(range(57))
    assert seen[:57] != seen[57:114]


@pytest.mark.parametrize("buckets", [0, 4])
def test_a_step_is_the_same_whichever_came_before_it(buckets: int) -> None:
    def at(step: int) -> list[int]:
        batch = batch_sampler(FRAMES, 30.0, seed=3, buckets=buckets)(step)
        return [int(number) for number in batch]

    sampler = batch_sampler(FRAMES, 30.0, seed=3, buckets=buckets)
    steps = [sampler(step).tolist() for step in range(60)]
    assert at(47) == steps[47]
    assert sampler(5).tolist() == steps[5]  # and back
    assert sampler(6).tolist() == steps[6]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_extra_speech_gets_its_share_of_every_epoch(share: float) -> None:
    frames = np.concatenate([FRAMES, np.full(20, 48000)])
    at = batch_sampler(frames, 30.0, seed=1, pools=[Pool(57, 77, share)])
    chosen: list[int] = []
    step = 0
    while sum(i < 57 for i in chosen) < 5 * 57:
        chosen += at(step).tolist()
        step += 1
    extra_s = sum(frames[i] for i in chosen if i >= 57)
    assert extra_s / sum(frames[i] for i in chosen) == pytest.approx(share, abs=0.03)
    assert {i for i in chosen if i >= 57} == set(range(57, 77))  # all of it gets its turn
