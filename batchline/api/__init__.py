"""OpenAI's API as records and JSON: what clients send and what they get, with OpenAI's codes and messages.

endpoints   the paths of model servers
parameters  checks of single values; `bodies`, `uploads`: whole requests
completion_window  how long a batch may take
wire        objects as clients get them
"""
