"""A population of runs in one program: `--population=8 --vary learning-rate=1e-4,2e-4`.

Each member is the run that its own flags would start, up to rounding, and keeps its log and samples
in a folder of its own, `members/0` and so on, with which TensorBoard compares them. The workdir's
own log has their mean and spread, and its checkpoints hold all members.

Past 300 lines because the loop of a population is told from its start to its end.
"""

import contextlib
import dataclasses
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data, training
from jaxgan.metrics.health import Monitor
from jaxgan.run import description
from jaxgan.run.calls import spans
from jaxgan.run.checkpoints import Checkpoints, Note, Ranked
from jaxgan.run.config import Config, Record, RunError
from jaxgan.run.interruption import Interruption
from jaxgan.run.lock import locked
from jaxgan.run.logs import Log, Progress
from jaxgan.run.members import Member, members_of, scalar_build
from jaxgan.run.preparation import Build, Plan, evaluator, prepare
from jaxgan.run.profile import Profile
from jaxgan.run.ranking import append_ranking, ranking_table
from jaxgan.run.reports import Report
from jaxgan.run.writing import writing
from jaxgan.training import Game
from jaxgan.types import Array, ImageSpec

__all__ = ["Population", "train_population"]

_LARGEST = 1 << 30  # bytes of pictures that are put on a device
_AHEAD = 2  # calls handed to the device ahead of the one that is waited for


class Population:
  """The state of all members: made, or read back.

  Args:
    build: from config and shape of the pictures to the system.
    config: of the population.
    spec: shape of the pictures.
    mesh: devices, from `training.population_mesh`.

  Raises:
    RunError: what varies decides more than numbers.
  """

  def __init__(
    self, build: Build, config: Config, spec: ImageSpec, mesh: jax.sharding.Mesh
  ) -> None:
    self.members = members_of(config)
    self.system = training.varied(scalar_build(build, config, spec), self.members[0].values)
    with _numbers_only(config):
      shapes = jax.eval_shape(lambda: training.stack([self._first()] * len(self.members)))
    self._sharding = training.population_sharding(shapes, mesh)
    self.abstract = jax.tree.map(
      lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
      shapes,
      self._sharding,
    )

  def start(self, saved: Checkpoints) -> Game:
    """The newest checkpoint, or new games if there is none."""
    if saved.latest is not None:
      return saved.restore_newest(self.abstract)
    init = jax.jit(self.system.init)
    games = [init(jax.random.key(each.seed), _scalars(each)) for each in self.members]
    return jax.device_put(training.stack(games), self._sharding)

  def _first(self) -> Game:
    return self.system.init(jax.random.key(self.members[0].seed), _scalars(self.members[0]))


def train_population(build: Build, config: Config) -> int:
  """Trains `config.population` runs side by side, from the newest whole checkpoint if there is one.

  Args:
    build: from config and shape of the pictures to the system.
    config: what the population was told.

  Returns:
    0 at the end, 128 plus the signal's number if one stopped it.

  Raises:
    RunError: as `train` raises it; or the members cannot be told apart, the flags that vary decide
      more than numbers, the pictures are too many to lie on a device, or all members diverged.
    DataError: the data set cannot be read.
  """
  members = members_of(config)
  mesh = training.population_mesh(len(members))
  plan = prepare(build, config, mesh)
  if plan.system.step_at is not None:
    raise RunError(
      f"--population={config.population}: the step of {plan.experiment} changes in training, which "
      "populations do not follow: start its runs one by one"
    )
  images, beside = plan.dataset.images, dict(plan.dataset.beside)
  if plan.dataset.unpaired:
    raise RunError(
      f"--population={config.population} takes one set of pictures, or pairs, and these are two "
      "sets without pairs: start the runs one by one"
    )
  if images is None or images.nbytes > _LARGEST:
    raise RunError(
      f"--population={config.population} keeps its pictures on the device, but those of "
      f"--dataset={config.dataset} are more than {_LARGEST >> 30} GiB: take a smaller "
      "--resolution, or the first ones by --limit"
    )
  population = Population(build, config, plan.spec, mesh)
  play = training.population_parallel(
    population.system.step,
    len(members),
    mesh,
    lambda source, row: data.assemble(*source[:2], *row, beside=source[2]),
  )
  source = jax.device_put((images, plan.dataset.labels, beside), training.replicated(mesh))
  order = _Order(config, plan, members)
  with _numbers_only(config):
    figures = jax.eval_shape(play, population.abstract, source, order(0, 1))[1]
  evaluators = evaluator(config, plan.dataset) if config.eval_every else None

  with contextlib.ExitStack() as stack:
    interruption = stack.enter_context(Interruption())
    stack.enter_context(locked(config.workdir))
    checkpoints = stack.enter_context(Checkpoints(config.workdir))
    game = population.start(checkpoints)
    step = int(game.step)
    if step >= config.steps:
      said = f"{config.workdir} is at step {step}; extend it with a larger --steps"
      print(said, file=sys.stderr)
      return 0
    flags, where = dataclasses.asdict(config), description.environment(mesh)
    with writing(f"{config.workdir}/config.json"):
      Record(plan.experiment, flags, plan.spec, len(plan.dataset), where).save(config.workdir)
    description.describe(training.member(game, 0), plan.dataset, step, config, mesh)
    print(f"{len(members)} members, in {config.workdir}/members", file=sys.stderr)

    images_per_step = len(members) * config.batch_size * _updates(plan, config.steps - 1)
    progress = stack.enter_context(Progress(step, config.steps, images_per_step))
    note = Note() if checkpoints.latest is None else checkpoints.note(step)
    if note.pending and note.pending.keys() != figures.keys():
      raise RunError(
        f"checkpoint {step} in {config.workdir} notes figures of another program, "
        f"{', '.join(note.pending)}: take the version of the run, or another workdir"
      )
    log = stack.enter_context(Log(config.workdir, step, Monitor(checks=()), lines=note.lines))
    log.hyperparameters(flags)
    reports = []
    for index, member in enumerate(members):
      lines = note.logged[index] if note.logged else None
      report = Report(build, config, plan, member, index, step, progress.say, lines)
      report.alive = index not in note.lost
      reports.append(stack.enter_context(report))
      if evaluators is not None:
        report.evaluator = evaluators(report.system)

    pending: list[Mapping[str, Array]] = []
    if note.pending:  # what the log had not got when the last start was stopped
      pending.append({name: jnp.asarray(column) for name, column in note.pending.items()})

    def scored() -> Ranked | None:
      found = [
        report.score(training.member(game, report.index)) if report.alive else None
        for report in reports
      ]
      append_ranking(config.workdir, step, members, found)
      return min(filter(None, found), key=lambda each: each.value, default=None)

    def reported() -> None:
      if evaluators is not None or step == config.steps:
        for report in reports:
          if report.alive:
            report.figures(training.member(game, report.index))

    if note.owed:
      if (best := scored()) is not None:
        checkpoints.rank(step, best)
      reported()
    profile = stack.enter_context(Profile(config, step, progress.say))
    started = time.perf_counter()
    clock, since = started, step
    for steps in spans(plan.system, step, config.steps, config.steps_per_call):
      if profile.begins(step, steps):
        profile.start(game)
      with profile.step(step):
        game, metrics = play(game, source, order(step, steps))
      pending.append(metrics)
      if len(pending) > _AHEAD:
        jax.block_until_ready(pending[-1 - _AHEAD])
      if started:
        jax.block_until_ready(metrics)
        clock = time.perf_counter()
        which = "first step" if steps == 1 else f"first {steps} steps"
        progress.say(f"{which} after {clock - started:.1f} s, most of it compilation")
        progress.restart()
        since, started = step + steps, 0.0
      step += steps
      progress.advance(steps)
      if profile.ends(step):
        profile.stop(game)

      last, stopping = step == config.steps, interruption.signal is not None
      if last or step % config.log_every == 0:
        columns = {name: column.mean(0) for name, column in _columns(pending).items()}
        for report in reports:
          report.take(step, {name: float(column[report.index]) for name, column in columns.items()})
        values = _spread(columns)
        if step > since:
          values["steps_per_second"] = (step - since) / max(time.perf_counter() - clock, 1e-9)
        log.scalars(step, values)
        progress.show(values)
        pending, since = [], step
      alive = [report for report in reports if report.alive]
      if not alive:
        raise _all_lost(len(members), step)
      if last or step % config.sample_every == 0:
        for report in alive:
          report.judge.draw(training.member(game, report.index))
      due = last or step % (config.eval_every or config.checkpoint_every) == 0
      if due or stopping or step % config.checkpoint_every == 0:
        left = {name: column.tolist() for name, column in _columns(pending).items()}
        for report in reports:
          report.check(step, {name: np.array(left[name])[:, report.index] for name in left})
        # Whoever sends a signal may not wait long: the state is safe, the next start scores it.
        owed = due and stopping and not last
        best = scored() if due and not owed else None
        lost = [report.index for report in reports if not report.alive]
        if len(lost) == len(reports):
          raise _all_lost(len(lost), step)
        try:
          if due and not owed:
            reported()
        finally:  # also where a report, which is not the loop's own, fails
          logged = [report.lines for report in reports]
          checkpoints.save(game, best, Note(left, log.lines, owed, lost, logged))
      if since == step:  # what was done beside the steps does not count
        clock = time.perf_counter()
      if last or stopping:
        break
    log.flush()

  if stopping and step < config.steps:
    print(f"stopped and saved at step {step}; the same command goes on", file=sys.stderr)
    return 128 + int(interruption.signal or signal.SIGTERM)
  print(ranking_table(config.workdir, step))
  print(
    f"done: {step} steps of {len(members)} members; take one out by: python -m "
    f"experiments.population --workdir={shlex.quote(config.workdir)} --out=...",
    file=sys.stderr,
  )
  return 0


def _all_lost(count: int, step: int) -> RunError:
  return RunError(
    f"all {count} members have diverged by step {step}, and this is not saved: the same command "
    "goes on from the last checkpoint; in another workdir, take smaller learning rates"
  )


@contextlib.contextmanager
def _numbers_only(config: Config) -> Iterator[None]:
  """Says what is wrong where a traced scalar decides what is built."""
  try:
    yield
  except jax.errors.ConcretizationTypeError as error:
    raise RunError(
      f"--vary={' '.join(config.vary)}: the experiment decides by such a value what it builds, so "
      "its runs cannot share a program: start them one by one"
    ) from error


class _Order:
  """The rows of steps: of each member those of its seed's order."""

  def __init__(self, config: Config, plan: Plan, members: Sequence[Member]) -> None:
    self._flip = config.flip
    self._schedules = [
      data.Schedule(each.seed, len(plan.dataset), plan.system.d_steps, config.batch_size)
      for each in members
    ]

  def __call__(self, step: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and flips `[steps, members, d_steps, B]`."""
    span = range(step, step + steps)
    indices = np.stack([[each.records(at) for each in self._schedules] for at in span])
    if not self._flip:
      return indices, np.zeros(indices.shape, bool)
    return indices, np.stack([[each.flips(at) for each in self._schedules] for at in span])


def _scalars(member: Member) -> dict[str, Array]:
  return {name: jnp.asarray(value) for name, value in member.values.items()}


def _updates(plan: Plan, step: int) -> int:
  return plan.system.d_steps(step) if callable(plan.system.d_steps) else plan.system.d_steps


def _columns(calls: Sequence[Mapping[str, Array]]) -> dict[str, np.ndarray]:
  """Of each metric, its values `[steps, members]`."""
  whole = jax.device_get(list(calls))
  return (
    {name: np.concatenate([call[name] for call in whole]) for name in whole[0]} if whole else {}
  )


def _spread(columns: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Mean and standard deviation over the members that have numbers still."""
  whole = np.isfinite(np.stack(list(columns.values()))).all(0)
  values = {}
  for name, column in columns.items():
    if whole.any():
      values[name] = float(column[whole].mean())
      values[f"{name}_std"] = float(column[whole].std())
  return {**values, "diverged": float((~whole).sum())}
