"""Work that threads do ahead of whoever needs its results."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent import futures
from typing import TypeVar

__all__ = ["run_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_ahead(
  work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[Result, None, None]:
  """Like `map`, in order, with a bounded number of results prepared by threads.

  Args:
    work: what to do with an item; its exceptions surface where its result would.
    items: possibly endless.
    threads: how many work at once.
    ahead: how many items are taken beyond the one whose result is given out.

  Yields:
    The results. Closing the generator ends the threads.

  >>> list(run_ahead(abs, [-1, 2, -3], threads=2, ahead=1))
  [1, 2, 3]
  """
  pool = futures.ThreadPoolExecutor(threads, "jaxgan-data")
  waiting: collections.deque[futures.Future[Result]] = collections.deque()
  try:
    for item in items:
      waiting.append(pool.submit(work, item))
      if len(waiting) > ahead:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)
