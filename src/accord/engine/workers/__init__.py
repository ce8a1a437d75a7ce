"""One project in several processes of one machine: a supervisor, the hub that writes the journal, and the workers.

Receives: a loaded project.  Hands on: forked processes, a listening socket, signals.  Never: runs an event loop or a thread in the
process that forks.
"""
