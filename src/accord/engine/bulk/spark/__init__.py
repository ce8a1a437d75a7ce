"""Receives: parts of a source, and a bulk flow as it is declared.
Hands on: the chunks that this process would have read and mapped by itself, from processes of a Spark cluster, staged where they can be.
Never: decides what a row becomes, or shows one in a target."""
