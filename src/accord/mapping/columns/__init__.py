"""Mappings, contracts and expressions over Polars frames, with the meaning of the row form.

Receives: compiled mappings and contracts, frames.  Hands on: frames, rejects with the row form's reasons.  Never: guesses.
"""

from accord.mapping.columns.needs import POLARS_VERSION  # isort: skip
from accord.mapping.columns.contract import Checked, ColumnContract, Reject, compile_contract_columns
from accord.mapping.columns.expression import ColumnExpression, Evaluated, compile_expression_columns
from accord.mapping.columns.mapping import ColumnMapping, Mapped, Waiting, compile_mapping_columns
from accord.mapping.columns.parts import Resolve

__all__ = [
    "POLARS_VERSION",
    "Checked",
    "ColumnContract",
    "ColumnExpression",
    "ColumnMapping",
    "Evaluated",
    "Mapped",
    "Reject",
    "Resolve",
    "Waiting",
    "compile_contract_columns",
    "compile_expression_columns",
    "compile_mapping_columns",
]
