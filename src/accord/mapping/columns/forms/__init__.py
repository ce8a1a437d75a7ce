"""Column forms of functions, one module a family, as their row forms in ``accord.mapping.functions``.

Receives: calls whose arguments are columns.  Hands on: columns, odd where the row form must decide.  Never: guesses.
"""

from accord.mapping.columns.forms import conditions, dates, lists, numbers, patterns, references, text
from accord.mapping.columns.forms.table import form_of, names_with_forms

__all__ = ["conditions", "dates", "form_of", "lists", "names_with_forms", "numbers", "patterns", "references", "text"]
