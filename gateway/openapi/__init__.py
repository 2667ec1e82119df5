"""`GET /openapi.json`: what the API is, as OpenAPI 3.1.

Operations are written by hand, one YAML file a group in `paths/`; `frame.yaml` holds the rest of the document
and `schemas.yaml` the meaning of fields. Shapes and bounds come from the code (`schemas.py`); `document.py`
joins all of it. A new route needs its operation in `paths/`: a test names a missing one.
"""

from .answer import DOCUMENT, Document, show

__all__ = ["DOCUMENT", "Document", "show"]
