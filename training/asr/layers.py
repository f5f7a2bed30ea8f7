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


def parameter_groups(model: Any, layer_decay: float) -> list[dict[str, Any]]:
    """Returns parameter groups for an optimizer, each with the `scale` of its learning rate.

    Everything behind the encoder has scale 1, the encoder's top layer `layer_decay`, the one below
    it its square, and so on (ULMFiT, arXiv 1801.06146). Modules that feed the first layer share its
    scale. With `layer_decay` 1 all parameters are one group.
    """
    if layer_decay == 1:
        return [{"params": list(model.parameters()), "scale": 1.0}]
    layers = encoder_layers(model)
    depth = {
        id(weight): number for number, layer in enumerate(layers) for weight in layer.parameters()
    }
    in_encoder = {id(weight) for weight in model.encoder.parameters()}
    groups: dict[int, list[Any]] = {}
    for weight in model.parameters():
        below = len(layers) - depth.get(id(weight), 0) if id(weight) in in_encoder else 0
        groups.setdefault(below, []).append(weight)
    return [
        {"params": weights, "scale": layer_decay**below}
        for below, weights in sorted(groups.items())
    ]


def set_trainable(model: Any, encoder: bool, frozen_layers: int) -> None:
    """Puts `model` in training mode, except frozen parts of its encoder.

    Frozen are all of it unless `encoder`, else its lowest `frozen_layers`. Frozen parts also keep
    their batch statistics and apply no dropout.
    """
    model.train()
    model.encoder.train(encoder)
    model.encoder.requires_grad_(encoder)
    if not frozen_layers:
        return
    layers = encoder_layers(model)
    trainable = {id(weight) for layer in layers[frozen_layers:] for weight in layer.parameters()}
    for weight in model.encoder.parameters():
        if id(weight) not in trainable:
            weight.requires_grad_(False)
    for layer in layers[:frozen_layers]:
        layer.eval()
