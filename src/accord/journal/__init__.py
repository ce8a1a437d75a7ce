"""Durable truth: accept, settle, wait, dead-letter.

Receives: operations.  Hands on: their results after the commit is on disk.  Never: decides what a flow does next.
"""
