"""Python's garbage collector, out of the way while much is made and little of it is garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """For tens of thousands of objects, looking for cycles among them takes as long as making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """For imports: what is there afterwards stays, and is not looked through again; that took a tenth of a command's time."""
    with no_collection():
        yield
        gc.freeze()


@contextmanager
def rare_collection() -> Iterator[None]:
    """For long work of the same kind: what is garbage soon is found, what stays is not looked through again and again."""
    before = gc.get_threshold()
    gc.set_threshold(20_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
