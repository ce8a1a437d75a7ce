"""Receives: parts of a source, and a bulk flow as it is declared.
Hands on: the same chunks that this process would have read and mapped by itself, from the processes of a Spark cluster.
Never: decides what a row becomes, or writes to a target."""
