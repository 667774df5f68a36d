"""A functional GAN library for JAX and Flax.

`import jaxgan` loads jax, flax and optax and nothing heavier. The parts that read data, write logs
or draw pictures import what they need when they are used (`pip install jaxgan[experiments]`).
"""

__version__ = "0.1.0"
