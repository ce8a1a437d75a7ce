"""The mapping compiler: expressions, mappings and contracts become Python functions.

Receives: declarations, typed records.  Hands on: typed records, or RecordError with every problem.  Never: does I/O.
"""

from accord.mapping.contract import Contract, compile_contract
from accord.mapping.environment import Environment
from accord.mapping.expression import Expression, compile_expression
from accord.mapping.functions import FunctionTable, function, load_functions
from accord.mapping.lookup import Lookup, read_lookups
from accord.mapping.mapping import Mapping, compile_mapping
from accord.mapping.samples import TestResult, run_tests
from accord.mapping.scope import Scope
from accord.mapping.spec import MappingSpec, read_mapping

__all__ = [
    "Contract",
    "Environment",
    "Expression",
    "FunctionTable",
    "Lookup",
    "Mapping",
    "MappingSpec",
    "Scope",
    "TestResult",
    "compile_contract",
    "compile_expression",
    "compile_mapping",
    "function",
    "load_functions",
    "read_lookups",
    "read_mapping",
    "run_tests",
]
