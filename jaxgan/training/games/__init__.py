"""How the gradients of two players become their updates: `make_train_step(..., play=...)`.

With `F = (grad_D L_D, grad_G L_G)` the field of both gradients and `J` its Jacobian:

  alternating        D moves, then G against the moved D
  simultaneous       both move by F
  extragradient      both move by F where F would have led them; `past_extragradient` at half cost
  consensus          both move by `F + gamma J^T F`
  symplectic         both move by `F + lambda A^T F`, A the antisymmetric part of J
  competitive        both move to the equilibrium of the local bilinear game
  unrolled           G foresees k updates of D
  lookahead          any of these, both players drawn back every k steps

Optimistic descent is an optimiser and not a game: `simultaneous`, with both players on
`optax.optimistic_gradient_descent` or `optax.optimistic_adam_v2`. `top_k` changes the loss.
"""

from jaxgan.training.games.first_order import (
  alternating,
  extragradient,
  lookahead,
  past_extragradient,
  simultaneous,
)
from jaxgan.training.games.moves import Fakes, Moves, Play, Remembering, begin
from jaxgan.training.games.second_order import competitive, consensus, symplectic, unrolled
from jaxgan.training.games.top_k import top_k

__all__ = [
  "Fakes",
  "Moves",
  "Play",
  "Remembering",
  "alternating",
  "begin",
  "competitive",
  "consensus",
  "extragradient",
  "lookahead",
  "past_extragradient",
  "simultaneous",
  "symplectic",
  "top_k",
  "unrolled",
]
