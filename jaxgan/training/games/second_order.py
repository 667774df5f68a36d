"""Games that differentiate gradients, in reverse mode alone.

A product `J^T u` is the pullback of the field of gradients; `J v` is the pullback of that. Forward
mode would be cheaper, but is not defined for functions with a custom VJP.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.training.games.moves import (
  ROLES,
  Joint,
  Moves,
  Play,
  field,
  metrics_of,
  params_of,
  split,
  until_joint,
  update_both,
  with_params,
)
from jaxgan.types import Array, Batch, Key, Metrics, PyTree

if TYPE_CHECKING:
  from jaxgan.training.state import Game


class Linearised(NamedTuple):
  """A field and its Jacobian at one place.

  Attributes:
    value: the field, both gradients by role.
    auxes: what the objectives wrote and measured.
    transposed: `u -> J^T u`.
    forward: `v -> J v`.
  """

  value: PyTree
  auxes: PyTree
  transposed: Callable[[PyTree], PyTree]
  forward: Callable[[PyTree], PyTree]


def _linearise(
  moves: Moves, game: "Game", of: Callable[["Game"], tuple[PyTree, PyTree]]
) -> Linearised:
  params = params_of(game)
  value, pull, auxes = jax.vjp(lambda p: of(with_params(game, p)), params, has_aux=True)

  def forward(v: PyTree) -> PyTree:
    _, pull_back = jax.vjp(lambda u: pull(u)[0], value)
    return moves.mean(pull_back(v)[0])

  return Linearised(value, auxes, lambda u: moves.mean(pull(u)[0]), forward)


def consensus(gamma: float = 10.0) -> Play:
  """Both players also descend the squared norm of both gradients.

  Mescheder et al. 2017 (arXiv 1705.10461), algorithm 2, for losses to descend:

    w <- w - eta (F + gamma grad 1/2 |F|^2),    grad 1/2 |F|^2 = J^T F

  It costs about two passes more. It attracts to any stationary point, maxima of a player included.

  Args:
    gamma: weight, 0 or more; the paper takes 10, with a learning rate of 1e-4.

  Returns:
    A way of playing; `g_steps` must be 1.

  Raises:
    ValueError: `gamma` is negative.

  >>> play = consensus(gamma=10.0)
  """
  if gamma < 0.0:
    raise ValueError(f"gamma={gamma} must be 0 or more: the paper takes 10")

  def play(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Metrics]:
    game, joint = until_joint(moves, game, batch, key)
    at = _linearise(moves, game, lambda game: field(moves, game, joint))
    grads = _axpy(gamma, at.transposed(at.value), at.value)
    return update_both(moves, game, grads, at.auxes)

  return play


def symplectic(*, alignment: float = 0.1) -> Play:
  """Symplectic gradient adjustment: turns the field against its rotation.

  Balduzzi et al. 2018 (arXiv 1802.05642), algorithm 1, with `A = (J - J^T) / 2`:

    w <- w - eta (F + lambda A^T F),    A^T F = (J^T F - J F) / 2,
    lambda = sign(<F, h> <A^T F, h> / n + alignment),    h = J^T F

  n is the number of parameters; the sign keeps unstable points from attracting.

  Args:
    alignment: the positive number under the sign, 1/10 in the paper.

  Returns:
    A way of playing; `g_steps` must be 1.

  >>> play = symplectic()
  """

  def play(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Metrics]:
    game, joint = until_joint(moves, game, batch, key)
    at = _linearise(moves, game, lambda game: field(moves, game, joint))
    h = at.transposed(at.value)
    adjustment = jax.tree.map(lambda a, b: 0.5 * (a - b), h, at.forward(at.value))
    n = sum(x.size for x in jax.tree.leaves(h))
    sign = jnp.sign(_dot(at.value, h) * _dot(adjustment, h) / n + alignment)
    return update_both(moves, game, _axpy(sign, adjustment, at.value), at.auxes)

  return play


def competitive(learning_rate: float, *, iterations: int = 20, tolerance: float = 1e-6) -> Play:
  """Competitive gradient descent: both players move to the equilibrium of the local bilinear game.

  Schäfer and Anandkumar 2019 (arXiv 1905.12103), section 2. Each minimises its own loss to first
  order in its own move and with the mixed second derivative, plus `|move|^2 / (2 eta)`; at the Nash
  equilibrium of that game, with O the off-diagonal blocks of J,

    (I + eta O) move = -eta F

  For losses of sum zero this is the paper's `-eta (I + eta^2 D_xy D_yx)^-1 (...)`, and its
  conjugate gradients are those of the normal equations, which solve the system for two losses too.
  An iteration costs about four gradients. The players' optimisers are not used. On CPU, XLA is slow
  at gradients of convolutions inside a loop such as this solve.

  Args:
    learning_rate: eta of both players.
    iterations: most iterations of the solve.
    tolerance: relative residual at which it ends.

  Returns:
    A way of playing; `g_steps` must be 1, and of `d_steps` the first take D's optimiser.

  Raises:
    ValueError: an argument is not positive.

  >>> play = competitive(0.1)
  """
  for name, value in dict(
    learning_rate=learning_rate, iterations=iterations, tolerance=tolerance
  ).items():
    if value <= 0:
      raise ValueError(f"{name}={value} must be positive")

  def play(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Metrics]:
    game, joint = until_joint(moves, game, batch, key)
    off = _linearise(moves, game, lambda moved: _as_the_other_moves(moves, game, moved, joint))

    target = jax.tree.map(lambda f: -learning_rate * f, off.value)
    displacement = _least_squares(
      lambda u: _axpy(learning_rate, off.forward(u), u),
      lambda u: _axpy(learning_rate, off.transposed(u), u),
      target,
      iterations,
      tolerance,
    )
    for role in ROLES:
      game = moves.move(role, game, displacement[role], off.auxes[role])
    return game, metrics_of(off.auxes)

  return play


def _least_squares(
  matrix: Callable[[PyTree], PyTree],
  transposed: Callable[[PyTree], PyTree],
  target: PyTree,
  iterations: int,
  tolerance: float,
) -> PyTree:
  """Solves `M x = target` by conjugate gradients on `M^T M x = M^T target` (CGLS).

  That of `jax.scipy` cannot hold an average over devices.
  """

  def unfinished(carry: Any) -> Array:
    i, _, _, _, squared = carry
    return (i < iterations) & (squared > tolerance**2 * first)

  def iterate(carry: Any) -> Any:
    i, x, residual, direction, squared = carry
    image = matrix(direction)
    alpha = squared / _dot(image, image)
    x, residual = _axpy(alpha, direction, x), _axpy(-alpha, image, residual)
    gradient = transposed(residual)
    previous, squared = squared, _dot(gradient, gradient)
    return i + 1, x, residual, _axpy(squared / previous, direction, gradient), squared

  gradient = transposed(target)
  first = _dot(gradient, gradient)
  start = (0, jax.tree.map(jnp.zeros_like, target), target, gradient, first)
  return jax.lax.while_loop(unfinished, iterate, start)[1]


def _as_the_other_moves(
  moves: Moves, game: "Game", moved: "Game", joint: Joint
) -> tuple[PyTree, PyTree]:
  """Each player's gradient at its own parameters in `game` against its opponent in `moved`."""
  results = {}
  for role in ROLES:
    at = game.replace(**{other: getattr(moved, other) for other in ROLES if other != role})
    fakes = moves.forward(at, joint.batch, joint.keys["discriminator"])
    results[role] = moves.gradient(role, at, joint.batch, joint.keys[role], fakes)
  return split(results)


def unrolled(k: int = 5) -> Play:
  """The generator foresees k updates of the discriminator and differentiates through them.

  Metz et al. 2016 (arXiv 1611.02163), section 2:

    D^0 = D,    D^{i+1} = D^i - eta grad_D L_D(G, D^i),    G <- G - eta grad_G L_G(G, D^k(G))

  The inner updates are those of D's optimiser, from its current state, on the step's batch; D's own
  update is one ordinary one, made at the same parameters as G's. Adam's root has an infinite slope
  at a second moment of 0, the one of a dead unit's weights: give D's Adam an `eps_root`.

  Args:
    k: inner updates, 1 or more; the paper takes 5 to 10. Memory and compilation grow with it.

  Returns:
    A way of playing; `g_steps` must be 1.

  Raises:
    ValueError: `k` is below 1.

  >>> play = unrolled(k=5)
  """
  if k < 1:
    raise ValueError(f"k={k} must be 1 or more; games.simultaneous is what 0 would mean")

  def play(moves: Moves, game: "Game", batch: Batch, key: Key) -> tuple["Game", Metrics]:
    game, joint = until_joint(moves, game, batch, key)
    d_key, g_key = (joint.keys[role] for role in ROLES)

    def unroll(game: "Game", batch: Batch) -> "Game":
      for _ in range(k):
        grads, aux = moves.gradient("discriminator", game, batch, d_key)
        game = moves.update("discriminator", game, grads, aux)
      return game

    fakes = moves.forward(game, joint.batch, d_key)
    results: dict[str, tuple[PyTree, Any]] = {
      "discriminator": moves.gradient("discriminator", game, joint.batch, d_key, fakes),
      "generator": moves.gradient("generator", game, joint.batch, g_key, fakes, through=unroll),
    }
    return update_both(moves, game, *split(results))

  return play


def _axpy(a: float | Array, x: PyTree, y: PyTree) -> PyTree:
  return jax.tree.map(lambda x, y: a * x + y, x, y)


def _dot(a: PyTree, b: PyTree) -> Array:
  return jnp.sum(jnp.stack(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b))))
