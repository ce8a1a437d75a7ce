"""A server for the stores that need one."""

from tests.servers import postgres

__all__ = ["postgres"]
