"""People who act on an engine.

Receives: who asks, with what proof.  Hands on: who they are, what they may do, and a trail of what they did.  Never: acts itself.
"""
