"""The sample server as a person starts it, over HTTP."""

import concurrent.futures
import dataclasses
import io
import threading
import urllib.error
import urllib.request

import jax
import numpy as np
import pytest
from PIL import Image
from werkzeug.serving import make_server

from examples.server import MOST, serve
from experiments import dcgan, export
from jaxgan import run, sampling
from jaxgan.run.checkpoints import Checkpoints
from jaxgan.types import ImageSpec


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """The exported weights of a run that has not been trained, with some contrast."""
  folder = tmp_path_factory.mktemp("run")
  config = dcgan.Config(workdir=str(folder), resolution=8, width=2, latent_dim=6)
  spec = ImageSpec((8, 8, 1))
  game = jax.jit(dcgan.build(config, spec).init)(jax.random.key(0))
  larger = jax.tree.map(lambda x: 10.0 * x if x.ndim > 1 else x, game.generator.params)
  average = {**game.generator.average, "params": larger}
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(game.replace(generator=game.generator.replace(average=average)), None)
  run.Record("experiments.dcgan", dataclasses.asdict(config), spec, 40).save(folder)
  export.main(export.Options(str(folder), str(folder / "model.safetensors")))
  return folder / "model.safetensors"


@pytest.fixture(scope="module")
def address(model):
  server = make_server("127.0.0.1", 0, serve(model), threaded=True)
  thread = threading.Thread(target=server.serve_forever)
  thread.start()
  yield f"http://127.0.0.1:{server.server_port}"
  server.shutdown()
  thread.join()
  server.server_close()


def get(address, query):
  with urllib.request.urlopen(f"{address}/sample{query}", timeout=60) as answer:
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.read())) as file:
      assert file.format == "PNG"
      return np.asarray(file)


def expected(model, seed, n):
  """What the library makes of the same file: n latents alone, not the first of many."""
  loaded = run.load_generator(model)
  z = loaded.system.latents(jax.random.key(seed), n)
  images = np.asarray(jax.jit(loaded.system.generate)(loaded.variables, z))
  return sampling.grid(sampling.to_uint8(images))[..., 0]


def near(a, b):
  """Batches of other sizes are summed in another order, which may turn a level of 255."""
  return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= 1


@pytest.mark.parametrize(("query", "seed", "n"), [
  ("?seed=3&n=16", 3, 16), ("", 0, 16), (f"?n={MOST}&seed=4294967295", 2**32 - 1, MOST),
])  # fmt: skip
def test_the_pictures_are_those_of_the_library(address, model, query, seed, n):
  picture = get(address, query)
  assert near(picture, expected(model, seed, n))
  assert picture[2:10, 2:10].std() > 5.0  # a picture, and no grey


def test_many_may_ask_at_once(address):
  queries = [f"?seed={seed % 4}&n=4" for seed in range(12)]
  with concurrent.futures.ThreadPoolExecutor(6) as pool:
    pictures = list(pool.map(lambda query: get(address, query), queries))
  for picture, query in zip(pictures, queries, strict=True):
    np.testing.assert_array_equal(picture, get(address, query))
  assert not np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize(
  "query",
  [
    "?n=0", f"?n={MOST + 1}", "?n=-1", "?n=many", "?n=", "?n=1.5", "?seed=-1", "?seed=4294967296",
    "?seed=x", "?n=" + "9" * 5000, "?n=%C2%B2",
  ],
)  # fmt: skip
def test_bad_numbers_are_refused(address, query):
  with pytest.raises(urllib.error.HTTPError) as refused:
    get(address, query)
  assert refused.value.code == 400
  assert b"must be" in refused.value.read()
