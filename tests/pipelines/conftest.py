"""What the tests of stages share: a home of a module's own, reached by the real client."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from registry.backend import Backend
from registry.connection import connect
from tests.models_on_a_server import settings_of


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend on an embedded server with an empty home, away from everything else on this machine."""
    home = tmp_path_factory.mktemp("stages") / "home"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "WANDB_CACHE_DIR"):
            patch.setenv(name, str(home.parent))
        with connect(settings_of(home)) as backend:
            yield backend
    # The client's temporary folders of logged tables: found now, and not when the interpreter ends and warnings are errors.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
