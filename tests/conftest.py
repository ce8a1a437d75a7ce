"""The public suites' asserts show their values. Here, because it has to come before any test imports them."""

import pytest

pytest.register_assert_rewrite(
    "accord.testing.journal_suite", "accord.testing.shared_machine", "accord.testing.shared_suite"
)
