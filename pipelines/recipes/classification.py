"""What every classifier shares: logits as scores, cross entropy as loss, and loss and accuracy on validation items.

The loss is the plain negative log likelihood, without label smoothing or class weights: `nll` is a metric of the gate, and
a model trained on something else starts with a handicap there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pipelines.recipes import ScoresKind

if TYPE_CHECKING:
    from torch import Tensor


class Classification:
    """The part of a `pipelines.recipes.Recipe` that does not depend on the kind of input."""

    scores: ClassVar[ScoresKind] = "logits"

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean negative log likelihood, nats."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(scores, targets)

    def metrics(self, scores: Tensor, targets: Tensor) -> Mapping[str, float]:
        """`loss` in nats, `accuracy` as a fraction."""
        correct = (scores.argmax(dim=1) == targets).sum().item()
        return {"loss": float(self.loss(scores.double(), targets)), "accuracy": correct / len(targets)}
