"""Tasks that fail, each in its own way."""

import os

from meshq import task


class OutOfStock(Exception):
    """An error of this module's own, with data."""

    def __init__(self, item: str, missing: int) -> None:
        super().__init__(item, missing)
        self.item = item
        self.missing = missing

    def __str__(self) -> str:
        return f"{self.missing} more {self.item} are needed"


@task
def divide(x: float, y: float) -> float:
    """Fail with an error that Python itself raises, if y is 0."""
    return x / y


@task
def order(item: str, count: int) -> str:
    """Fail with an error of this module, if there are more than 10."""
    if count > 10:
        raise OutOfStock(item, count - 10)
    return f"{count} {item}"


@task
def query() -> None:
    """Fail with an error of a module that only the node has imported."""
    import sqlite3

    sqlite3.connect(":memory:").execute("select * from nowhere")


@task
def crash() -> None:
    """End the worker process without a word, as a fault in a C library would."""
    os._exit(1)
