"""The checks: pure functions from the curves to evidence and advice, or None.

The thresholds are stated with their reasons. They were chosen so that a healthy run does not cross
them, at the price of silence on mild cases: a verdict is rare and means something.
"""

import math
import statistics
from typing import NamedTuple

import numpy as np

from jaxgan.metrics.health.curves import Check, Curve, Curves, Finding, Setting

__all__ = [
  "CHECKS",
  "conditions_ignored",
  "discriminator_wins",
  "generator_loss_zero",
  "memorisation",
  "mode_collapse",
  "not_finite",
  "oscillation",
  "vanishing_gradients",
]

_LINES = 10  # of the training log, all of which must agree: of its means one alone may stray
_SCORES = 3  # of the rarer lines with scores of samples, likewise
_SPREADS = 5  # of scores of diversity, their median: hopping from mode to mode looks diverse once

# Of a decision or a probability, 1 and 0 but for one in a hundred. D(x) of healthy DCGANs (digits,
# Fashion-MNIST, emoji) comes up to 0.97 in the first 200 steps, and later stays below 0.94.
_CERTAIN = 0.99
_SURE = 0.95  # of D(x), and of 1 - D(G(z)), beside an accuracy of `_CERTAIN`
_ZERO_LOSS = 0.01  # log(1 - D) and -log D where D is as certain as that

# Against the peak. Arjovsky and Bottou 2017 (arXiv 1701.04862) see the generator's gradient fall by
# orders while D trains against a fixed G; in the healthy runs of the tests it stays within two.
_VANISHED = 1e-3
_ADAM_EPS = 1e-8  # and a gradient below it moves no weight by Adam's whole step
_APART = 0.1  # below this gap of D's outputs small gradients mean that the game is solved

_COLLAPSED = 0.5  # less than two modes' worth, see `sample_diversity`; of the best there was
_NEVER_DIVERSE = 0.25  # half of that, for a G that never was better

# A share of 0.5 is right, 1 is copies; 20 samples against 20 have a deviation of 0.09. Blur alone
# does not reach it: held-out digits on 20 principal components have 0.55.
_COPIED = 0.9

_EFFECT = 0.05  # of the spread that follows the condition; 0 for a generator that ignores it

# A window of 64 lines correlates with itself one and two periods before, and against itself in
# between. Of 48,000 windows of first-order autoregressive noise, white to random walk, none passed.
_PERIODS = range(5, 17)
_ALIKE = 0.7
_UNLIKE = -0.2
_SHRINKS = 0.8  # a swing of which less is left in the second half of the window dies out
_SWING = 0.1  # of probabilities; of other curves, of their largest value


def not_finite(curves: Curves, setting: Setting) -> Finding | None:
  """A value of the newest line is NaN or infinite."""
  del setting
  newest = max((curve.steps[-1] for curve in curves.values()), default=0)
  bad = [
    f"{name} = {curve.values[-1]}"
    for name, curve in sorted(curves.items())
    if curve.steps[-1] == newest and not math.isfinite(curve.values[-1])
  ]
  if not bad:
    return None
  return Finding(
    ", ".join(bad),
    "Go back to the last checkpoint with a smaller learning rate, or R1 on the discriminator "
    "(Mescheder et al. 2018, arXiv 1801.04406); in bfloat16 try float32. Losses have to take "
    "logits, and a norm needs a finite gradient at 0. Large conditional runs collapse late: keep "
    "the best checkpoint (Brock et al. 2018, arXiv 1809.11096)",
  )


def discriminator_wins(curves: Curves, setting: Setting) -> Finding | None:
  """D tells every real from every fake, and is sure of it, through ten lines."""
  if not setting.probabilities:
    return None
  accuracy, real, fake = (_last(curves, name, setting) for name in ("D_accuracy", "D_x", "D_G_z1"))
  certain, evidence = bool(accuracy or real), []
  if accuracy:
    certain = certain and min(accuracy) >= _CERTAIN
    evidence.append(f"D_accuracy was at least {min(accuracy):.4g}")
  if real and fake:
    # A penalised D may be right by a little every time, and its slope still teaches G.
    sure = _SURE if accuracy else _CERTAIN
    certain = certain and min(real) >= sure and max(fake) <= 1 - sure
    evidence.append(f"D(x) at least {min(real):.4g}, D(G(z)) at most {max(fake):.2g}")
  if not certain or not evidence:
    return None
  return Finding(
    f"{' with '.join(evidence)} through {_LINES} lines",
    "What D then teaches G is weak or arbitrary. Regularise D by R1 (Mescheder et al. 2018, arXiv "
    "1801.04406) or spectral norm (Miyato et al. 2018, arXiv 1802.05957), give it a smaller "
    "learning rate than G's (Heusel et al. 2017, arXiv 1706.08500) or fewer updates; with few "
    "data, where D knows them by heart, augment (ADA, Karras et al. 2020, arXiv 2006.06676; "
    "DiffAugment, Zhao et al. 2020, arXiv 2006.10738)",
  )


def generator_loss_zero(curves: Curves, setting: Setting) -> Finding | None:
  """G's loss is 0 and D is certain of the fakes, one way or the other, through ten lines."""
  if not setting.probabilities:
    return None
  loss = _last(curves, "loss_G", setting)
  fooled = _last(curves, "D_G_z2", setting) or _last(curves, "D_G_z1", setting)
  if not (loss and fooled and max(map(abs, loss)) <= _ZERO_LOSS):
    return None
  # -log(1 - p) is at least p, and -log p at least 1 - p: a loss of no size at all is none of D's
  # outputs, and G learns from something else, as with feature matching.
  if not any(loss) and any(0.0 < p < 1.0 for p in fooled):
    return None
  evidence = f"loss_G stayed within {max(map(abs, loss)):.2g} of 0 through {len(loss)} lines"
  if max(fooled) <= 1 - _CERTAIN:
    return Finding(
      f"{evidence}, with D(G(z)) at most {max(fooled):.2g}: log(1 - D) is flat there",
      "Take the non-saturating loss, -log D(G(z)) (Goodfellow et al. 2014, arXiv 1406.2661, "
      "section 3), and a D that wins less easily: R1 (Mescheder et al. 2018, arXiv 1801.04406)",
    )
  if min(fooled) >= _CERTAIN:
    return Finding(
      f"{evidence}, with D(G(z)) at least {min(fooled):.4g}: D takes every fake for real",
      "G learns nothing from such a D. Give D a larger learning rate than G's (Heusel et al. 2017, "
      "arXiv 1706.08500), more updates or more width, and a smaller penalty; see that D's updates "
      "and labels are what they should be",
    )
  return None


def vanishing_gradients(curves: Curves, setting: Setting) -> Finding | None:
  """G's gradient is a thousandth of what it was, though D still tells fakes from data."""
  norms = _last(curves, "grad_norm_G", setting)
  if not norms:
    return None
  peak = curves["grad_norm_G"].peak
  if max(norms) > max(_VANISHED * peak, _ADAM_EPS):
    return None
  gap = curves.get("D_x - D_G_z1", Curve())
  apart = gap.last(_LINES)
  if apart and np.median(apart) < _APART * (1.0 if setting.probabilities else max(gap.peak, 0.0)):
    return None
  evidence = f"grad_norm_G was at most {max(norms):.2g} through {len(norms)} lines"
  return Finding(
    evidence + (f", after {peak:.2g}" if max(norms) <= _VANISHED * peak else ""),
    "A D that separates the two perfectly has no slope where the fakes are (Arjovsky and Bottou "
    "2017, arXiv 1701.04862). Take the non-saturating loss (Goodfellow et al. 2014, arXiv "
    "1406.2661) or the Wasserstein loss with a gradient penalty instead of clipped weights "
    "(Gulrajani et al. 2017, arXiv 1704.00028), or R1 (Mescheder et al. 2018, arXiv 1801.04406)",
  )


def mode_collapse(curves: Curves, setting: Setting) -> Finding | None:
  """The spread of samples fell to half of its best, or was never there."""
  recent = _last(curves, "diversity", setting, _SPREADS)
  if not recent:
    return None
  # More spread than the data's is noise of an early G, not a height to fall from.
  best = min(curves["diversity"].peak, 1.0)
  now = statistics.median(recent)
  if now >= max(_COLLAPSED * best, _NEVER_DIVERSE):
    return None
  past = f", after {best:.2g}" if best > max(recent) else ""
  return Finding(
    f"the spread of samples is {now:.2g} of the data's (median of {_SPREADS} scores){past}",
    "Show D several samples at once: minibatch discrimination (Salimans et al. 2016, arXiv "
    "1606.03498) or packing (Lin et al. 2017, arXiv 1712.04086). Let G foresee D by unrolling "
    "(Metz et al. 2016, arXiv 1611.02163), regularise D by R1 (Mescheder et al. 2018, arXiv "
    "1801.04406), and give G no more updates and no larger learning rate than D",
  )


def oscillation(curves: Curves, setting: Setting) -> Finding | None:
  """The players chase each other: a curve repeats itself, and its swing does not die out."""
  bounded = ("D_x", "D_G_z1", "D_G_z2") if setting.probabilities else ("D_x - D_G_z1",)
  found = []
  for name in (*bounded, "loss_D", "loss_G"):
    curve = curves.get(name, Curve())
    unit = setting.probabilities and name in bounded
    least = _SWING * (1.0 if unit else max(map(abs, curve.values), default=0.0))
    cycle = _cycle(curve, setting.warmup)
    if cycle and cycle.high - cycle.low >= least:
      found.append((cycle.likeness, name, cycle))
  if not found:
    return None
  _, name, cycle = max(found)
  return Finding(
    f"{name} swings between {cycle.low:.3g} and {cycle.high:.3g} with a period of about "
    f"{cycle.period:.0f} steps, through {cycle.swings:.0f} periods",
    "Damp the game: R1 (Mescheder et al. 2018, arXiv 1801.04406), alternating for simultaneous "
    "updates, extragradient (Gidel et al. 2018, arXiv 1802.10551), consensus (Mescheder et al. "
    "2017, arXiv 1705.10461) or symplectic adjustment (Balduzzi et al. 2018, arXiv 1802.05642); "
    "less momentum and smaller learning rates; sample G's moving average (Yazici et al. 2018, "
    "arXiv 1806.04498)",
  )


def memorisation(curves: Curves, setting: Setting) -> Finding | None:
  """Samples are nearer to the training set than held-out data are."""
  shares = _last(curves, "memorisation", setting, _SCORES)
  if not shares or min(shares) < _COPIED:
    return None
  return Finding(
    f"a sample is nearer to the training set than a held-out example is in at least "
    f"{min(shares):.1%} of pairs, in {_SCORES} scores (like data: 50%)",
    "Samples are copies, or nearly (the test of Meehan et al. 2020, arXiv 2004.05675): look at "
    "them beside their nearest neighbours. Stop earlier, take more data or a smaller G, or augment "
    "what D sees (ADA, Karras et al. 2020, arXiv 2006.06676; DiffAugment, Zhao et al. 2020, arXiv "
    "2006.10738)",
  )


def conditions_ignored(curves: Curves, setting: Setting) -> Finding | None:
  """Samples do not follow their labels better than by chance, or do not change with them at all."""
  found = []
  accuracies = _last(curves, "label_accuracy", setting, _SCORES)
  if accuracies and setting.classes:
    chance = 1 / setting.classes
    # A tenth of the way from chance to 1; with many classes, where that is far, twice chance.
    if max(accuracies) < min(chance + 0.1 * (1 - chance), 2 * chance):
      found.append(f"label_accuracy was at most {max(accuracies):.3g}, by chance {chance:.3g}")
  effects = _last(curves, "condition_effect", setting, _SCORES)
  if effects and max(effects) < _EFFECT:
    found.append(f"at most {max(effects):.2g} of the samples' spread follows the condition")
  if not found:
    return None
  return Finding(
    f"{' and '.join(found)}, in {_SCORES} scores",
    "Let D judge the pair: a projection of the label (Miyato and Koyama 2018, arXiv 1802.05637), "
    "or an auxiliary classifier (Odena et al. 2016, arXiv 1610.09585). Give G the label in its "
    "norms, and see that D's real pairs and G's labels come from the same batch",
  )


def _last(curves: Curves, name: str, setting: Setting, count: int = _LINES) -> tuple[float, ...]:
  """The last values of a curve, or `()` if there are too few since the warm-up, or no numbers."""
  values = curves.get(name, Curve()).last(count, setting.warmup)
  return values if all(map(math.isfinite, values)) else ()


class _Cycle(NamedTuple):
  likeness: float
  period: float
  swings: float
  low: float
  high: float


def _cycle(curve: Curve, warmup: int) -> _Cycle | None:
  """The oscillation of the end of a curve, if there is one that does not die out."""
  size = 4 * max(_PERIODS)
  values = np.asarray(curve.last(size, warmup))
  steps = np.asarray(curve.steps[-size:], float)
  if not values.size or not np.isfinite(values).all() or steps[0] == steps[-1]:
    return None
  # Lines are not everywhere equally far apart: at a resume, or at the end of a run.
  grid = np.linspace(steps[0], steps[-1], size)
  values = np.interp(grid, steps, values)
  x = np.linspace(-1.0, 1.0, size)
  rest = values - np.polyval(np.polyfit(x, values, 1), x)
  first, second = rest[: size // 2].std(), rest[size // 2 :].std()
  if second <= max(_SHRINKS * first, 1e-6 * np.abs(values).max()):
    return None

  likeness = [1.0, *(_correlation(rest[:-lag], rest[lag:]) for lag in range(1, size // 2 + 2))]
  for lag in _PERIODS:
    before, here, after = likeness[lag - 1 : lag + 2]
    twice = max(likeness[2 * lag - 1 : 2 * lag + 2])  # the period is no whole number of lines
    if here < max(before, after) or min(here, twice) < _ALIKE or min(likeness[:lag]) > _UNLIKE:
      continue
    # The top of the parabola through the three.
    shift = 0.5 * (before - after) / min(before - 2 * here + after, -1e-9)
    period = (lag + float(np.clip(shift, -0.5, 0.5))) * (grid[1] - grid[0])
    low, high = np.quantile(values, [0.05, 0.95])
    return _Cycle(here, period, (grid[-1] - grid[0]) / period, low, high)
  return None


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
  a, b = a - a.mean(), b - b.mean()
  return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), np.finfo(float).tiny))


_D_OUTPUTS = ("D_x", "D_G_z1", "D_G_z2")

CHECKS: tuple[Check, ...] = (
  Check("not_finite", (), _LINES, not_finite),
  Check("discriminator_wins", ("D_accuracy", "D_x", "D_G_z1"), _LINES, discriminator_wins),
  Check("generator_loss_zero", ("loss_G",), _LINES, generator_loss_zero),
  Check("vanishing_gradients", ("grad_norm_G",), _LINES, vanishing_gradients),
  Check("mode_collapse", ("diversity",), _SCORES, mode_collapse),
  Check("oscillation", (*_D_OUTPUTS, "loss_D", "loss_G"), max(_PERIODS), oscillation),
  Check("memorisation", ("memorisation",), _SCORES, memorisation),
  Check("conditions_ignored", ("label_accuracy", "condition_effect"), _SCORES, conditions_ignored),
)
