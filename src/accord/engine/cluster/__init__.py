"""Several engines on one journal, working as one.

Receives: censuses, what other members hand over.  Hands on: parts taken and given, messages to their owners.  Never: runs steps.
"""
