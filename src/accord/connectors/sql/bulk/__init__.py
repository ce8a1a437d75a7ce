"""Loading tables in bulk: chunks of columns, each with its number in one transaction.

Receives: frames in the target's types.  Hands on: rows written, rows refused with the reason.  Never: writes a chunk twice.
"""
