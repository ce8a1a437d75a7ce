"""Runs bulk flows: read, map, write, chunk by chunk.

Receives: bulk flows, batches.  Hands on: loads, checkpoints and rejects in the journal.  Never: holds more than a few chunks.
"""
