"""A PyTorch module's arrays, from tensors to updates and from means back to tensors. Needs the extra `torch`.

Examples:
    >>> before = snapshot(net)
    >>> train(net)
    >>> result = client.participate(delta(net, before), weight=len(rows), task="digits", model=before)
    >>> apply_(net, before, result.mean)
    >>> config = snapshot(net).config(task="digits", clip=0.5, max_participants=5, max_weight=500)  # the FL server
"""

from secagg_client.snapshots import suggest_clip
from secagg_client.torch.modules import ModuleSnapshot, apply_, delta, snapshot

__all__ = ["ModuleSnapshot", "apply_", "delta", "snapshot", "suggest_clip"]
