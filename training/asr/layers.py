"""Which parts of a network learn, and how fast: lower encoder layers slower, the lowest perhaps not at all."""

from __future__ import annotations

from typing import Any


def encoder_layers(model: Any) -> list[Any]:
    """The encoder's layers from the input up: Conformer's `layers`, convolutional blocks, else all of it as one."""
    for name in ("layers", "encoder"):
        stack = getattr(model.encoder, name, None)
        if stack is not None and hasattr(stack, "__len__"):
            return list(stack)
    return [model.encoder]


def parameter_groups(model: Any, layer_decay: float) -> list[dict[str, Any]]:
    """Parameters for an optimizer, each group with its `scale` of the learning rate.

    What lies behind the encoder has scale 1, the encoder's top layer `layer_decay`, the one below it its square, and
    so on (ULMFiT, arXiv 1801.06146); what feeds the first layer goes with it. At `layer_decay` 1 all are one group.
    """
    if layer_decay == 1:
        return [{"params": list(model.parameters()), "scale": 1.0}]
    layers = encoder_layers(model)
    depth = {
        id(weight): number for number, layer in enumerate(layers) for weight in layer.parameters()
    }
    inside = {id(weight) for weight in model.encoder.parameters()}
    groups: dict[int, list[Any]] = {}
    for weight in model.parameters():
        below = len(layers) - depth.get(id(weight), 0) if id(weight) in inside else 0
        groups.setdefault(below, []).append(weight)
    return [
        {"params": weights, "scale": layer_decay**below}
        for below, weights in sorted(groups.items())
    ]


def set_trainable(model: Any, encoder: bool, frozen_layers: int) -> None:
    """Puts `model` in training, but for the encoder (when not `encoder`) or its lowest `frozen_layers`.

    What stands still also keeps its batch statistics and drops nothing out.
    """
    model.train()
    model.encoder.train(encoder)
    model.encoder.requires_grad_(encoder)
    if not frozen_layers:
        return
    layers = encoder_layers(model)
    above = {id(weight) for layer in layers[frozen_layers:] for weight in layer.parameters()}
    for weight in model.encoder.parameters():
        if id(weight) not in above:
            weight.requires_grad_(False)
    for layer in layers[:frozen_layers]:
        layer.eval()
