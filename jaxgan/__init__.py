"""A functional GAN library for JAX and Flax.

`import jaxgan` loads jax, flax and optax and nothing heavier. What reads data, writes logs or draws
pictures imports what it needs when it is used (`pip install 'jaxgan[experiments]'`); the run loop
is imported as `jaxgan.run`.
"""

from jaxgan import (
  augment,
  compilation,
  data,
  latents,
  layers,
  losses,
  metrics,
  models,
  penalties,
  regularizers,
  sampling,
  training,
)

__all__ = [
  "augment",
  "compilation",
  "data",
  "latents",
  "layers",
  "losses",
  "metrics",
  "models",
  "penalties",
  "regularizers",
  "sampling",
  "training",
]
__version__ = "0.1.0"
