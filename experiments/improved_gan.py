"""Improved techniques for training GANs: Salimans et al. 2016 (arXiv 1606.03498).

Each technique by its flag, or all by `--all-techniques`:

  python -m experiments.improved_gan --workdir=/tmp/all --all-techniques
  python -m experiments.improved_gan --workdir=/tmp/semi --labels=100 --dataset=mnist

With `--labels` the discriminator becomes a classifier (section 5), which learns from so many
labelled pictures and from the others without their labels; its test error is printed.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from experiments import choices, labelled_pictures
from jaxgan import latents, losses, models, regularizers, run, training
from jaxgan.training import Game, objectives
from jaxgan.types import AdversarialLoss, Array, Batch, ImageSpec


@dataclasses.dataclass(frozen=True)
class Config(run.Config):
  """Flags of the improved techniques."""

  batch_size: run.Count = 100
  adam_b1: run.Decay = 0.5
  """Decay of Adam's first moment."""
  latent_dim: run.Width = 100
  """Dimensions of the latent."""
  feature_matching: bool = False
  """Section 3.1: G matches the mean features of D instead of deceiving it."""
  minibatch_discrimination: bool = False
  """Section 3.2: D sees how near each example is to the others of its batch."""
  historical_averaging: run.Weight = 0.0
  """Section 3.3: weight of the distance of each player's parameters from their past mean."""
  label_smoothing: float = 0.0
  """Section 3.4: what is taken off D's target for real pictures; the paper's is 0.1."""
  virtual_batch_norm: run.Size = 0
  """Section 3.5: examples of G's reference batch; 0 for plain batch norm."""
  all_techniques: bool = False
  """All five, with the paper's smoothing and a reference batch of 64."""
  labels: run.Size = 0
  """Labelled pictures of semi-supervised learning, spread evenly over the classes; 0 for none.
  Its networks are the paper's perceptrons for MNIST, with feature matching, and take none of the
  flags above nor `--width`; the paper's learning rate for them is 0.003."""

  def __post_init__(self) -> None:
    """Refuses values that no run can have; `--all-techniques` sets the others."""
    super().__post_init__()
    if self.all_techniques:
      every = dict(
        feature_matching=True,
        minibatch_discrimination=True,
        historical_averaging=self.historical_averaging or 1e-3,
        label_smoothing=self.label_smoothing or 0.1,
        virtual_batch_norm=self.virtual_batch_norm or 64,
      )
      for name, value in every.items():
        object.__setattr__(self, name, value)
    techniques = (
      "feature_matching",
      "minibatch_discrimination",
      "historical_averaging",
      "label_smoothing",
      "virtual_batch_norm",
    )
    if self.labels and (given := [name for name in techniques if getattr(self, name)]):
      raise run.RunError(
        f"--labels={self.labels} has networks of its own, without "
        f"--{given[0].replace('_', '-')}: give one of the two"
      )
    if not 0.0 <= self.label_smoothing < 0.5:
      raise run.RunError(f"--label-smoothing={self.label_smoothing} must be in [0, 0.5)")


PRESETS: run.Presets = {
  "quick": {},
  "measured": dict(dataset="fashion_mnist", width=16, batch_size=64),
  "paper": dict(
    dataset="cifar10",
    width=128,
    learning_rate=3e-4,
    steps=600_000,
    minibatch_discrimination=True,
    label_smoothing=0.1,
    virtual_batch_norm=64,
  ),
}


def history(weight: float, role: str) -> objectives.Term:
  """The distance of a player's parameters from their mean over all past updates."""

  def term(batch: Batch, game: Game) -> Array:
    params = getattr(game, role).params
    return weight * regularizers.historical_averaging(params, game.extra["history"][role])

  return term


def remember(batch: Batch, game: Game) -> Mapping[str, Any]:
  """The means, with the current parameters in them."""
  past, share = game.extra["history"], 1.0 / (game.step + 1)
  now = {role: getattr(game, role).params for role in past}
  # Parameters are equal on all devices; the mean tells the compiler so.
  return {"history": jax.lax.pmean(optax.incremental_update(now, past, share), training.AXIS)}


def matching(batch: Batch, game: Game) -> Array:
  """Distance of the mean features of real pictures and of fakes."""
  real, fake = batch["real_output"].features, batch["fake_output"].features
  return losses.feature_matching(real, fake, axis_name=training.AXIS)


def build(config: Config, spec: ImageSpec) -> training.System:
  """The system of a config for pictures of a shape."""
  return semi_supervised(config, spec) if config.labels else unsupervised(config, spec)


def unsupervised(config: Config, spec: ImageSpec) -> training.System:
  """A DCGAN with the techniques that the config asks for."""
  resolution, _, channels = spec.shape
  options = dict(width=config.width, dtype=config.jax_dtype, axis_name=training.AXIS)
  generator = models.improved.Generator(
    resolution,
    channels,
    reference_size=config.virtual_batch_norm,
    reference_init=nn.initializers.uniform(1.0),
    **options,
  )
  kernels = 100 if config.minibatch_discrimination else 0
  discriminator = models.improved.Discriminator(resolution, kernels=kernels, **options)
  loss = losses.non_saturating(label_smoothing=config.label_smoothing)
  d_terms: dict[str, objectives.Term] = {}
  g_terms: dict[str, objectives.Term] = {}
  if config.feature_matching:
    loss, g_terms["feature_matching"] = _without_generator(loss), matching
  if weight := config.historical_averaging:
    d_terms["history_D"] = history(weight, "discriminator")
    g_terms["history_G"] = history(weight, "generator")
  z = choices.unit_cube(config.latent_dim)
  adam = optax.adam(config.learning_rate, b1=config.adam_b1)
  return training.system(
    generator,
    discriminator,
    adam,
    adam,
    objectives.adversarial(
      loss,
      z,
      logits=lambda output: output.logit,
      d_terms=d_terms,
      g_terms=g_terms,
      remember=remember if config.historical_averaging else None,
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    ema_decay=config.ema_decay,
    extra=_start_history if config.historical_averaging else None,
  )


def semi_supervised(config: Config, spec: ImageSpec) -> training.System:
  """The classifier of K classes and its generator, on perceptrons."""
  resolution, _, channels = spec.shape
  options = dict(dtype=config.jax_dtype, axis_name=training.AXIS)
  if config.population:
    raise run.RunError(
      f"--labels={config.labels}: each seed has labelled pictures of its own, which --population "
      "cannot give its members: start the runs one by one"
    )
  if config.labels < len(spec.classes):
    raise run.RunError(
      f"--labels={config.labels} must be at least {len(spec.classes)}, one of each class"
    )
  # Read where they are wanted: a run is sampled without its data.
  few = functools.cache(lambda: labelled_pictures.choose(config, config.labels))
  test = functools.cache(lambda: labelled_pictures.held_out(config))
  classifier = models.improved.DenseClassifier(len(spec.classes), **options)

  def supervised(batch: Batch, game: Game) -> Array:
    """Cross entropy of a batch of the labelled pictures."""
    key = jax.random.fold_in(jax.random.fold_in(game.key, game.step), _LABELLED)
    draw, noise = jax.random.split(key)
    few_images, few_labels = jnp.asarray(few().images), jnp.asarray(few().labels)
    each = len(batch["image"])
    keys = latents.example_keys(draw, each, axis_name=training.AXIS)
    rows = jax.vmap(lambda key: jax.random.randint(key, [], 0, len(few_labels)))(keys)
    images = few_images[rows].astype(jnp.float32) / 127.5 - 1.0
    player = game.discriminator
    output, _ = objectives.apply(player, player.params, images, key=noise)
    return losses.auxiliary_classifier(output.class_logits, few_labels[rows])

  def check() -> None:
    few(), test()

  z = choices.unit_cube(config.latent_dim)
  adam = optax.adam(config.learning_rate, b1=config.adam_b1)
  system = training.system(
    models.improved.DenseGenerator(resolution, channels, **options),
    classifier,
    adam,
    adam,
    objectives.adversarial(
      # The code's weights: a half of the unsupervised game beside the supervised loss.
      _without_generator(choices.halved(losses.minimax())),
      z,
      # With the logit of "fake" fixed to 0 this is the logit of "real".
      logits=lambda output: jax.nn.logsumexp(output.class_logits, axis=-1),
      d_terms={"labelled": supervised},
      g_terms={"feature_matching": matching},
      axis_name=training.AXIS,
    ),
    latents=z,
    spec=spec,
    ema_decay=config.ema_decay,
    d_average=True,
  )
  return system._replace(report=_test_error(test, classifier), check=check)


_LABELLED = 0x1AB  # folded into a step's key beyond what its objectives fold in


def _without_generator(loss: AdversarialLoss) -> AdversarialLoss:
  """D's half of a loss, for a generator with another aim."""
  return AdversarialLoss(loss.discriminator, lambda real, fake: jnp.zeros_like(fake))


def _start_history(game: Game) -> Mapping[str, Any]:
  roles = ("discriminator", "generator")
  return {"history": {role: getattr(game, role).params for role in roles}}


def _test_error(
  test: Callable[[], labelled_pictures.Labelled], classifier: Any
) -> Callable[[Game], Mapping[str, float]]:
  """Share of the pictures that the averaged classifier names wrongly."""

  @jax.jit
  def name(variables: Any, images: Array) -> Array:
    pictures = images.astype(jnp.float32) / 127.5 - 1.0
    return classifier.apply(variables, pictures, train=False).class_logits.argmax(-1)

  def report(game: Game) -> Mapping[str, float]:
    images, labels = test()
    found = np.asarray(name(game.discriminator.evaluated(), images))
    wrong, total = int((found != labels).sum()), len(labels)
    return {"test_error": wrong / total, "test_errors": wrong, "test_pictures": total}

  return report


if __name__ == "__main__":
  run.main(build, Config, PRESETS)
