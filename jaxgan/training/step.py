"""The training step of a game: the only place with gradients, optimisers and averages.

Past 300 lines because it is one closure over its options, whose documentation is a quarter of it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan.training import games
from jaxgan.training.state import Game, Player
from jaxgan.types import Array, Batch, Key, Metrics, PyTree

__all__ = ["Aux", "Forward", "Lazy", "Objective", "Step", "make_train_step"]


class Aux(NamedTuple):
  """What an objective returns beside its loss.

  Attributes:
    variables: collections of the player that it has rewritten, `{}` for none.
    metrics: scalars to log.
    extra: entries of `Game.extra` that it has rewritten; equal on all devices.
  """

  variables: Mapping[str, PyTree] = {}
  metrics: Mapping[str, Array] = {}
  extra: Mapping[str, PyTree] = {}


# Of the step's key, of which updates fold in small numbers.
_LAZY = 2**31

Objective = Callable[[PyTree, Game, Batch, Key], tuple[Array, Any]]
Forward = Callable[[PyTree, Game, Batch, Key], tuple[Batch, Any]]


class Lazy(NamedTuple):
  """An objective with an update of its own at every k-th step (lazy regularisation).

  Attributes:
    objective: in the form of a player's own; it may rewrite `Game.extra` but no collections.
    every: k; the steps that k divides, the first among them, take it.
  """

  objective: Objective
  every: int


Step = Callable[[Game, Batch], tuple[Game, Metrics]]


def make_train_step(
  d_objective: Objective,
  g_objective: Objective,
  *,
  forward: Forward | None = None,
  d_lazy: Lazy | None = None,
  g_lazy: Lazy | None = None,
  d_steps: int | None = 1,
  g_steps: int = 1,
  play: games.Play = games.alternating,
  ema_decay: float | Array | Callable[[Array], Array] = 0.999,
  accumulate: int = 1,
  axis_name: str | None = None,
) -> Step:
  """Builds the step `(game, batch) -> (game, metrics)`.

  Args:
    d_objective: discriminator's objective, `(params, game, batch, key) -> (loss, Aux)`; `params`
      are the ones being differentiated, `game` is the whole state.
    g_objective: the generator's, in the same form.
    forward: the part of both objectives that depends on the generator alone,
      `(g_params, game, batch, key) -> (entries, Aux)`. Where `play` has both players judge the same
      fakes, it runs once, the objectives find its entries in their batch, and the generator's
      gradient flows back through it. (Compilers merge two such passes by luck, and never across
      the collectives of a batch norm.) None if the generator's step draws fakes of its own.
    d_lazy: the discriminator's regulariser with updates of its own, after those of both players, by
      the same optimiser (see `jaxgan.penalties.lazy_adam`) and on the last batch: Karras et al.
      2019 (arXiv 1912.04958), appendix B. Steps that do not take it pay nothing. Its metrics are 0
      there; its gradient is not part of the logged norms, and the moving average sees what it has
      changed after the player's next own update.
    g_lazy: the generator's.
    d_steps: discriminator updates a step, each with a batch of its own; None for as many as the
      batch has (each number is compiled once), for games whose number changes in training.
    g_steps: generator updates a step.
    play: how the two gradients become updates; see `jaxgan.training.games`.
    ema_decay: decay of a player's moving average per update, if it keeps one. It ramps up as
      `min(ema_decay, (1 + t) / (10 + t))` over the updates t, so that early averages forget the
      initial weights. Or a function of the updates, such as `ramped_decay(0.9978, 0.05)`.
    accumulate: pieces that each batch is taken in, one after another, before its update: large
      batches in the memory of small ones (Brock et al. 2018 train with 2048). Batch statistics are
      those of a piece, which with several devices has rows of each, and gradients and metrics the
      means over all. The players then share no
      fakes, and ways of playing that differentiate the other's gradient are refused.
    axis_name: the mapped axis over which the batch is split, if any.

  Returns:
    A pure function. Its batch has leading axes `[d_steps, B, ...]`; the generator's objective sees
    the last of the `d_steps` batches. Metrics are those of the objectives, averaged over the
    devices, and `grad_norm_D` and `grad_norm_G`, the Euclidean norms of the players' gradients.

  Raises:
    ValueError: a count or the decay is out of range.
  """
  if (d_steps is not None and d_steps < 1) or g_steps < 1:
    raise ValueError(f"d_steps={d_steps} and g_steps={g_steps} must be at least 1")
  if accumulate < 1:
    raise ValueError(f"accumulate={accumulate} must be at least 1, which takes batches whole")
  lazy = {"discriminator": d_lazy, "generator": g_lazy}
  for role, each in lazy.items():
    if each is not None and each.every < 1:
      raise ValueError(f"{role[0]}_lazy.every={each.every} must be 1 or more")
  if isinstance(ema_decay, float | int) and not 0.0 <= ema_decay < 1.0:
    raise ValueError(f"ema_decay={ema_decay} must be in [0, 1)")

  objectives = {"discriminator": d_objective, "generator": g_objective}

  def run_forward(game: Game, batch: Batch, key: Key) -> games.Fakes | None:
    if forward is None or accumulate > 1:
      return None
    varying = _varying(game, axis_name)

    def entries_of(params: PyTree) -> tuple[Batch, Aux]:
      entries, aux = forward(params, varying, batch, key)
      return entries, Aux(*aux)

    entries, pull, aux = jax.vjp(entries_of, varying.generator.params, has_aux=True)
    return games.Fakes(entries, pull, aux)

  def whole(
    role: str,
    game: Game,
    batch: Batch,
    key: Key,
    fakes: games.Fakes | None = None,
    through: Callable[[Game, Batch], Game] | None = None,
    objectives: Mapping[str, Objective] = objectives,
  ) -> tuple[PyTree, Aux]:
    varying = _varying(game, axis_name)
    player = getattr(varying, role)
    entries = {} if fakes is None else fakes.entries

    def objective(params: PyTree, entries: Batch) -> tuple[Array, Aux]:
      whole = {**batch, **entries}
      at = varying
      if through is not None:
        at = through(varying.replace(**{role: player.replace(params=params)}), whole)
      value, aux = objectives[role](params, at, whole, key)
      return value, Aux(*aux)

    if fakes is None or role == "discriminator":
      grads, aux = jax.grad(objective, has_aux=True)(player.params, entries)
    else:
      (grads, cotangent), aux = jax.grad(objective, (0, 1), has_aux=True)(player.params, entries)
      (rest,) = fakes.pull(cotangent)
      grads = jax.tree.map(jnp.add, grads, rest)
      aux = Aux(
        {**fakes.aux.variables, **aux.variables},
        {**fakes.aux.metrics, **aux.metrics},
        {**fakes.aux.extra, **aux.extra},
      )
    return grads, aux

  def in_pieces(
    role: str,
    game: Game,
    batch: Batch,
    key: Key,
    objectives: Mapping[str, Objective] = objectives,
  ) -> tuple[PyTree, Aux]:
    size = len(next(iter(batch.values())))
    if size % accumulate:
      raise ValueError(f"accumulate={accumulate} must divide the batch of a device, {size}")

    gradients, auxes = [], []
    # Written out: XLA's convolutions are slow in loops on a CPU, and pieces are few.
    for i in range(accumulate):
      rows = slice(i * size // accumulate, (i + 1) * size // accumulate)
      piece = jax.tree.map(lambda x, rows=rows: x[rows], dict(batch))
      piece_key = jax.random.fold_in(key, i)
      grads, aux = whole(role, game, piece, piece_key, objectives=objectives)
      player = getattr(game, role)
      collections = {**player.collections, **aux.variables}
      players = {role: player.replace(collections=collections)}
      game = game.replace(**players, extra={**game.extra, **aux.extra})
      gradients.append(grads)
      auxes.append(aux)

    def mean(*values: Array) -> Array:
      return jnp.asarray(sum(values)) / accumulate

    metrics = jax.tree.map(mean, *(aux.metrics for aux in auxes))
    kept = Aux(auxes[-1].variables, metrics, auxes[-1].extra)
    return jax.tree.map(mean, *gradients), kept

  def gradient(
    role: str,
    game: Game,
    batch: Batch,
    key: Key,
    fakes: games.Fakes | None = None,
    through: Callable[[Game, Batch], Game] | None = None,
  ) -> tuple[PyTree, Aux]:
    if accumulate == 1:
      grads, aux = whole(role, game, batch, key, fakes, through)
    elif fakes is None and through is None:
      grads, aux = in_pieces(role, game, batch, key)
    else:
      raise ValueError(
        f"accumulate={accumulate} does not go with players that share fakes: take games.alternating"
      )
    with jax.named_scope(f"reduce_gradients_{role}"):
      grads = _mean(grads, axis_name)
    with jax.named_scope("reduce_collections"):
      aux = aux._replace(variables=_settled(dict(aux.variables), axis_name))
    norm = {f"grad_norm_{role[0].upper()}": _norm(grads)}
    return grads, aux._replace(metrics={**aux.metrics, **norm})

  def optimised(role: str, game: Game, grads: PyTree) -> tuple[Game, PyTree]:
    player: Player = getattr(game, role)
    updates, opt_state = player.tx.update(grads, player.opt_state, player.params)
    return game.replace(**{role: player.replace(opt_state=opt_state)}), updates

  def update(role: str, game: Game, grads: PyTree, aux: Aux) -> Game:
    game, updates = optimised(role, game, grads)
    return move(role, game, updates, aux)

  def move(role: str, game: Game, displacement: PyTree, aux: Aux) -> Game:
    player: Player = getattr(game, role)
    player = player.replace(
      step=player.step + 1,
      params=optax.apply_updates(player.params, displacement),
      collections={**player.collections, **aux.variables},
    )
    if player.average is not None:
      player = player.replace(average=_averaged(player, ema_decay))
    return game.replace(**{role: player}, extra={**game.extra, **aux.extra})

  def regularized(role: str, game: Game, batch: Batch, key: Key) -> tuple[Game, Metrics]:
    term = lazy[role]
    if term is None:
      return game, {}

    def taken(game: Game) -> tuple[Game, Metrics]:
      form = whole if accumulate == 1 else in_pieces
      grads, aux = form(role, game, batch, key, objectives={role: term.objective})
      with jax.named_scope(f"reduce_gradients_{role}"):
        grads = _mean(grads, axis_name)
      # Neither a step of the player's own nor one of its average.
      game, updates = optimised(role, game, grads)
      player: Player = getattr(game, role)
      player = player.replace(params=optax.apply_updates(player.params, updates))
      game = game.replace(**{role: player}, extra={**game.extra, **aux.extra})
      return game, _mean(dict(aux.metrics), axis_name)

    def skipped(game: Game) -> tuple[Game, Metrics]:
      shapes = jax.eval_shape(taken, game)[1]
      return game, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return jax.lax.cond(game.step % term.every == 0, taken, skipped, game)

  def average(tree: PyTree) -> PyTree:
    return _mean(tree, axis_name)

  def step(game: Game, batch: Batch) -> tuple[Game, Metrics]:
    count = len(next(iter(batch.values()))) if d_steps is None else d_steps
    for name, value in batch.items():
      if value.shape[:1] != (count,):
        raise ValueError(
          f"batch[{name!r}] has shape {value.shape}; its first axis must be d_steps={count}"
        )
    key = jax.random.fold_in(game.key, game.step)
    moves = games.Moves(run_forward, gradient, update, move, average, count, g_steps)
    game, metrics = play(moves, game, batch, key)
    with jax.named_scope("reduce_metrics"):
      metrics = _mean(dict(metrics), axis_name)
    last = jax.tree.map(lambda x: x[-1], dict(batch))
    for i, role in enumerate(lazy):
      lazy_key = jax.random.fold_in(key, _LAZY + i)
      game, more = regularized(role, game, last, lazy_key)
      metrics = {**metrics, **more}
    return game.replace(step=game.step + 1), metrics

  return step


def _varying(game: Game, axis_name: str | None) -> Game:
  """The same game with parameters that differ, as far as types tell, between the devices.

  Differentiating with respect to such parameters gives each device the gradient of its own mean,
  so that one `pmean` averages all; otherwise the sum over devices is inserted by differentiation,
  and a later mean returns N times the gradient.
  """
  if axis_name is None or axis_name not in jax.sharding.get_abstract_mesh().manual_axes:
    return game  # no axis, or that of a `vmap`, which differentiates each device's own mean

  def cast(x: Array) -> Array:
    if _varies(x, axis_name):
      return x  # inside another gradient they vary already
    return jax.lax.pcast(x, axis_name, to="varying")

  players = {
    role: getattr(game, role).replace(params=jax.tree.map(cast, getattr(game, role).params))
    for role in ("discriminator", "generator")
  }
  return game.replace(**players)


def _varies(x: Array, axis_name: str) -> bool:
  aval = jax.typeof(x)
  named = getattr(aval, "manual_axis_type", None)  # jax 0.10; before, the axes alone
  return axis_name in (aval.vma if named is None else named.varying)


def _settled(tree: PyTree, axis_name: str | None) -> PyTree:
  """Collections whose type says that they vary over the devices, as equal as they are.

  What a layer makes of its parameters alone (the vectors of spectral norm) is the same everywhere,
  but the parameters were cast to varying.
  """
  if axis_name is None:
    return tree
  leaves, structure = jax.tree.flatten(tree)
  varying = [i for i, leaf in enumerate(leaves) if _varies(leaf, axis_name)]
  means = _mean([leaves[i] for i in varying], axis_name)
  for i, mean in zip(varying, means, strict=True):
    leaves[i] = mean
  return jax.tree.unflatten(structure, leaves)


def _mean(tree: PyTree, axis_name: str | None) -> PyTree:
  return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def _norm(tree: PyTree) -> Array:
  squares = (jnp.square(x.astype(jnp.float32)).sum() for x in jax.tree.leaves(tree))
  return jnp.sqrt(jnp.asarray(sum(squares)))


def _averaged(player: Player, decay: float | Array | Callable[[Array], Array]) -> PyTree:
  t = jnp.asarray(player.step, jnp.float32)
  weight = decay(t) if callable(decay) else jnp.minimum(decay, (1.0 + t) / (10.0 + t))

  def mix(old: Array, new: Array) -> Array:
    return (old + (1.0 - weight) * (new - old)).astype(old.dtype)

  mixed = jax.tree.map(mix, player.average, player.variables)
  # What is a moving average already does not want another.
  return {**mixed, **{k: v for k, v in player.variables.items() if k == "averages"}}
