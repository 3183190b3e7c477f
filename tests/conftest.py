"""What holds for every test that uses the wandb client in its own process."""

from __future__ import annotations

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    # The client leaves temporary folders to the garbage collector, which finds them in the middle of whatever test comes next.
    item.add_marker(pytest.mark.filterwarnings("ignore:Implicitly cleaning up <TemporaryDirectory:ResourceWarning"))
