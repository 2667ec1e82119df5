"""The built-in handler `label-studio`: answers become tasks of a Label Studio project, with predictions.

settings   what a section of the handlers' file may say
client     requests to Label Studio, and what its refusals mean
project    which project, and which of its controls takes the answer
tasks      what a task of one result looks like
handler    imports a batch in chunks, each task once

docs/handlers-label-studio.md tells how to use it. Written against Label Studio 1.23.2.
"""

from .handler import LabelStudio

__all__ = ["LabelStudio"]
