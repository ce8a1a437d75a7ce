"""What a connector or step author imports.

Receives: declared settings and entities.  Hands on: the connector contract, capabilities, HTTP values.  Never: does I/O itself.
"""
