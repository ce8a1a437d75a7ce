"""Functions an expression can call: built-in families, and the project's own.

Receives: Python functions with a typed signature.  Hands on: the table the compiler reads.  Never: does I/O of its own.
"""

from accord.mapping.functions.project import function, load_functions
from accord.mapping.functions.signature import Function, Rejected, Signature
from accord.mapping.functions.table import FunctionTable

__all__ = ["Function", "FunctionTable", "Rejected", "Signature", "function", "load_functions"]
