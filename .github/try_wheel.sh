#!/usr/bin/env bash
# Installs a wheel into an empty environment, outside of the checkout, and takes a step with it. A
# user's type checker finds its types.
set -euo pipefail
wheel=$(realpath "$1")
user=$(realpath "$(dirname "$0")/typed_user.py")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 - "$wheel" <<'PYTHON'
import sys, zipfile
names = {name.split("/")[0] for name in zipfile.ZipFile(sys.argv[1]).namelist()}
assert {name for name in names if not name.endswith(".dist-info")} == {"jaxgan"}, names
PYTHON
python3 -m venv venv
venv/bin/pip install -q "$wheel"
venv/bin/python - <<'PYTHON'
import sys
import jax, optax
import jaxgan
from jaxgan import latents, losses, models, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec

assert "site-packages" in jaxgan.__file__, jaxgan.__file__
assert not {"tensorflow", "PIL", "matplotlib"} & set(sys.modules)
z = latents.normal(8)
gan = training.system(
  models.dcgan.Generator(32, channels=1, width=4, axis_name=training.AXIS),
  models.dcgan.Discriminator(32, width=4, axis_name=training.AXIS),
  optax.adam(2e-4, b1=0.5),
  optax.adam(2e-4, b1=0.5),
  objectives.adversarial(losses.non_saturating(), z, axis_name=training.AXIS),
  latents=z,
  spec=ImageSpec((32, 32, 1)),
)
mesh = training.data_mesh()
game = jax.device_put(gan.init(jax.random.key(0)), training.replicated(mesh))
step = training.data_parallel(gan.step, mesh)
game, metrics = step(game, {"image": jax.numpy.zeros([1, 8, 32, 32, 1])})
assert all(jax.numpy.isfinite(x) for x in metrics.values()), metrics
print("the wheel works:", jaxgan.__file__)
PYTHON
test -f venv/lib/python3*/site-packages/jaxgan/py.typed
venv/bin/pip install -q 'mypy>=1.15'
cp "$user" user.py
# optax has no types. Where jaxgan had none either, the ignores in the file would be unused.
venv/bin/mypy --strict --warn-unused-ignores --disable-error-code=import-untyped user.py
