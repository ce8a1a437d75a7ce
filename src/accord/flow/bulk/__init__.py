"""Bulk flows: the same steps over many records at once.

Receives: flow files with ``read:``, rows.  Hands on: what each target is to be given, rejects, what was filtered.  Never: does I/O.
"""
