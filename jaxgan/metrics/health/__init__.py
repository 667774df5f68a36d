"""Health of a training run: verdicts in plain words, from the curves that it logs.

`Monitor` is told every line of the log and answers with the verdicts that start there; `diagnose`
reads the curves of a run that is over. Each verdict names the step, the evidence in numbers, and
what to try, with the paper. The checks, and the curves that they read:

  not_finite            all
  discriminator_wins    D_accuracy, or D_x and D_G_z1 (probabilities only)
  generator_loss_zero   loss_G with D_G_z2 (probabilities only)
  vanishing_gradients   grad_norm_G, with D_x and D_G_z1
  mode_collapse         diversity, of `jaxgan.metrics.sample_diversity`
  oscillation           D_x, D_G_z1, D_G_z2, loss_D, loss_G
  memorisation          memorisation, the share of `jaxgan.metrics.memorisation`
  conditions_ignored    label_accuracy, condition_effect of `jaxgan.metrics.condition_effect`

A check whose curves are not logged says nothing. Where D's outputs are no probabilities
(Wasserstein and relativistic losses, least squares, energies), say `probabilities=False`: then no
check compares an output with a number, only with the output's own past.
"""

from jaxgan.metrics.health.checks import CHECKS
from jaxgan.metrics.health.curves import Check, Curve, Curves, Finding, Setting
from jaxgan.metrics.health.monitor import Monitor, Verdict, diagnose

__all__ = [
  "CHECKS",
  "Check",
  "Curve",
  "Curves",
  "Finding",
  "Monitor",
  "Setting",
  "Verdict",
  "diagnose",
]
