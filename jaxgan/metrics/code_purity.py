"""What an unsupervised code means: how the values of a code and the classes go together."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxgan.metrics._checks import AnyArray, label_vector

__all__ = ["CodePurity", "code_purity"]


class CodePurity(NamedTuple):
  """What `code_purity` measures.

  Attributes:
    purity: share of the samples whose class is the most frequent one of their code, in (0, 1].
    matched: share of the samples whose class is the one that their code is matched to, in [0, 1].
    matching: `[k]`, the class of each code, no class twice; -1 of a code for which no class is left
      that it has samples of.
    counts: `[k, m]`, samples of each code and class.
  """

  purity: float
  matched: float
  matching: Int[np.ndarray, "k"]
  counts: Int[np.ndarray, "k m"]


def code_purity(
  codes: Int[AnyArray, "n"],
  classes: Int[AnyArray, "n"],
  *,
  sizes: tuple[int, int] | None = None,
) -> CodePurity:
  """Purity of a categorical code, and its accuracy under the best one-to-one matching.

  The matching is the accuracy of clusterings, as in Xie et al. 2016 (arXiv 1511.06335); for
  InfoGAN, Chen et al. 2016 (arXiv 1606.03657), who match each code to a digit. Purity lets several
  codes mean one class, and is 1 where all samples are of one class; matching does not, so `matched`
  is never above `purity` and tells such a collapse. Neither is 0 by chance: of m equally frequent
  classes a code without meaning has a purity of a little over 1 / m, the more over it the fewer
  samples a code has.

  Args:
    codes: from 0, the value of the code that each sample was drawn with.
    classes: from 0, the class that each sample is of, by a classifier say.
    sizes: numbers of codes and of classes, k and m; by default those up to the largest that occur.

  Returns:
    Purity, matched share, the matching and the table that they are of.

  Raises:
    TypeError: codes or classes are not integers.
    ValueError: there are no samples, numbers differ, or a code or class is out of range.

  >>> found = code_purity(np.array([0, 0, 0, 0, 1, 1, 2]), np.array([1, 1, 1, 0, 0, 0, 0]))
  >>> round(found.purity, 3), round(found.matched, 3), found.matching
  (0.857, 0.714, array([ 1,  0, -1]))
  """
  from scipy import optimize  # here: `import jaxgan` is to load no scipy

  n = np.size(codes)
  code, label = label_vector("codes", codes, n), label_vector("classes", classes, n)
  if not n:
    raise ValueError("codes and classes are empty: the purity of no samples is not defined")
  k, m = sizes or (int(code.max()) + 1, int(label.max()) + 1)
  for name, values, size in (("codes", code, k), ("classes", label, m)):
    if values.min() < 0 or values.max() >= size:
      raise ValueError(f"{name} must be in 0..{size - 1}, got {values.min()}..{values.max()}")
  counts = np.zeros([k, m], np.int64)
  np.add.at(counts, (code, label), 1)
  rows, columns = optimize.linear_sum_assignment(counts, maximize=True)
  matching = np.full(k, -1)
  matching[rows] = np.where(counts[rows, columns] > 0, columns, -1)
  return CodePurity(
    float(counts.max(1).sum() / n), float(counts[rows, columns].sum() / n), matching, counts
  )
