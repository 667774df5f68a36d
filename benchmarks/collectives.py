"""Collectives in a compiled step on several devices: how many, and how many bytes.

`python -m benchmarks.collectives` prints them as JSON for the model and devices that it is told.
The devices are the host's processor divided, so the counts are a projection: they tell what a step
would send between real devices, not how long it would take.
"""

import argparse
import json
import os
import re
import sys
from typing import Any

from benchmarks import models

__all__ = ["all_reduces", "collectives", "main"]

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
_COMMENT = re.compile(r"/\*.*?\*/")
_OPERATION = re.compile(rf"= (?P<shapes>[^=]*?) (?P<kind>{_KINDS})(?:-start)?\(")
_SHAPE = re.compile(r"(?P<type>[a-z]+\d+|pred)\[(?P<dimensions>[\d,]*)\]")


def all_reduces(hlo: str) -> dict[str, int]:
  """Number and bytes of the results of collectives in a compiled program's text.

  Raises:
    ValueError: a collective is not an all-reduce, whose traffic would have to be told otherwise.
  """
  count = total = 0
  for operation in _OPERATION.finditer(_COMMENT.sub("", hlo)):
    if operation["kind"] != "all-reduce":
      raise ValueError(f"the program has a {operation['kind']}: its bytes are not counted here")
    count += 1
    total += sum(
      _bytes(*shape.group("type", "dimensions")) for shape in _SHAPE.finditer(operation["shapes"])
    )
  return {"count": count, "bytes": total}


def _bytes(dtype: str, dimensions: str) -> int:
  size = 1
  for dimension in filter(None, dimensions.split(",")):
    size *= int(dimension)
  bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
  return size * bits // 8


def collectives(size: models.Size, devices: int) -> dict[str, Any]:
  """Of the discriminator's update, and of what the generator's adds to the step.

  The discriminator's has the generator's forward pass, whose fakes both share.
  """
  import jax
  import jax.numpy as jnp

  from benchmarks import jaxgan_steps
  from jaxgan import training

  def discriminator_alone(moves, game, batch, key):
    batch = jax.tree.map(lambda x: x[0], dict(batch))
    fakes = moves.forward(game, batch, key)
    grads, aux = moves.gradient("discriminator", game, batch, key, fakes)
    return moves.update("discriminator", game, grads, aux), aux.metrics

  mesh = training.data_mesh(jax.devices()[:devices])
  shape = (1, size.batch_size, size.resolution, size.resolution, size.channels)
  batch = {"image": jax.ShapeDtypeStruct(shape, jnp.float32)}

  def counted(**options) -> dict[str, int]:
    gan = jaxgan_steps.dcgan_system(size, **options)
    game = jax.eval_shape(gan.init, jax.random.key(0))
    step = training.data_parallel(gan.step, mesh)
    return all_reduces(step.lower(game, batch).compile().as_text())

  whole, d = counted(), counted(play=discriminator_alone)
  g = {name: whole[name] - d[name] for name in whole}
  return {
    "devices": devices,
    "discriminator": d,
    "generator": g,
    "ring_bytes": 2 * (devices - 1) / devices * whole["bytes"],
  }


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", type=json.loads, required=True)
  parser.add_argument("--devices", type=json.loads, required=True)
  options = parser.parse_args(argv)
  os.environ["JAX_PLATFORMS"] = "cpu"
  flag = f"--xla_force_host_platform_device_count={max(options.devices)}"
  os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
  size = models.Size(**options.size)
  for devices in options.devices:
    if size.batch_size % devices:
      raise ValueError(f"batch_size={size.batch_size} must be divisible by {devices} devices")
  json.dump([collectives(size, devices) for devices in options.devices], sys.stdout)


if __name__ == "__main__":
  main()
