"""The JSON schema of pipeline files, for editors: made from the tables that decode them.

Draft 7, which YAML language servers know best. It is as strict as a schema can be without knowing the profile and the
variables: short forms, variables and empty values are accepted, unknown keys are not.
"""

from typing import Any

from ion.config.kinds import Schema
from ion.config.pipeline import PIPELINE


def json_schema() -> dict[str, Any]:
    """The schema as plain JSON values; the same for the same version of Ion."""
    definitions: dict[str, Schema] = {}
    root = PIPELINE.schema(definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Ion pipeline",
        **root,
        "definitions": dict(sorted(definitions.items())),
    }
