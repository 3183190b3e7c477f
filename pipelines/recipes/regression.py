"""What every regression shares: a network that answers in the units of its targets, and a loss that has none.

Networks learn numbers of about 1. Prices or ages are brought there and back by the mean and spread of the training targets,
and the way back is part of the network: whoever holds the exported graph reads prices. The loss is the mean squared error in
those standard units, so that of two targets the one with the larger numbers does not drown the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.recipes import ScoresKind

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Regression:
    """The part of a `pipelines.recipes.Recipe` that does not depend on the kind of input.

    `mean` and `deviation` are those of the training targets, one per target; empty before `knowing`.
    """

    scores: ClassVar[ScoresKind] = "values"
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def knowing(self, targets: NDArray[Any]) -> Self:
        """The recipe for targets like these, [n, targets]; a constant one is only centred."""
        wide = np.asarray(targets, dtype=np.float64)
        spread = wide.std(axis=0)
        return dataclasses.replace(
            self, mean=tuple(wide.mean(axis=0).tolist()), deviation=tuple(np.where(spread > 0, spread, 1.0).tolist())
        )

    def in_units(self, body: nn.Module) -> nn.Module:
        """A network of standard units as one of the targets' units."""
        from pipelines.recipes.rescaled import Rescaled

        return Rescaled(body, mean=self.mean, deviation=self.deviation)

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error in standard deviations of the training targets."""
        errors = scores - targets
        if self.deviation:
            errors = errors / errors.new_tensor(self.deviation)
        return errors.square().mean()

    def metrics(self, scores: Tensor, targets: Tensor) -> Mapping[str, float]:
        """`loss`, and `r2` as the mean over the targets; of one target alone also `rmse` and `mae` in its units."""
        wide, truth = scores.double(), targets.double()
        errors = wide - truth
        spread = (truth - truth.mean(dim=0)).square().sum(dim=0)
        # Validation items that are all alike leave nothing to explain: scikit-learn's convention of 0.
        r2 = (1 - errors.square().sum(dim=0) / spread).where(spread > 0, 0.0).mean()
        found = {"loss": self.loss(wide, truth), "r2": r2}
        if errors.shape[1] == 1:
            found |= {"rmse": errors.square().mean().sqrt(), "mae": errors.abs().mean()}
        return {name: value.item() for name, value in found.items()}
