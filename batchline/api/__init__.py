"""OpenAI's API as records and JSON: what clients send and what they get, with OpenAI's codes and messages.

endpoints   the paths of model servers
parameters  checks of single values; `bodies`, `upload_rules`, `endpoint_requests`: whole requests
callback    where the end of one batch is told
completion_window  how long a batch may take; `expiry`: how long files live
objects     files, batches, lists, models and errors as clients get them
"""
