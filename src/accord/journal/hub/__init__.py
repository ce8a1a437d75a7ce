"""One process that writes an embedded journal for the workers of its machine: their commits become one group and one sync.

Receives: operations and questions of members over socket pairs.  Hands on: results, and to each member what its own parts hold.
Never: looks into a message, runs a flow, or serves a process of another machine.
"""
