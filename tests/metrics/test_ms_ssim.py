import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from jaxgan import metrics

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def by_definition(a, b, scales, *, window=11, data_range=2.0):
  """One grey picture in float64 with whole two-dimensional windows."""
  offset = np.arange(window) - window // 2
  kernel = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
  kernel /= kernel.sum()
  c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

  def mean(x):
    return signal.correlate2d(x, kernel, mode="valid")

  value = 1.0
  weights = WEIGHTS[:scales] * WEIGHTS.sum() / WEIGHTS[:scales].sum()
  for i, weight in enumerate(weights):
    x, y = mean(a), mean(b)
    xx, yy, xy = mean(a * a) - x * x, mean(b * b) - y * y, mean(a * b) - x * y
    term = (2 * xy + c2) / (xx + yy + c2)
    if i == scales - 1:
      term = term * (2 * x * y + c1) / (x * x + y * y + c1)
    value *= max(term.mean(), 0.0) ** weight
    h, w = a.shape[0] // 2 * 2, a.shape[1] // 2 * 2
    a, b = (
      (z[0:h:2, 0:w:2] + z[1:h:2, 0:w:2] + z[0:h:2, 1:w:2] + z[1:h:2, 1:w:2]) / 4 for z in (a, b)
    )
  return value


def pairs(n, h, w, c, *, noise=0.3, seed=0):
  """Smooth pictures and noisy ones of them, in [-1, 1]."""
  rng = np.random.default_rng(seed)
  phase = rng.uniform(0, 6, size=(n, 1, 1, c))
  y, x = np.mgrid[0:h, 0:w][:, None, :, :, None] / 4
  a = np.sin(x + phase) * np.cos(y * 0.7 + phase)
  b = np.clip(a + noise * rng.normal(size=a.shape), -1, 1)
  return a.astype(np.float32), b.astype(np.float32)


@pytest.mark.parametrize(
  ("h", "w", "scales", "window"),
  [(8, 8, 1, 7), (16, 21, 1, 11), (28, 28, 2, 11), (47, 44, 3, 11), (64, 96, 3, 11)],
)
def test_small_pictures_use_the_scales_that_fit(h, w, scales, window):
  a, b = pairs(2, h, w, 2)
  got = jax.jit(metrics.ms_ssim)(a, b)
  expected = [
    np.mean([by_definition(a[i, ..., c], b[i, ..., c], scales, window=window) for c in range(2)])
    for i in range(2)
  ]
  assert 0.05 < min(expected) < max(expected) < 0.99
  np.testing.assert_allclose(got, expected, rtol=1e-5)  # float32 variances as differences


def test_values_against_a_torch_package():
  """Five scales, whose definition leaves no choice."""
  torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
  package = pytest.importorskip("pytorch_msssim", reason="needs pip install pytorch-msssim")
  a, b = pairs(2, 176, 192, 3)
  theirs = package.ms_ssim(
    *(torch.tensor(x.transpose(0, 3, 1, 2)) for x in (a, b)), data_range=2.0, size_average=False
  )
  np.testing.assert_allclose(metrics.ms_ssim(a, b), theirs.numpy(), rtol=2e-6)


def test_equal_pictures_score_one_and_the_score_is_symmetric():
  a, b = pairs(2, 24, 24, 1)
  np.testing.assert_allclose(metrics.ms_ssim(a, a), 1.0, rtol=1e-5)
  np.testing.assert_allclose(metrics.ms_ssim(a, b), metrics.ms_ssim(b, a), rtol=1e-6)


def test_negative_structure_counts_as_zero_and_has_a_finite_gradient():
  a, _ = pairs(1, 24, 24, 1)
  assert float(metrics.ms_ssim(a, -a)[0]) == 0.0
  _, b = pairs(1, 24, 24, 1, noise=0.5)
  gradient = jax.grad(lambda x: metrics.ms_ssim(x, b).sum())(jnp.asarray(a))
  assert bool(jnp.isfinite(gradient).all())
  assert float(jnp.abs(gradient).max()) > 0


def test_bytes_with_their_range_score_as_floats():
  a, b = (np.rint((x + 1) * 127.5).astype(np.uint8) for x in pairs(2, 24, 24, 1))
  floats = [x.astype(np.float32) / 127.5 - 1 for x in (a, b)]
  got = metrics.ms_ssim(a, b, data_range=255)
  # luminance depends on where zero is, hence only its contrast part is the same; shift by hand
  shifted = metrics.ms_ssim(*(x + 1 for x in floats))
  np.testing.assert_allclose(got, shifted, rtol=1e-5)
  with pytest.raises(ValueError, match="uint8 need their own data_range"):
    metrics.ms_ssim(a, b)


def test_a_batch_of_pairs_is_scored_pair_by_pair_under_vmap():
  a, b = pairs(3, 16, 16, 1)
  mapped = jax.vmap(lambda x, y: metrics.ms_ssim(x[None], y[None])[0])(a, b)
  np.testing.assert_allclose(mapped, metrics.ms_ssim(a, b), rtol=1e-6)


def test_diversity_is_the_mean_over_different_samples():
  a, b = pairs(1, 16, 16, 1)
  images = np.concatenate([a, b])
  between = float(metrics.ms_ssim(a, b)[0])
  # with two samples every pair is the same: itself never meets itself
  result = metrics.ms_ssim_diversity(images, jax.random.key(0), pairs=21)
  np.testing.assert_allclose(result, (between, 0.0), atol=1e-6)
  varied, _ = pairs(8, 16, 16, 1)
  every = [
    float(metrics.ms_ssim(varied[i : i + 1], varied[j : j + 1])[0])
    for i in range(8)
    for j in range(i)
  ]
  result = metrics.ms_ssim_diversity(varied, jax.random.key(1), pairs=400)
  assert abs(result.value - np.mean(every)) < 4 * result.standard_error
  np.testing.assert_allclose(result.standard_error, np.std(every) / 20, rtol=0.2)


def test_shapes_that_do_not_fit_are_refused():
  x = jnp.zeros([2, 16, 16, 1])
  with pytest.raises(ValueError, match=r"a \[2, 16, 16, 1\] and b \[1, 16, 16, 1\]"):
    metrics.ms_ssim(x, x[:1])
  with pytest.raises(ValueError, match="must both be"):
    metrics.ms_ssim(x[0], x[0])
  with pytest.raises(ValueError, match="data_range=-1"):
    metrics.ms_ssim(x, x, data_range=-1)
  with pytest.raises(ValueError, match="number of images 1"):
    metrics.ms_ssim_diversity(x[:1], jax.random.key(0))
