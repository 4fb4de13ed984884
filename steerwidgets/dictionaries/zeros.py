"""Where the scale of a projection begins: what tokens of texts without the feature give.

`h·v` has no zero of its own. All residuals of a block share a large common part, so a direction's projection of any
text at all may be far from 0, and what is above 0 says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

SHARE: Final = 0.95
"""Of the tokens of texts without a feature so many lie at or below its zero: such texts stay nearly uncoloured."""

ZERO_OF: Final = "95th percentile of tokens of held-out texts without it"
"""What `zeros` gives, as a reader sees it."""

_HIGH: Final = 0.995
_LEAST: Final = 20
"""Of fewer tokens a 95th percentile is one token's value."""


def zeros(values: Tensor, without: Tensor) -> Tensor:
    """The activation of each feature that says nothing.

    Args:
        values: float32 [token, feature].
        without: bool [token, feature], whether the token's text is one without the feature.

    Returns:
        float32 [feature]; NaN where there are fewer than 20 such tokens.
    """
    import torch

    columns = (values[without[:, index], index].float() for index in range(values.shape[1]))
    return torch.tensor([float(own.quantile(SHARE)) if len(own) >= _LEAST else torch.nan for own in columns])


def highs(values: Tensor, zero: Tensor) -> Tensor:
    """The 99.5th percentile of each feature where it is above its zero: where its colour ends.

    Args:
        values: float32 [token, feature].
        zero: float32 [feature].

    Returns:
        float32 [feature]; NaN where nothing is above.
    """
    import torch

    columns = (values[values[:, index] > zero[index], index].float() for index in range(values.shape[1]))
    return torch.tensor([float(own.quantile(_HIGH)) if len(own) else torch.nan for own in columns])
