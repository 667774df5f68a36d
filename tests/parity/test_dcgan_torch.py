"""The standard 64x64 DCGAN in PyTorch and here: same weights, same batches, same game.

In float64 on both sides: in float32 Adam's first updates, which are the signs of the gradients,
turn the rounding of gradients near zero into whole steps, and the losses part by 1e-4 and more.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import latents, losses, models, training
from jaxgan.training import objectives
from jaxgan.types import ImageSpec

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")

WIDTH, BATCH, STEPS = 64, 4, 5


def reference_networks():
  """Networks of the standard example, written with torch's layers."""
  nn = torch.nn

  def up(i, o, **options):
    return [nn.ConvTranspose2d(i, o, 4, bias=False, **options), nn.BatchNorm2d(o), nn.ReLU()]

  def down(i, o):
    convolution = nn.Conv2d(i, o, 4, 2, 1, bias=False)
    return [convolution, nn.BatchNorm2d(o), nn.LeakyReLU(0.2)]

  w = WIDTH
  double = dict(stride=2, padding=1)
  generator = nn.Sequential(
    *up(100, 8 * w),
    *up(8 * w, 4 * w, **double),
    *up(4 * w, 2 * w, **double),
    *up(2 * w, w, **double),
    nn.ConvTranspose2d(w, 3, 4, bias=False, **double),
    nn.Tanh(),
  )
  discriminator = nn.Sequential(
    nn.Conv2d(3, w, 4, 2, 1, bias=False),
    nn.LeakyReLU(0.2),
    *down(w, 2 * w),
    *down(2 * w, 4 * w),
    *down(4 * w, 8 * w),
    nn.Conv2d(8 * w, 1, 4, bias=False),
  )
  return generator, discriminator


def names(network):
  """Pairs of (our layer, torch layer) with parameters, in order."""
  counts = {}
  for layer in network:
    ours = {"ConvTranspose2d": "ConvTranspose", "Conv2d": "Conv", "BatchNorm2d": "BatchNorm"}.get(
      type(layer).__name__
    )
    if ours is not None:
      yield f"{ours}_{counts.setdefault(ours, 0)}", layer
      counts[ours] += 1


def to_torch(name, kernel):
  """Our kernel `[kh, kw, in, out]` in torch's layout; transposed ones are mirrored there."""
  if name.startswith("ConvTranspose"):
    return np.flip(kernel, (0, 1)).transpose(2, 3, 0, 1).copy()
  return kernel.transpose(3, 2, 0, 1).copy()


def copy_weights(params, network):
  with torch.no_grad():
    for name, layer in names(network):
      ours = jax.device_get(params[name])
      if name.startswith("BatchNorm"):
        layer.weight.copy_(torch.tensor(ours["scale"]))
        layer.bias.copy_(torch.tensor(ours["bias"]))
      else:
        layer.weight.copy_(torch.tensor(to_torch(name, ours["kernel"])))


def assert_same_gradients(gradients, network):
  for name, layer in names(network):
    ours, theirs = jax.device_get(gradients[name]), layer.weight.grad.numpy()
    ours = ours["scale"] if name.startswith("BatchNorm") else to_torch(name, ours["kernel"])
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert error < 1e-9, (name, error)


def test_five_steps_have_the_losses_of_torch_and_the_first_gradients(x64):
  z = latents.normal(100)
  parts = objectives.adversarial(losses.non_saturating(), z)
  adam = optax.adam(2e-4, b1=0.5)
  spec = ImageSpec((64, 64, 3))
  gan = training.system(
    models.dcgan.Generator(64, 3, width=WIDTH),
    models.dcgan.Discriminator(64, width=WIDTH),
    adam,
    adam,
    parts,
    latents=z,
    spec=spec,
  )
  game = jax.tree.map(
    lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
    jax.jit(gan.init)(jax.random.key(0)),
  )
  ours = jax.jit(
    training.make_train_step(parts.discriminator, parts.generator, forward=parts.forward)
  )

  generator, discriminator = (network.double() for network in reference_networks())
  copy_weights(game.generator.params, generator)
  copy_weights(game.discriminator.params, discriminator)
  bce = torch.nn.BCEWithLogitsLoss()
  optimizer = functools.partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))
  d_optimizer, g_optimizer = (optimizer(n.parameters()) for n in (discriminator, generator))

  for step in range(STEPS):
    images = jax.random.uniform(jax.random.key(step), (1, BATCH, *spec.shape), jnp.float64, -1.0)
    key = jax.random.fold_in(jax.random.fold_in(game.key, step), 0)
    noise = z(jax.random.fold_in(key, 0), BATCH)
    if step == 0:
      batch = {"image": images[0]}
      d_gradients, g_gradients = jax.jit(
        lambda game, batch, key: (
          jax.grad(parts.discriminator, has_aux=True)(game.discriminator.params, game, batch, key)[
            0
          ],
          jax.grad(parts.generator, has_aux=True)(game.generator.params, game, batch, key)[0],
        )
      )(game, batch, key)
    game, metrics = ours(game, {"image": images})

    real = torch.tensor(np.asarray(images[0])).permute(0, 3, 1, 2)
    fake = generator(torch.tensor(np.asarray(noise, np.float64))[:, :, None, None])
    if step == 0:  # the generator's gradient against the discriminator as it was initialised
      loss = bce(discriminator(fake).flatten(), torch.ones(BATCH).double())
      loss.backward(retain_graph=True)
      assert_same_gradients(g_gradients, generator)
    discriminator.zero_grad()
    loss_d = bce(discriminator(real).flatten(), torch.ones(BATCH).double()) + bce(
      discriminator(fake.detach()).flatten(), torch.zeros(BATCH).double()
    )
    loss_d.backward()
    if step == 0:
      assert_same_gradients(d_gradients, discriminator)
    d_optimizer.step()
    generator.zero_grad()
    loss_g = bce(discriminator(fake).flatten(), torch.ones(BATCH).double())
    loss_g.backward()
    g_optimizer.step()

    np.testing.assert_allclose(metrics["loss_D"], loss_d.item(), rtol=1e-7, err_msg=f"D {step}")
    np.testing.assert_allclose(metrics["loss_G"], loss_g.item(), rtol=1e-7, err_msg=f"G {step}")
  assert jnp.isfinite(metrics["loss_G"])
