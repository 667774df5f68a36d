import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models import cgan, gan
from tests.models.networks import close, randomized, shapes


def maxout(torch, x, p, pieces):
  """Column `j * features + i` of the kernel is piece j of feature i."""
  p = p["dense"]
  return (x @ p["kernel"] + p["bias"]).reshape(len(x), pieces, -1).amax(1)


def discriminator(torch, p, x):
  y = (x.reshape(len(x), -1) + 1) / 2
  y = maxout(torch, maxout(torch, y, p["Maxout_0"], 3), p["Maxout_1"], 3)
  return (y @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"])[:, 0]


def conditional_discriminator(torch, p, x, label):
  x = maxout(torch, (x.reshape(len(x), -1) + 1) / 2, p["Maxout_0"], 3)
  y = torch.cat([x, maxout(torch, label, p["Maxout_1"], 3)], 1)
  y = maxout(torch, y, p["Maxout_2"], 2)
  return (y @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"])[:, 0]


def conditional_generator(torch, p, z):
  def dense(i, x):
    return x @ p[f"Dense_{i}"]["kernel"] + p[f"Dense_{i}"]["bias"]

  x = torch.cat([torch.relu(dense(0, z[:, :-3])), torch.relu(dense(1, z[:, -3:]))], 1)
  x = dense(3, torch.relu(dense(2, x)))
  return 2 * torch.sigmoid(x).reshape(-1, 4, 4, 1) - 1


CASES = {
  "gan D": (gan.Discriminator(5, 3), discriminator, [(6, 4, 4, 1)]),
  "cgan D": (
    cgan.Discriminator(3, 5, label_width=4, pieces=3, common_pieces=2),
    conditional_discriminator,
    [(6, 4, 4, 1), (6, 3)],
  ),
  "cgan G": (
    cgan.Generator(3, 4, noise_width=5, label_width=4, width=6),
    conditional_generator,
    [(6, 7)],
  ),
}


@pytest.mark.parametrize(("network", "twin", "inputs"), CASES.values(), ids=CASES)
def test_agrees_with_torch(network, twin, inputs):
  torch = pytest.importorskip("torch")
  rng = np.random.default_rng(1)
  inputs = [rng.normal(size=shape).astype("float32") for shape in inputs]
  params = randomized(shapes(network, *inputs)[0])["params"]

  @jax.jit
  def ours(params, *inputs):
    def loss(params, *inputs):
      y = network.apply({"params": params}, *inputs, train=False)
      return jnp.sin(3.0 * y).sum(), y

    return jax.grad(loss, (0, 1), has_aux=True)(params, *inputs)

  (d_params, d_x), y = ours(params, *inputs)
  leaves = jax.tree.map(lambda v: torch.tensor(np.asarray(v), requires_grad=True), params)
  tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
  expected = twin(torch, leaves, *tensors)
  torch.sin(3.0 * expected).sum().backward()
  close(y, expected.detach().numpy(), 1e-5)
  close(d_x, tensors[0].grad.numpy(), 1e-5)
  close(d_params, jax.tree.map(lambda v: v.grad.numpy(), leaves), 1e-5)


def test_dropout_acts_in_training_and_is_drawn_anew():
  network = gan.Discriminator(50)
  x = jnp.ones([3, 8, 8, 1])
  variables = randomized(shapes(network, x)[0])

  def apply(seed):
    return network.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)})

  first, same, other = (np.asarray(jax.jit(apply)(seed)) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, same)
  assert len({*first, *other}) == 6  # each example of each pass has a mask of its own
