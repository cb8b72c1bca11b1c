"""The examples in docstrings say what happens."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import jaxprune

MODULES = ["jaxprune", *(module.name for module in pkgutil.walk_packages(jaxprune.__path__, "jaxprune."))]
WITH_EXAMPLES = [name for name in MODULES if ">>>" in (import_module(name).__loader__.get_source(name) or "")]


def test_there_are_examples() -> None:
    assert "jaxprune" in WITH_EXAMPLES


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_are_true(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
