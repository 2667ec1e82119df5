"""`GET /openapi.json`: what the API is, as OpenAPI 3.1.

Operations are written by hand, one YAML file a group in `paths/`; `frame.yaml` is what surrounds them
and `schemas.yaml` what fields mean. Shapes and bounds come from the code (`schemas.py`); `document.py`
joins it all. A new route needs its operation in `paths/`: tests say which is missing.
"""

from .answer import DOCUMENT, Document, show

__all__ = ["DOCUMENT", "Document", "show"]
