"""Servers for the stores that need one."""

from tests.servers import nats_cluster, nats_server, postgres

__all__ = ["nats_cluster", "nats_server", "postgres"]
