import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxgan import augment, latents
from jaxgan.augment import resampling

KEY = jax.random.key(7)
DIFF_AUGMENT = {
  "brightness": augment.brightness,
  "saturation": augment.saturation,
  "contrast": augment.contrast,
  "translation": augment.translation,
  "cutout": augment.cutout,
}
GROUPS = {
  "blitting": augment.pixel_blitting,
  "geometry": augment.ada_geometry,
  "colour": augment.ada_colour,
  "filter": augment.ada_filter,
  "corruption": augment.ada_corruption,
  "ada cutout": augment.ada_cutout,
}
EVERYTHING = augment.compose(
  augment.contrast,
  augment.translation,
  augment.cutout,
  augment.ada(0.7, groups=augment.BGCFNC),
)


def pictures(*shape, seed=0, dtype=np.float32):
  return np.random.default_rng(seed).uniform(-1, 1, shape).astype(dtype)


def example_keys(n):
  return [jax.random.fold_in(KEY, index) for index in range(n)]


# DiffAugment, against torch, given the same random numbers.


def torch_brightness(torch, x, key):
  return x + float(jax.random.uniform(key, [], minval=-0.5, maxval=0.5))


def torch_saturation(torch, x, key):
  grey = x.mean(dim=0, keepdim=True).expand_as(x)
  return torch.lerp(grey, x, float(jax.random.uniform(key, [], maxval=2.0)))


def torch_contrast(torch, x, key):
  factor = float(jax.random.uniform(key, [], minval=0.5, maxval=1.5))
  return torch.lerp(torch.full_like(x, float(x.mean())), x, factor)


def torch_translation(torch, x, key):
  _, h, w = x.shape
  reach = [int(h / 8 + 0.5), int(w / 8 + 0.5)]
  down, right = np.asarray(
    jax.random.randint(key, [2], -jnp.array(reach), jnp.array(reach) + 1, jnp.int32)
  ).tolist()
  padded = torch.nn.functional.pad(x, [w, w, h, h])
  return padded[:, h - down : 2 * h - down, w - right : 2 * w - right]


def torch_cutout(torch, x, key):
  _, h, w = x.shape
  sides = [int(h / 2 + 0.5), int(w / 2 + 0.5)]
  places = jnp.array([size + 1 - side % 2 for size, side in zip((h, w), sides, strict=True)])
  centre = np.asarray(jax.random.randint(key, [2], 0, places, jnp.int32)).tolist()
  (top, bottom), (left, right) = (
    (max(c - side // 2, 0), max(c - side // 2 + side, 0))
    for c, side in zip(centre, sides, strict=True)
  )
  x = x.clone()
  x[:, top:bottom, left:right] = 0
  return x


@pytest.mark.parametrize("shape", [(6, 16, 16, 3), (6, 13, 10, 1)])
@pytest.mark.parametrize("name", DIFF_AUGMENT)
def test_diff_augment_against_torch(name, shape):
  torch = pytest.importorskip("torch")
  images = pictures(*shape)
  reference = globals()[f"torch_{name}"]
  expected = [
    reference(torch, torch.from_numpy(x.transpose(2, 0, 1).copy()), key).numpy().transpose(1, 2, 0)
    for x, key in zip(images, example_keys(6), strict=True)
  ]
  actual = jax.jit(DIFF_AUGMENT[name])(images, KEY)
  np.testing.assert_allclose(actual, np.stack(expected), atol=1e-6)


def test_diff_augment_reach():
  """Over many draws, translation and cutout go exactly as far as the paper lets them."""
  images = np.zeros([3000, 16, 16, 1], np.float32)
  images[:, 8, 8] = 1
  out = np.asarray(jax.jit(augment.translation)(images, KEY))[..., 0]
  rows, columns = np.nonzero(out.sum(0))
  assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 10, 6, 10)
  np.testing.assert_allclose(out.mean(0)[6:11, 6:11], 1 / 25, atol=0.02)
  cut = np.asarray(jax.jit(augment.cutout)(np.ones_like(images), KEY))[..., 0] == 0
  area = cut.sum(axis=(1, 2))
  assert (area.min(), area.max()) == (4 * 4, 8 * 8)


# ADA, against matrices composed in NumPy from the same draws.


def smooth_pictures(n, size, channels):
  noise = np.random.default_rng(1).normal(size=[n, size, size, channels])
  smooth = scipy.ndimage.gaussian_filter(noise, (0, 3, 3, 0), mode="mirror")
  return (smooth / smooth.std()).astype(np.float32)


def rotate(angle):
  return np.array(
    [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
  )


def translate(shift):
  return np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])


def scipy_warp(image, forward):
  """Moves what is at q to forward(q), in (row, column) from the centre, by cubic splines."""
  centre = np.append((np.array(image.shape[:2]) - 1) / 2, 0)
  inverse = np.linalg.inv(forward)
  offset = (centre + inverse @ (np.array([0, 0, 1]) - centre))[:2]
  return np.stack(
    [
      scipy.ndimage.affine_transform(channel, inverse[:2, :2], offset, order=3, mode="mirror")
      for channel in np.moveaxis(image, -1, 0)
    ],
    axis=-1,
  )


def normal(key, shape):
  return np.asarray(jax.random.normal(key, shape), np.float64)


def uniform(key, shape):
  return np.asarray(jax.random.uniform(key, shape, minval=-1.0, maxval=1.0), np.float64)


def test_geometry_against_composed_matrices():
  images = smooth_pictures(8, 32, 2)
  actual = jax.jit(augment.ada_geometry(1.0))(images, KEY)
  for image, key, out in zip(images, example_keys(8), actual, strict=True):
    k = jax.random.split(key, 3)
    (before, after), draw = np.pi * uniform(k[1], [2]), normal(k[2], [4])
    scale, aspect = 2 ** (0.2 * draw[:2])
    forward = (
      translate(0.125 * 32 * draw[2:])
      @ rotate(after)
      @ np.diag([1 / aspect, aspect, 1])
      @ rotate(before)
      @ np.diag([scale, scale, 1])
    )
    difference = np.abs(out - scipy_warp(image, forward))  # of pictures of standard deviation 1
    assert difference.mean() < 0.03
    assert difference.max() < 0.12


def test_blitting_against_numpy():
  images = pictures(48, 16, 16, 3)
  actual = jax.jit(augment.pixel_blitting(1.0))(images, KEY)
  seen = set()
  for image, key, out in zip(images, example_keys(48), actual, strict=True):
    draw = uniform(jax.random.split(key)[1], [4])
    flip, turns = draw[0] > 0, int(2 * (draw[1] + 1))
    down, right = np.round(0.125 * 16 * draw[2:]).astype(int)
    expected = np.rot90(image[:, ::-1] if flip else image, -turns)
    padded = np.pad(expected, [(2, 2), (2, 2), (0, 0)], mode="reflect")
    expected = padded[2 - down : 18 - down, 2 - right : 18 - right]
    np.testing.assert_array_equal(out, expected)
    seen.add((flip, turns))
  assert len(seen) == 8


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_against_composed_matrices(channels):
  images = pictures(8, 4, 4, channels)
  actual = jax.jit(augment.ada_colour(1.0))(images, KEY)
  luma = np.array([[1], [1], [1], [0]]) / np.sqrt(3)
  project = luma @ luma.T
  cross = np.zeros([4, 4])
  cross[:3, :3] = np.cross(np.eye(3), luma[:3, 0]).T @ -np.eye(3)
  for image, key, out in zip(images, example_keys(8), actual, strict=True):
    k = jax.random.split(key, 3)
    draw, (turn_over, hue) = normal(k[1], [3]), uniform(k[2], [2]) * [1, np.pi]
    brightness, contrast = np.eye(4), np.diag([2 ** (0.5 * draw[1])] * 3 + [1])
    brightness[:3, 3] = 0.2 * draw[0]
    flip = np.eye(4) - 2 * (turn_over > 0) * project
    rotation = np.eye(4) + np.sin(hue) * cross + (1 - np.cos(hue)) * cross @ cross
    saturation = project + (np.eye(4) - project) * 2 ** draw[2]
    matrix = saturation @ rotation @ flip @ contrast @ brightness
    if channels == 1:  # as a grey picture in RGB
      image = np.repeat(image, 3, axis=-1)
    expected = image @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(out, expected[..., :channels], atol=1e-5)


def test_filter_against_frequency_responses():
  """Mirrored cosines are the eigenvectors; the eigenvalues follow from sym2's response."""
  size = 17
  frequency = np.pi * np.arange(size) / (size - 1)
  waves = np.cos(np.outer(frequency, np.arange(size)))

  def low(w):
    response = np.exp(-1j * np.multiply.outer(w, np.arange(4))) @ resampling.SYM2
    return np.abs(response) ** 2 / 2

  low1, low2, low4 = low(frequency), low(2 * frequency), low(4 * frequency)
  octaves = np.stack([low1 * low2 * low4, low1 * low2 * (1 - low4), low1 * (1 - low2), 1 - low1])
  np.testing.assert_allclose(octaves.sum(0), 1, atol=1e-9)
  bands = resampling.band_matrices(size)
  np.testing.assert_allclose(
    np.einsum("khw,nw->knh", bands, waves), octaves[:, :, None] * waves, atol=1e-9
  )

  images = np.broadcast_to(np.ones([size, 1, 1]) * waves[3][:, None], [8, size, size, 1])
  actual = jax.jit(augment.ada_filter(1.0))(jnp.asarray(images, jnp.float32), KEY)
  for key, out in zip(example_keys(8), actual, strict=True):
    gain = np.ones(4)
    for octave, draw in enumerate(normal(jax.random.split(key)[1], [4])):
      each = np.ones(4)
      each[octave] = 2**draw
      gain *= each / np.sqrt(np.array([10, 1, 1, 1]) @ each**2 / 13)
    response = gain @ octaves
    np.testing.assert_allclose(out, response[0] * response[3] * images[0], atol=2e-5)


def test_corruption_against_numpy():
  images = pictures(8, 8, 12, 3)
  actual = jax.jit(augment.ada_corruption(1.0))(images, KEY)
  for image, key, out in zip(images, example_keys(8), actual, strict=True):
    k = jax.random.split(key, 4)
    expected = image + np.abs(0.1 * normal(k[1], [])) * normal(k[2], [8, 12, 3])
    centre = (uniform(k[3], [2]) + 1) / 2
    for row, column in np.ndindex(8, 12):
      distance = np.abs([(row + 0.5) / 8 - centre[0], (column + 0.5) / 12 - centre[1]])
      if (distance < 0.25).all():
        expected[row, column] = 0
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize(
  ("group", "untouched"),
  [
    # A flip, a rotation and a shift of 4 pixels by less than half of one are the identity too.
    (augment.pixel_blitting, (1 - 0.3 / 2) * (1 - 0.3 * 3 / 4)),
    (augment.ada_geometry, 0.7**4),  # the two rotations together strike with p
    (augment.ada_colour, 0.7 * 0.7 * (1 - 0.3 / 2) * 0.7 * 0.7),
    (augment.ada_filter, 0.7**4),
    (augment.ada_corruption, None),
    (augment.ada_cutout, 0.7),
  ],
)
def test_each_transform_strikes_with_probability_p(group, untouched):
  """The share of pictures left alone; a cutout is counted by the pixel it blackens."""
  n = 3000
  images = np.broadcast_to(pictures(4, 4, 3), [n, 4, 4, 3])
  out = np.asarray(jax.jit(group(0.3))(images, KEY))
  if untouched is None:
    is_struck = (out == 0).any(axis=(1, 2, 3))
    assert abs(is_struck.mean() - 0.3) < 0.03
    untouched = 0.7 * 0.7
  same = np.isclose(out, images, atol=1e-5).all(axis=(1, 2, 3)).mean()
  assert abs(same - untouched) < 4 * np.sqrt(untouched * (1 - untouched) / n)


# The warp itself.


def test_identity_and_whole_shifts_of_the_warp_are_exact_inside():
  image = pictures(40, 36, 2)
  same = resampling.warp(image, jnp.eye(2), jnp.zeros(2))
  np.testing.assert_allclose(same[6:-6, 6:-6], image[6:-6, 6:-6], atol=2e-6)
  moved = resampling.warp(image, jnp.eye(2), jnp.array([3.0, -5.0]))
  expected = np.roll(image, (3, -5), (0, 1))
  np.testing.assert_allclose(moved[12:-12, 12:-12], expected[12:-12, 12:-12], atol=2e-6)


def test_warp_against_torch(x64):
  """Values and gradients: sym6 as transposed convolution, grid_sample between, sym6 once more."""
  torch = pytest.importorskip("torch")
  f, size = torch.nn.functional, 12
  rng = np.random.default_rng(3)
  image, direction = rng.normal(size=[2, size, size, 2])
  linear = np.array([[0.9, 0.5], [-0.6, 1.2]])
  shift = np.array([1.3, -2.4])

  def ours(image, linear, shift):
    return (jnp.tanh(resampling.warp(image, linear, shift)) * direction).sum()

  found = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(image, linear, shift)
  leaves = [torch.tensor(x).requires_grad_() for x in (image, linear, shift)]
  taps = torch.tensor(resampling.SYM6)
  kernel = torch.outer(taps, taps).expand(2, 1, 12, 12)
  padded = f.pad(leaves[0].permute(2, 0, 1)[None], (6,) * 4, mode="reflect")
  double = f.conv_transpose2d(padded, 2.0 * kernel, stride=2, groups=2)
  start = 2 * 6 + 5  # the padding, and the filter's delay
  double = double[:, :, start : start + 2 * size - 1, start : start + 2 * size - 1]
  axis = (torch.arange(-5, 2 * size + 5, dtype=torch.float64) - (size - 1)) / 2
  row, column = torch.meshgrid(axis - leaves[2][0], axis - leaves[2][1], indexing="ij")
  # In units of half the picture, (column, row), as grid_sample has it.
  at = [leaves[1][i, 0] * row + leaves[1][i, 1] * column for i in (1, 0)]
  grid = torch.stack(at, -1)[None] / ((size - 1) / 2)
  moved = f.grid_sample(double, grid, padding_mode="reflection", align_corners=True)
  out = f.conv2d(moved, kernel / 2.0, stride=2, groups=2)[0].permute(1, 2, 0)
  value = (out.tanh() * torch.tensor(direction)).sum()
  np.testing.assert_allclose(found[0], value.item(), rtol=1e-10)
  for a, b in zip(found[1], torch.autograd.grad(value, leaves), strict=True):
    np.testing.assert_allclose(a, b.numpy(), rtol=1e-8, atol=1e-10)


def test_wavelets_are_orthonormal():
  for taps in (resampling.SYM2, resampling.SYM6):
    overlaps = [taps[2 * k :] @ taps[: taps.size - 2 * k] for k in range(taps.size // 2)]
    np.testing.assert_allclose(overlaps, np.eye(taps.size // 2)[0], atol=1e-11)
    np.testing.assert_allclose(taps.sum(), np.sqrt(2), atol=1e-11)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_reflection(size):
  position = np.arange(-12, 13)
  expected = np.pad(np.arange(size), 12, mode="reflect" if size > 1 else "edge")[: position.size]
  np.testing.assert_array_equal(
    resampling.reflect(jnp.asarray(position, jnp.float32), size), expected
  )


# What all of them share.


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_p_of_zero_is_the_identity_and_may_be_traced(group):
  images = pictures(3, 9, 6, 1)
  apply = jax.jit(lambda images, p: group(p)(images, KEY))
  np.testing.assert_allclose(apply(images, 0.0), images, atol=3e-6)
  out = apply(images, 1.0)
  assert out.shape == images.shape
  assert np.isfinite(out).all()
  assert not np.allclose(out, images, atol=1e-2)


def value_and_pullback(images, axis_name=None):
  out, pullback = jax.vjp(lambda images: EVERYTHING(images, KEY, axis_name=axis_name), images)
  return out, pullback(out**2)[0]


@pytest.fixture(scope="module")
def on_one_device():
  return jax.jit(value_and_pullback)


@pytest.mark.parametrize("check_vma", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_eight_devices_augment_as_one(on_one_device, check_vma):
  images = pictures(8, 8, 8, 3)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  sharded = jax.shard_map(
    lambda images: value_and_pullback(images, "data"),
    mesh=mesh,
    in_specs=P("data"),
    out_specs=P("data"),
    check_vma=check_vma,
  )
  for actual, expected in zip(jax.jit(sharded)(images), on_one_device(images), strict=True):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_examples_do_not_mix_and_draw_for_themselves(on_one_device):
  images = np.array(np.broadcast_to(pictures(8, 8, 3), [8, 8, 8, 3]))
  out, _ = on_one_device(images)
  assert len(np.unique(np.round(out.reshape(8, -1), 4), axis=0)) == 8
  images[2] += 1
  changed, _ = on_one_device(images)
  np.testing.assert_array_equal(np.delete(changed, 2, axis=0), np.delete(out, 2, axis=0))
  assert not np.allclose(changed[2], out[2], atol=1e-2)


def test_gradients_of_both_orders(x64):
  """R1 through the augmentation: the gradient of a gradient's square, against differences."""
  policy = augment.compose(augment.contrast, augment.pixel_blitting(0.9), augment.ada_geometry(0.9))
  images = jnp.asarray(pictures(2, 5, 5, 3, dtype=np.float64))

  def penalty(images):
    def critic(images):
      return jnp.sin(policy(images, KEY)).sum()

    return (jax.grad(critic)(images) ** 2).sum()

  check_grads(jax.jit(penalty), (images,), order=1, modes=["rev"], atol=1e-4, rtol=1e-4)


def test_dtypes(on_one_device):
  images = pictures(8, 8, 8, 3)
  single, _ = on_one_device(images)
  with jax.enable_x64(True):
    double = jax.jit(EVERYTHING)(images.astype(np.float64), KEY)
  assert (single.dtype, double.dtype) == (jnp.float32, jnp.float64)
  np.testing.assert_allclose(single, double, atol=2e-4)
  rounded = jnp.asarray(images, jnp.bfloat16)
  out = jax.jit(augment.contrast)(rounded, KEY)
  assert out.dtype == jnp.bfloat16
  exact = jax.jit(augment.contrast)(rounded.astype(jnp.float32), KEY)
  np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))


def test_compose_applies_in_order_with_separate_keys():
  images = pictures(2, 4, 4, 3)
  policy = augment.compose(augment.contrast, augment.brightness)
  keys = [jax.random.fold_in(KEY, index) for index in range(2)]
  expected = augment.brightness(augment.contrast(images, keys[0]), keys[1])
  np.testing.assert_array_equal(policy(images, KEY), expected)
  assert augment.compose()(images, KEY) is images


@pytest.mark.parametrize(
  ("call", "error", "message"),
  [
    (lambda x: augment.cutout(x[0], KEY), ValueError, r"\[batch, h, w, c\], got \(8, 8, 3\)"),
    (lambda x: augment.colour(x.astype(np.uint8), KEY), TypeError, "floating.*uint8"),
    (lambda x: augment.cutout(x, KEY, ratio=2.0), ValueError, r"ratio must be in \[0, 1\], got 2"),
    (lambda x: augment.translation(x, KEY, ratio=-1.0), ValueError, "ratio must be"),
    (lambda x: augment.ada(1.5), ValueError, r"p must be in \[0, 1\], got 1.5"),
    (lambda x: augment.ada_init(-0.1), ValueError, r"p must be in \[0, 1\], got -0.1"),
  ],
)
def test_bad_input(call, error, message):
  with pytest.raises(error, match=message):
    call(pictures(2, 8, 8, 3))


# The adaptive probability.


def test_p_follows_the_closed_form():
  rng = np.random.default_rng(0)
  update = jax.jit(lambda state, logits: augment.ada_update(state, logits, speed=1000))
  state, p = augment.ada_init(0.5), 0.5
  for share in (0.9, 0.7, 0.81, 0.78, 0.1):  # r_t = 2 * share - 1, against 0.6
    logits = np.where(rng.permutation(80) < share * 80, 3.0, -0.1).reshape(4, 20)
    for batch in logits:
      assert float(state.p) == pytest.approx(p)
      state = update(state, batch)
    p += np.sign(np.sign(logits).mean() - 0.6) * 80 / 1000
  assert float(state.p) == pytest.approx(p)
  assert p == pytest.approx(0.5 + (1 - 1 + 1 - 1 - 1) * 0.08)


@pytest.mark.parametrize("batch", [10, 40])
def test_p_moves_by_images_whatever_the_batch(batch):
  update = jax.jit(lambda state, logits: augment.ada_update(state, logits, speed=1000))
  state = augment.ada_init()
  for _ in range(800 // batch):
    state = update(state, jnp.ones([batch, 1], jnp.bfloat16))
  assert float(state.p) == pytest.approx(0.8)
  for _ in range(800 // batch):
    state = update(state, jnp.ones([batch, 1], jnp.bfloat16))
  assert float(state.p) == 1
  for _ in range(1200 // batch):
    state = update(state, -jnp.ones([batch, 1], jnp.bfloat16))
  assert float(state.p) == 0


@pytest.mark.parametrize("check_vma", [True, False])
def test_p_sees_all_devices(check_vma):
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  logits = jnp.where(jnp.arange(16) < 14, 1.0, -1.0)  # r_t = 0.75, yet the last device sees -1
  sharded = jax.shard_map(
    lambda state, logits: augment.ada_update(state, logits, every=1, axis_name="data"),
    mesh=mesh,
    in_specs=(P(), P("data")),
    out_specs=P(),
    check_vma=check_vma,
  )
  actual = jax.jit(sharded)(augment.ada_init(), logits)
  expected = augment.ada_update(augment.ada_init(), logits, every=1)
  assert float(expected.p) == pytest.approx(16 / 500_000)
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_population_of_probabilities():
  states = jax.vmap(lambda p: augment.ada_init()._replace(p=p))(jnp.array([0.0, 1.0]))
  states = jax.vmap(lambda state: augment.ada_update(state, jnp.ones([4]), every=1))(states)
  np.testing.assert_allclose(states.p, [4 / 500_000, 1])
  images = pictures(2, 8, 8, 3)
  out = jax.jit(jax.vmap(lambda p: augment.ada_colour(p)(images, KEY)))(jnp.array([0.0, 1.0]))
  np.testing.assert_allclose(out[0], images, atol=1e-6)
  assert not np.allclose(out[1], images, atol=1e-2)


def test_keys_are_those_of_the_latents_module():
  seen = augment.per_example(lambda image, key: image + jax.random.normal(key, []))
  noise = jax.vmap(lambda key: jax.random.normal(key, []))(latents.example_keys(KEY, 3))
  np.testing.assert_array_equal(seen(jnp.zeros([3, 1, 1, 1]), KEY)[:, 0, 0, 0], noise)
