"""A server for queues over a journal that has to be awaited."""

from tests.servers import postgres

__all__ = ["postgres"]
