"""Takes a member of a population out, as a run of its own that goes on where the member was.

python -m experiments.dcgan --workdir=/tmp/many --population=8 --vary learning-rate=1e-4,2e-4
python -m experiments.population --workdir=/tmp/many --out=/tmp/best
"""

import dataclasses
import sys
from typing import Literal

from jaxgan import run


@dataclasses.dataclass(frozen=True)
class Options:
  """What the command is told."""

  workdir: str
  """Folder of the population."""
  out: str
  """Folder of the run that is made; it must not hold one."""
  member: Literal["best"] | int = "best"
  """Which member: its number, or the one with the best score."""
  checkpoint: Literal["latest", "best"] | int = "latest"
  """Of which checkpoint: latest, best or a step."""


def main(options: Options) -> None:
  """Writes the run and says how it goes on."""
  exported = run.export_member(
    options.workdir, options.out, member=options.member, checkpoint=options.checkpoint
  )
  print(exported, file=sys.stderr)


if __name__ == "__main__":
  with run.command_line():
    main(run.read_flags(Options, description=__doc__))
