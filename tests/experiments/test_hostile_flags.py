"""Any flags at all: an experiment refuses them by name before it compiles, or trains with them."""

import contextlib
import dataclasses
import math
import tempfile
import types
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments import (
  acgan,
  began,
  biggan,
  cgan,
  choices,
  dcgan,
  dragan,
  ebgan,
  fgan,
  gan,
  gigagan,
  improved_gan,
  infogan,
  lsgan,
  mixtures,
  pacgan,
  progan,
  r3gan,
  sagan,
  sngan,
  sngan_projection,
  stylegan,
  stylegan2,
  wgan,
  wgan_gp,
)
from jaxgan import data, run, training
from jaxgan.data import captions
from jaxgan.run import loop, preparation
from jaxgan.run.flags import flag

MODULES = (
  acgan, began, biggan, cgan, dcgan, dragan, ebgan, fgan, gan, gigagan, improved_gan, infogan,
  lsgan, pacgan, progan, r3gan, sagan, sngan, sngan_projection, stylegan, stylegan2, wgan, wgan_gp,
)  # fmt: skip
NAMES = [module.__name__.rpartition(".")[2] for module in MODULES]
EVERY = pytest.mark.parametrize("module", MODULES, ids=NAMES)
CAPTIONS = ("blue cat", "red cat", "sun")
SMALL = dict(resolution=16, width=4, batch_size=8, steps=20)
_STYLE = dict(max_width=8, latent_dim=8, style_dim=8, depth=1)
OWN = {
  wgan: dict(n_critic_early=2),  # more would be traced for long
  sagan: dict(attention=8),  # whose default asks for larger pictures
  progan: dict(max_width=8, latent_dim=8),
  r3gan: dict(group_size=4, latent_dim=8),
  gigagan: _STYLE | dict(text_width=8, text_depth=1, head_width=8),
  stylegan: _STYLE,
  stylegan2: _STYLE,
}
# Where the pictures lie and what measures them is read before a step, but not by the networks.
ELSEWHERE = {
  "workdir", "preset", "dataset", "split", "data_dir", "cache_dir", "coordinator", "num_processes",
  "process_id", "model_parallel", "eval_every", "eval_features", "eval_held_out", "population",
  "vary",
}  # fmt: skip
# Values by type: those that suit many flags, and those that suit few or none.
SOUND = {
  bool: (True, False),
  int: (1, 2, 3, 4, 8, 16),
  float: (0.0, 1e-3, 0.1, 0.5, 0.9, 1.0),
  str: ("alternating", "top_k", "competitive", "pearson"),
  types.NoneType: (None,),
}
ABSURD = {
  bool: (2,),
  int: (-(10**30), -1, 0, 7, 12, 28, 64, 100_000, 2**31 - 1, 2**31, 10**30, 0.5, "1", True),
  float: (-math.inf, -1.0, 1e-300, 2.0, 1e6, 1e7, 1e300, math.inf, math.nan, "1", True),
  str: ("", "wrong", "kid,wrong", "a\nb", 1),
  types.NoneType: (),
}


def values(hint, choices):
  """Values of a flag's type."""
  origin, args = get_origin(hint), get_args(hint)
  if origin is Annotated:
    return values(args[0], choices)
  if origin is Literal:
    return args if choices is SOUND else ("wrong", 2)
  if origin is tuple:
    return ((),) if choices is SOUND else ("wrong", 1)
  if origin in (Union, types.UnionType):
    return tuple(value for each in args for value in values(each, choices))
  return choices[hint]


@st.composite
def flags(draw, module):
  hints = get_type_hints(module.Config, include_extras=True)
  names = [field.name for field in dataclasses.fields(module.Config)]
  own = [name for name in names if name not in ELSEWHERE]
  chosen = draw(st.lists(st.sampled_from(own), min_size=1, max_size=5, unique=True))
  absurd = draw(st.sampled_from([0, 0, 1, 2]))  # of the flags that were chosen
  return {
    name: draw(st.sampled_from(values(hints[name], ABSURD if place < absurd else SOUND)))
    for place, name in enumerate(chosen)
  }


class ReachedError(Exception):
  """The run is about to compile; carries its system."""


def start(system, config, mesh, saved):
  raise ReachedError(system)


def pictures(config):
  count = 40 if config.limit is None else min(config.limit, 40)
  images = np.zeros([count, config.resolution, config.resolution, config.channels or 1], np.uint8)
  plain = data.Dataset("noise", images, np.arange(count, dtype=np.int32) % 3, ("a", "b", "c"))
  texts = [CAPTIONS[i % len(CAPTIONS)] for i in range(count)]
  return captions.attach(plain, texts, most_words=getattr(config, "max_words", 16))


def system_of(module, chosen):
  """The system that a run would compile, and its config; None if the flags are refused by name."""
  given = {**SMALL, **OWN.get(module, {}), **chosen}
  with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as workdir:
    patch.setattr(loop, "start", start)
    patch.setattr(preparation, "load_data", pictures)
    patch.setattr(loop, "Checkpoints", lambda workdir: contextlib.nullcontext())
    patch.setattr(run, "load_data", pictures)
    one = training.data_mesh(jax.devices()[:1])
    patch.setattr(training, "data_mesh", lambda devices=None, *, model=1: one)
    try:
      config = module.Config(workdir=workdir, **given)
      loop.train(module.build, config)
    except run.RunError as error:
      message = str(error)
      assert any(flag(name) in message for name in given), message
      return None
    except ReachedError as reached:
      return reached.args[0], config
  raise AssertionError("the run ended without a step")


def stepped(system, config, *, abstract):
  """Metrics of one step, or their shapes."""
  count = system.d_steps(0) if callable(system.d_steps) else system.d_steps
  shape = (count, config.batch_size, *2 * [config.resolution], config.channels or 1)
  words = getattr(config, "max_words", 16)
  mesh = training.data_mesh(jax.devices()[:1])
  step = training.data_parallel(system.step, mesh, donate=False)
  if abstract:
    game = jax.eval_shape(system.init, jax.random.key(0))
    like = jax.ShapeDtypeStruct
    batch = {"image": like(shape, jnp.float32), "label": like(shape[:2], jnp.int32)}
    batch["text"] = like((*shape[:2], captions.length_of(CAPTIONS, words)), jnp.int32)
    return jax.eval_shape(step, game, batch)[1]
  game = jax.jit(system.init)(jax.random.key(config.seed))
  images = jax.random.uniform(jax.random.key(1), shape, minval=-1.0)
  batch = {"image": images, "label": jnp.zeros(shape[:2], jnp.int32)}
  batch["text"] = jnp.ones((*shape[:2], captions.length_of(CAPTIONS, words)), jnp.int32)
  return step(game, batch)[1]


def few_updates(system, config):
  """Whether a step is small enough to be traced again and again."""
  count = system.d_steps(0) if callable(system.d_steps) else system.d_steps
  names = ("accumulate", "g_multiple", "virtual_batch_norm")
  most = max(count, *(getattr(config, name, 0) for name in names))
  return most <= 5 and max(config.batch_size, config.width, config.resolution) <= 32


def finite(metrics):
  return all(np.isfinite(value).all() for value in metrics.values())


def refusal(call):
  """The message of a RunError, None without one."""
  try:
    call()
  except run.RunError as error:
    return str(error)
  return None


@EVERY
def test_no_flag_takes_an_absurd_value_silently(module):
  hints = get_type_hints(module.Config, include_extras=True)
  own = [field.name for field in dataclasses.fields(module.Config) if field.name not in ELSEWHERE]
  for name in own:
    for value in (*values(hints[name], ABSURD), math.nan, -math.inf, [], {}):
      message = refusal(lambda name=name, value=value: module.Config(workdir="", **{name: value}))
      if message is None:  # it is text, or within some bounds
        assert isinstance(value, str) or abs(value) < 2**32, (name, value)
      else:
        assert flag(name) in message


@EVERY
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=3)
def test_flags_are_refused_by_name_or_make_a_system(module, data):
  system_of(module, data.draw(flags(module)))


@pytest.mark.slow
@EVERY
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=100)
def test_many_flags_are_refused_by_name_or_make_a_step(module, data):
  made = system_of(module, data.draw(flags(module)))
  if made is not None and few_updates(*made):
    stepped(*made, abstract=True)


@pytest.mark.parametrize(
  "module",
  [
    pytest.param(module, marks=() if module is gan else pytest.mark.slow, id=name)
    for module, name in zip(MODULES, NAMES, strict=True)
  ],
)
def test_what_is_not_refused_trains_with_finite_numbers(module):
  left = 1 if module is gan else 3

  @hypothesis.given(flags(module))
  @hypothesis.settings(max_examples=30, phases=[hypothesis.Phase.generate])
  def steps(chosen):
    nonlocal left
    made = system_of(module, chosen) if left else None
    if made is not None and few_updates(*made):
      left -= 1
      assert finite(stepped(*made, abstract=False)), chosen

  steps()
  assert not left


def mixture_flags():
  hints = get_type_hints(mixtures.Config, include_extras=True)
  names = st.lists(
    st.sampled_from(sorted(hints.keys() - {"workdir", "mixture", "table"})), max_size=4
  )
  known = {
    "loss": list(choices.LOSSES),
    "penalty": list(choices.PENALTIES),
    "game": list(choices.GAMES),
  }
  return names.flatmap(
    lambda names: st.fixed_dictionaries(
      {
        name: st.sampled_from(
          [*known.get(name, values(hints[name], SOUND)), *values(hints[name], ABSURD)]
        )
        for name in names
      }
    )
  )


@hypothesis.given(mixture_flags())
@hypothesis.settings(max_examples=25)
def test_mixtures_are_refused_by_name_or_make_players(chosen):
  given = {"width": 4, "batch_size": 8, **chosen}
  made = []
  message = refusal(lambda: made.append(mixtures.build(mixtures.Config(workdir="", **given))))
  if message is not None:
    assert any(flag(name) in message for name in given), message
  elif given.get("depth", 2) <= 16:
    jax.eval_shape(made[0].init, jax.random.key(0))
