"""Computes the training loss: CTC, or for hybrid networks CTC and transducer together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from models.asr.nemo import ctc_log_probs

if TYPE_CHECKING:
    import torch


def is_hybrid(model: Any) -> bool:
    """Returns whether `model` is a transducer with a CTC branch."""
    return hasattr(model, "ctc_decoder") and hasattr(model, "joint")


def loss_sum(
    model: Any,
    batch: torch.Tensor,
    lengths: torch.Tensor,
    *,
    tokens: Sequence[Any],
    rnnt_weight: float = 0.0,
) -> torch.Tensor:
    """Returns the summed loss of all utterances, a scalar; a step divides it by its labels.

    `batch` is float32 [utterances, samples], `lengths` int64 [utterances]. A hybrid network's loss
    is (1 - rnnt_weight) × CTC + rnnt_weight × transducer. An utterance too short for its labels
    counts nothing in CTC.
    """
    import torch

    counts = torch.tensor([len(labels) for labels in tokens], device=batch.device)
    targets = torch.tensor(
        [int(label) for labels in tokens for label in labels], device=batch.device
    )
    with_transducer = rnnt_weight > 0 and is_hybrid(model)
    if with_transducer:
        encoded, steps = model(input_signal=batch, input_signal_length=lengths)
        log_probs = model.ctc_decoder(encoder_output=encoded)
    else:
        log_probs, steps = ctc_log_probs(model, batch, lengths)
    ctc = torch.nn.functional.ctc_loss(
        log_probs.float().transpose(0, 1),
        targets,
        steps,
        counts,
        blank=log_probs.shape[-1] - 1,
        reduction="none",
        zero_infinity=True,
    ).sum()
    if not with_transducer:
        return ctc
    transducer = _transducer_loss(model, encoded, steps, targets=targets, counts=counts)
    return (1 - rnnt_weight) * ctc + rnnt_weight * transducer


def _transducer_loss(
    model: Any,
    encoded: torch.Tensor,
    steps: torch.Tensor,
    *,
    targets: torch.Tensor,
    counts: torch.Tensor,
) -> torch.Tensor:
    """Returns NeMo's own transducer loss, summed.

    With `fuse_loss_wer` the joint network also computes the loss, piece by piece to save memory.
    """
    import torch

    padded = torch.nn.utils.rnn.pad_sequence(targets.split(counts.tolist()), batch_first=True)
    model.loss.reduction = "sum"
    decoded, counts, _ = model.decoder(targets=padded, target_length=counts)
    loss: torch.Tensor
    if model.joint.fuse_loss_wer:
        loss, *_ = model.joint(
            encoder_outputs=encoded,
            decoder_outputs=decoded,
            encoder_lengths=steps,
            transcripts=padded,
            transcript_lengths=counts,
            compute_wer=False,
        )
        return loss.sum()
    joint = model.joint(encoder_outputs=encoded, decoder_outputs=decoded)
    loss = model.loss(log_probs=joint, targets=padded, input_lengths=steps, target_lengths=counts)
    return loss
