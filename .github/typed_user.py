"""What a user's type checker sees of the installed package: `.github/try_wheel.sh` runs mypy here.

`ignore` stands where an error must be found: mypy's --warn-unused-ignores fails if there is none.
"""

import jax
import optax

from jaxgan import latents, losses, models, penalties, training
from jaxgan.training import objectives
from jaxgan.types import AdversarialLoss, ImageSpec

loss: AdversarialLoss = losses.hinge()
z: latents.Sampler = latents.normal(8)
value: jax.Array = loss.discriminator(jax.numpy.zeros(4), jax.numpy.zeros(4))
slope: jax.Array = penalties.r1(lambda x: x.sum(-1), jax.numpy.ones([2, 4]))
gan: training.System = training.system(
  models.dcgan.Generator(32, channels=1, width=4, axis_name=training.AXIS),
  models.dcgan.Discriminator(32, width=4, axis_name=training.AXIS),
  optax.adam(2e-4),
  optax.adam(2e-4),
  objectives.adversarial(loss, z, axis_name=training.AXIS),
  latents=z,
  spec=ImageSpec((32, 32, 1)),
)
game: training.Game = gan.init(jax.random.key(0))

losses.hinge("strong")  # type: ignore[call-arg]
latents.normal("many")  # type: ignore[arg-type]
penalties.r1(None, jax.numpy.ones([2, 4]))  # type: ignore[arg-type]
wrong: int = losses.hinge()  # type: ignore[assignment]
losses.no_such_loss()  # type: ignore[attr-defined]
