"""The report of a run: one page that holds all it shows, see `write_report`.

It imports matplotlib and jinja2, which training does without: import it where it is written.
"""

from jaxgan.run.page.page import MOST, write_report

__all__ = ["MOST", "write_report"]
