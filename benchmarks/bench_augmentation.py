"""What telephone effects cost a training step: milliseconds for one batch, each effect alone and a usual mixture.

`python benchmarks/bench_augmentation.py` prints JSON. A batch is 60 s of noise-like speech in 20 rows; one thread.
"""

from __future__ import annotations

import json
import statistics
import time

import numpy as np

from data.audio import SAMPLE_RATE_HZ
from data.speech.telephone import EFFECTS, Telephony
from training.asr.speech import Augmentation, augment, collate

MIXTURE = {
    "room": 0.05,
    "crosstalk": 0.05,
    "music": 0.05,
    "amr_nb": 0.05,
    "alaw": 0.05,
    "gsm": 0.05,
    "packet_loss": 0.1,
}


def milliseconds(settings: Augmentation, repeats: int = 7) -> float:
    """Median over `repeats` batches."""
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.standard_normal(3 * SAMPLE_RATE_HZ).astype(np.float32) for _ in range(20)]
    batch, lengths = collate(waves)
    seconds = []
    for number in range(repeats):
        started = time.perf_counter()
        augment(batch, lengths, settings, rng=np.random.default_rng(number))
        seconds.append(time.perf_counter() - started)
    return round(1000 * statistics.median(seconds), 1)


def main() -> None:
    """Prints the JSON."""
    import torch

    torch.set_num_threads(1)
    alone = {
        name: milliseconds(
            Augmentation(telephone_share=0.0, noise_share=0.0, telephony=Telephony({name: 1.0}))
        )
        for name in EFFECTS
        if name != "speed"
    }
    print(
        json.dumps(
            {
                "batch_s": 60,
                "threads": 1,
                "batched_noise_and_telephone_ms": milliseconds(Augmentation()),
                "with_mixture_ms": milliseconds(Augmentation(telephony=Telephony(MIXTURE))),
                "mixture": MIXTURE,
                "effect_on_every_row_ms": alone,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
