"""Freezes encoder layers and gives each its learning rate: lower layers train slower, or not."""

from __future__ import annotations

from typing import Any


def encoder_layers(model: Any) -> list[Any]:
    """Returns the encoder's layers from the input up.

    Those are a Conformer's `layers`, a convolutional encoder's blocks, or else the encoder as one.
    """
    for name in ("layers", "encoder"):
        stack = getattr(model.encoder, name, None)
        if stack is not None and hasattr(stack, "__len__"):
            return list(stack)
    return [model.encoder]


def parameter_groups(
    model: Any, layer_decay: float, encoder_rate: float = 1.0
) -> list[dict[str, Any]]:
    """Returns parameter groups for an optimizer, each with the `scale` of its learning rate.

    Everything behind the encoder has scale 1, the encoder's top layer `encoder_rate` times
    `layer_decay`, the one below it `encoder_rate` times its square, and so on (ULMFiT, arXiv
    1801.06146). Modules that feed the first layer share its scale. With both 1 all parameters are
    one group.
    """
    if layer_decay == encoder_rate == 1:
        return [{"params": list(model.parameters()), "scale": 1.0}]
    layers = encoder_layers(model)
    depth = {
        id(weight): number for number, layer in enumerate(layers) for weight in layer.parameters()
    }
    in_encoder = {id(weight) for weight in model.encoder.parameters()} - _behind_encoder(model)
    groups: dict[int, list[Any]] = {}
    for weight in model.parameters():
        below = len(layers) - depth.get(id(weight), 0) if id(weight) in in_encoder else 0
        groups.setdefault(below, []).append(weight)
    return [
        {"params": weights, "scale": layer_decay**below * (encoder_rate if below else 1.0)}
        for below, weights in sorted(groups.items())
    ]


def set_trainable(model: Any, encoder: bool, frozen_layers: int) -> None:
    """Puts `model` in training mode, except frozen parts of its encoder.

    Frozen are all of it unless `encoder`, else its lowest `frozen_layers`. Frozen parts also keep
    their batch statistics and apply no dropout.
    """
    behind = _behind_encoder(model)
    model.train()
    model.encoder.train(encoder)
    for weight in model.encoder.parameters():
        weight.requires_grad_(encoder or id(weight) in behind)
    if not frozen_layers:
        return
    layers = encoder_layers(model)
    trainable = behind | {
        id(weight) for layer in layers[frozen_layers:] for weight in layer.parameters()
    }
    for weight in model.encoder.parameters():
        if id(weight) not in trainable:
            weight.requires_grad_(False)
    for layer in layers[:frozen_layers]:
        layer.eval()


def _behind_encoder(model: Any) -> set[int]:
    """Ids of the weights that an encoder carries for the decoder, and that train with it."""
    names = getattr(model.encoder, "trained_with_decoder", ())
    return {id(weight) for name in names for weight in getattr(model.encoder, name).parameters()}
