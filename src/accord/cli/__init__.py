"""The command line: one file per command, thin.

Receives: arguments.  Hands on: calls of project and engine, tables on the terminal.  Never: decides anything.
"""
