"""The suite's asserts show their values; a server for the stores that need one."""

import pytest
from tests.servers import postgres

__all__ = ["postgres"]

pytest.register_assert_rewrite("accord.testing.journal_suite")
