"""The loop around a step: data, log, samples, checkpoints, resume."""

import contextlib
import dataclasses
import pathlib
import shlex
import signal
import sys
import time
from collections.abc import Sequence

import jax

from jaxgan import data, training
from jaxgan.metrics.health import Monitor
from jaxgan.run import description, processes
from jaxgan.run.calls import calls
from jaxgan.run.checkpoints import PIXELS, Checkpoints, Note, Ranked
from jaxgan.run.command import command_line
from jaxgan.run.config import Config, Presets, Record, parse
from jaxgan.run.ending import together
from jaxgan.run.evidence import NotFiniteError
from jaxgan.run.interruption import Interruption
from jaxgan.run.judge import Judge
from jaxgan.run.lock import locked
from jaxgan.run.logs import DivergedError, Log, Progress, Silence, Window
from jaxgan.run.measures import curves
from jaxgan.run.population import train_population
from jaxgan.run.preparation import Build, evaluator, prepare
from jaxgan.run.profile import Profile
from jaxgan.run.startup import keep_freed_memory, use_compilation_cache
from jaxgan.run.state import mesh_of, start
from jaxgan.run.writing import writing

__all__ = ["Build", "main", "train"]


def main(
  build: Build, config_type: type[Config], presets: Presets, argv: Sequence[str] | None = None
) -> None:
  """Runs an experiment from the command line; errors that a person can mend end it with a line.

  Args:
    build: from config and shape of the pictures to the system.
    config_type: the experiment's dataclass.
    presets: name of a preset to the fields that it sets.
    argv: arguments, by default the program's.
  """
  with command_line():
    config = parse(config_type, presets, argv)
    processes.connect(config)
    if config.compilation_cache:
      use_compilation_cache()
    keep_freed_memory()
    with together():
      code = (train_population if config.population else train)(build, config)
      if code == 0 and config.report and processes.is_first():
        report(config.workdir)
      sys.exit(code)


def report(workdir: str) -> None:
  """Writes `report.html` into a workdir; the run is done, so that no failure of it is one."""
  try:
    from jaxgan.run.page import write_report  # imports what training does without

    path = write_report([workdir], pathlib.Path(workdir) / "report.html")
    print(f"a report of the run: {path}", file=sys.stderr)
  except Exception as error:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    command = f"{_command()} -m experiments.report --workdir={shlex.quote(workdir)}"
    print(f"no report: {reason}; try again by: {command}", file=sys.stderr)


def train(build: Build, config: Config) -> int:
  """Trains, from the newest whole checkpoint in the workdir if there is one.

  Args:
    build: from config and shape of the pictures to the system.
    config: what the run was told.

  Returns:
    0 at the end of the run, 128 plus the signal's number if one stopped it.

  Raises:
    RunError: the workdir holds another run or is in use, the batch does not divide, or a loss is
      not finite.
    DataError: the data set cannot be read.
  """
  retry, last = 0, -1
  with Interruption() as interruption:
    while True:
      try:
        return _train(build, config, retry, interruption)
      except DivergedError as error:
        retry = retry + 1 if error.start == last else 1
        last = error.start
        if config.on_nan == "stop" or retry > _RETRIES or interruption.signal is not None:
          raise
        if processes.is_first():
          print(f"{error}\ngoing back, {retry} of {_RETRIES}", file=sys.stderr)


_ASKED = 50  # steps after which several processes ask each other for signals, if no line does
_RETRIES = 3  # from one checkpoint, after figures that are not finite


def _train(build: Build, config: Config, retry: int, interruption: Interruption) -> int:
  mesh = mesh_of(config)
  plan = prepare(build, config, mesh)
  experiment, system, dataset = plan.experiment, plan.system, plan.dataset
  evaluate = evaluator(config, dataset)(system) if config.eval_every else None

  with contextlib.ExitStack() as stack:
    if processes.is_first():
      stack.enter_context(locked(config.workdir))
    checkpoints = stack.enter_context(Checkpoints(config.workdir))
    game = start(system, config, mesh, checkpoints)
    began = step = int(game.step)
    note = Note() if checkpoints.latest is None else checkpoints.note(step)
    if retry:  # the same data, but other latents
      noise = jax.random.fold_in(game.key, retry)
      game = game.replace(key=jax.device_put(noise, training.replicated(mesh)))
    first = processes.is_first()
    if step >= config.steps:
      if first:
        said = f"{config.workdir} is at step {step}; extend it with a larger --steps"
        print(said, file=sys.stderr)
      return 0
    # Only now, so that flags whose networks do not fit the checkpoint leave the old record.
    flags = dataclasses.asdict(config)
    record = Record(experiment, flags, plan.spec, len(dataset), description.environment(mesh))
    if first:
      with writing(f"{config.workdir}/config.json"):
        record.save(config.workdir)
      description.describe(game, dataset, step, config, mesh)

    # Where D's updates change in number, the common one: of a step that nothing makes special.
    updates = system.d_steps(config.steps - 1) if callable(system.d_steps) else system.d_steps
    images = config.batch_size * updates
    progress = stack.enter_context(Progress(step, config.steps, images, shown=first))
    classes = len(plan.spec.classes) if len(plan.spec.classes) > 1 else None
    monitor = Monitor(probabilities=system.probabilities, classes=classes)
    log: Log | Silence = Silence()
    if first:
      log = stack.enter_context(Log(config.workdir, step, monitor, progress.say, note.lines))
    log.hyperparameters(flags)
    judge = Judge(system, config, dataset, log)
    batches = stack.enter_context(
      data.Batches(
        dataset,
        batch_size=config.batch_size,
        groups=system.d_steps,
        seed=config.seed,
        flip=config.flip,
        sharding=training.batch_sharding(mesh),
        workers=config.workers,
      )
    )
    window = Window(lambda: batches.wait_seconds, note.pending)
    profile = stack.enter_context(Profile(config, step, progress.say))

    def scored() -> Ranked:
      if evaluate is None:
        return Ranked(PIXELS, judge.score(game))
      try:
        scores = evaluate(game)
      except NotFiniteError as error:
        raise DivergedError(f"the samples are not finite at step {step}") from error
      log.scores(step, scores)
      judge.watch(game, curves(scores))
      progress.say("\n".join(str(each) for each in scores))
      return evaluate.ranked(scores)

    def reported() -> None:
      if system.report is None or (evaluate is None and step < config.steps):
        return
      figures = dict(system.report(processes.local(game)))
      if figures:
        log.scalars(step, figures)
        progress.say(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    progress.say("compiling the first step, which can take minutes unless it is in the cache")
    started = time.perf_counter()

    try:
      if note.owed:
        checkpoints.rank(step, scored())
        reported()
      for steps, call in calls(system, mesh, batches, step, config.steps, config.steps_per_call):
        if profile.begins(step, steps):
          with window.paused():
            profile.start(game)
        with profile.step(step):
          game, metrics = call(game)
        window.add(metrics, steps)
        if started:
          jax.block_until_ready(metrics)
          seconds = time.perf_counter() - started
          which = "first step" if steps == 1 else f"first {steps} steps"
          progress.say(f"{which} after {seconds:.1f} s, most of it compilation")
          window.restart()
          progress.restart()
          started = 0.0
        step += steps
        progress.advance(steps)
        if profile.ends(step):
          with window.paused():
            profile.stop(game)

        last = step == config.steps
        stopping = interruption.signal is not None
        if jax.process_count() > 1:  # they stop together, soon enough
          asked = step // _ASKED > (step - steps) // _ASKED or step % config.log_every == 0
          stopping = asked and processes.agree(stopping)
        if last or step % config.log_every == 0:
          values = window.means(step)
          log.scalars(step, values)
          progress.show(values)
        if last or step % config.sample_every == 0:
          with window.paused():
            judge.draw(game)
            if last:
              judge.walk(game)
        due = last or step % (config.eval_every or config.checkpoint_every) == 0
        if due or stopping or step % config.checkpoint_every == 0:
          with window.paused():
            window.check(step)
            # Whoever sends a signal may not wait long: the state is safe, the next start scores it.
            owed = due and stopping and not last
            score = scored() if due and not owed else None
            try:
              if due and not owed:
                reported()
            finally:  # also where the report, which is not the loop's own, fails
              checkpoints.save(game, score, Note(window.pending(), log.lines, owed))
        if last or stopping:
          break
    except DivergedError as error:
      bad = description.first_bad(game, error.player)
      raise DivergedError(f"{error.what}{bad}", error.player, began) from error
    log.flush()

  if stopping and step < config.steps:
    command = shlex.join([_command(), "-m", experiment, *sys.argv[1:]])
    if first:
      print(f"stopped and saved at step {step}; go on with: {command}", file=sys.stderr)
    return 128 + int(interruption.signal or signal.SIGTERM)
  if first:
    print(
      f"done: {step} steps, samples in {pathlib.Path(config.workdir) / 'samples'}, more by: "
      f"{_command()} -m experiments.sample --workdir={shlex.quote(config.workdir)}",
      file=sys.stderr,
    )
  return 0


def _command() -> str:
  return pathlib.Path(sys.executable).name
