"""Split the language model over the processes (FSDP2), so that a model trains that fits on no single GPU.

Each layer is a unit of its own: its weights are put together for its turn and let go again. Embeddings and head stay whole on every
process (they are used outside the language model's forward), and so does the vision side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from textunlearn.errors import UserError
from textunlearn.vlm.load import Vlm


def shard(vlm: Vlm, *, offload: bool = False) -> None:
    """Split the language model's layers, adapter included, over all processes (call on each, after `processes.join`).

    ``offload``: the parts lie in the CPU's memory, with their gradients and optimizer; each layer comes to the device for its turn.
    """
    from torch import cuda, distributed
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    layers = getattr(vlm.decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise UserError(f"{vlm.name}'s language model has no list of layers that could be split; leave --shard out")
    for p in vlm.model.parameters():
        if p.requires_grad:  # each process drew its own, and keeps a part of it only
            distributed.broadcast(p.data, 0)
    outside = {*vlm.embed.parameters(), *vlm.head.parameters()}
    policy = CPUOffloadPolicy(pin_memory=cuda.is_available()) if offload else OffloadPolicy()
    for layer in layers:
        fully_shard(layer, offload_policy=policy)
    fully_shard(vlm.decoder, offload_policy=policy, ignored_params=outside & {*vlm.decoder.parameters()})
    vlm.sharded = True


class Sharded(nn.Module):
    """A model that is split already. Another object than the model itself: that tells the Trainer not to wrap it again."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


def whole(value: Any) -> Any:
    """``value`` (a tensor, or a dict or list of such, as deep as it goes) with every split tensor put together on the CPU.

    All processes must call it at once.
    """
    from torch.distributed.tensor import DTensor

    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, Mapping):
        return {key: whole(one) for key, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list) else value


def like(value: Tensor, model: Tensor) -> Tensor:
    """``value``, which every process has whole, on the device of ``model`` and split as that is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(model, DTensor):
        return distribute_tensor(value.to(model.device), model.device_mesh, model.placements)
    return value.to(model.device)


def trained_weights(vlm: Vlm) -> dict[str, Tensor]:
    """The weights that are trained, by name, whole. All processes must call it at once."""
    return {name: whole(p.detach()) for name, p in vlm.model.named_parameters() if p.requires_grad}


def save_adapter(vlm: Vlm, folder: Any, write: bool) -> None:
    """Write the adapter on the model as peft does. All processes must call it at once; ``write``: this one writes."""
    weights = trained_weights(vlm) if vlm.sharded else None
    if write:
        vlm.model.save_pretrained(
            folder, safe_serialization=True, **({} if weights is None else {"state_dict": weights})
        )
