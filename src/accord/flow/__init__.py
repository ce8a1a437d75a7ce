"""Declared flows: read, check, and decide the next command.

Receives: a message and the results so far.  Hands on: commands.  Never: does I/O, waits, or reads a clock.
"""
