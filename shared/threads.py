"""Run a blocking call in a thread of its own: a pool would let some calls that hang delay all others."""

import threading
from collections.abc import Callable
from concurrent.futures import Future


def begin[T](call: Callable[[], T], name: str) -> Future[T]:
    """Start `call` and return what it will have returned or raised. The thread does not keep the process alive."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # whoever waits gets it, whatever it is
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
