"""The range of the SDK that `reg` names is the range that is tested: both ends of it."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
import wandb
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
OLDEST = re.findall(r"^OLDEST_SDK := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def tested() -> Requirement:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return next(requirement for requirement in map(Requirement, dependencies) if requirement.name == "wandb")


def test_the_range_begins_with_the_oldest_sdk_that_is_tested(tested: Requirement) -> None:
    assert [Version(part.version) for part in tested.specifier if part.operator == ">="] == [Version(text) for text in OLDEST]


def test_the_range_ends_after_the_sdk_that_gets_installed(tested: Requirement) -> None:
    (pinned,) = re.findall(r"^wandb==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (end,) = (Version(part.version) for part in tested.specifier if part.operator == "<")
    major, minor, *_ = Version(pinned).release
    assert (end.major, end.minor) == (major, minor + 1)


def test_these_tests_run_with_the_sdk_they_are_meant_for() -> None:
    """`make oldest-sdk` names one."""
    assert wandb.__version__ == os.environ.get("REG_TEST_SDK", wandb.__version__)
    assert Version(wandb.__version__) in Requirement(f"wandb>={OLDEST[0]},<1").specifier
