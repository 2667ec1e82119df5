"""OpenAI's JSON for files, batches, lists, models and errors, as clients get it.

Owns the shapes: every field is always present, null if it does not apply (OpenAI API reference); only
extensions may be left out.
"""
