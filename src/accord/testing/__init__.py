"""The public test kit: conformance suites, virtual clock, fault proxy, crash points.

Receives: a connector, a store, a process.  Hands on: reports of what holds.  Never: is needed at run time.
"""
