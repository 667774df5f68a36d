"""The loop around a step: configs, logs, samples, checkpoints. Needs `jaxgan[experiments]`."""

from jaxgan.run.config import Config, Record, RunError
from jaxgan.run.loop import friendly_errors, main, train
from jaxgan.run.state import restore

__all__ = ["Config", "Record", "RunError", "friendly_errors", "main", "restore", "train"]
