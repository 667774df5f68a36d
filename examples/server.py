"""Samples of a trained generator over HTTP, as PNGs: `GET /sample?seed=3&n=16`.

    python -m experiments.export --workdir=/tmp/run --out=model.safetensors
    flask --app "examples.server:serve('model.safetensors')" run

The pictures are those of `python -m experiments.sample --seed=3 --num=16`.
"""

import io
import os
import threading

import jax
import numpy as np
from flask import Flask, Response, abort, request
from PIL import Image

from jaxgan import compilation, run, sampling

MOST = 64  # samples of an answer


def serve(path: str | os.PathLike[str]) -> Flask:
  """The application, for a file that `experiments.export` has written."""
  app, model, one_at_a_time = Flask(__name__), run.load_generator(path), threading.Lock()
  if model.record.spec.inputs is not None:
    raise run.RunError(f"{path} translates pictures, and this server draws from latents alone")

  @compilation.jit
  def paint(seed: jax.Array) -> jax.Array:
    return model.system.generate(model.variables, model.system.latents(jax.random.key(seed), MOST))

  paint(np.uint32(0))  # compiles, for any number of samples

  @app.get("/sample")
  def sample() -> Response:
    n, seed = (request.args.get(name, other) for name, other in (("n", "16"), ("seed", "0")))
    for name, given, low, high in (("n", n, 1, MOST), ("seed", seed, 0, 2**32 - 1)):
      if not (given.isdecimal() and len(given) < 20 and low <= int(given) <= high):
        abort(400, f"{name}={given!r} must be a whole number from {low} to {high}")
    with one_at_a_time:
      images = np.asarray(paint(np.uint32(int(seed))))
    file = io.BytesIO()
    grid = sampling.grid(sampling.to_uint8(images[: int(n)]))
    Image.fromarray(grid.squeeze()).save(file, "png")
    return Response(file.getvalue(), mimetype="image/png")

  return app
