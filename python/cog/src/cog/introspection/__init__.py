"""What a model takes and gives, read from its signature: for tools and unit tests. No server uses it.

Start with :func:`inspect_model`. Images get their schema from the source instead, without running it.
"""

from .annotations import Element, InputType, input_type
from .inputs import InputField, input_field
from .models import ModelSignature, inspect_model
from .outputs import OutputType, output_type
from .values import check_input, normalized

__all__ = [
    "Element",
    "InputField",
    "InputType",
    "ModelSignature",
    "OutputType",
    "check_input",
    "input_field",
    "input_type",
    "inspect_model",
    "normalized",
    "output_type",
]
