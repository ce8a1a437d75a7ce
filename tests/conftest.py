"""The public suites' asserts show their values. Here, because it has to come before any test imports them.

Also the option that keeps what a browser sees: options have to be declared here.
"""

import pytest

pytest.register_assert_rewrite(
    "accord.testing.journal_suite", "accord.testing.shared_machine", "accord.testing.shared_suite"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", metavar="FOLDER", default="", help="keep pictures of the pages a browser saw")
