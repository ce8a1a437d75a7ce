"""The suite's asserts show their values."""

import pytest

pytest.register_assert_rewrite("accord.testing.journal_suite")
