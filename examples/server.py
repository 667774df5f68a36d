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

  @compilation.jit
  def paint(seed: jax.Array) -> jax.Array:
    return model.system.generate(model.variables, model.system.latents(jax.random.key(seed), MOST))

  paint(np.uint32(0))  # compiles, for any number of samples

  @app.get("/sample")
  def sample() -> Response:
    n, seed = (request.args.get(name, other) for name, other in (("n", "16"), ("seed", "0")))
    if not (n.isdecimal() and seed.isdecimal() and len(n + seed) < 20):
      abort(400, f"n={n!r} and seed={seed!r} must be whole numbers")
    if not (1 <= int(n) <= MOST and int(seed) < 2**32):
      abort(400, f"n={n} must be from 1 to {MOST}, and seed={seed} below 2^32")
    with one_at_a_time:
      images = np.asarray(paint(np.uint32(int(seed))))
    file = io.BytesIO()
    grid = sampling.grid(sampling.to_uint8(images[: int(n)]))
    Image.fromarray(grid.squeeze()).save(file, "png")
    return Response(file.getvalue(), mimetype="image/png")

  return app
