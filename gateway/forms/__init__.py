"""Forms of files (`multipart/form-data`), read as they stream in: in linear time and constant memory."""

from .filenames import clean_filename, unpacked_filename
from .readable_input import refuse_blank, refuse_unreadable
from .receive import Form, receive
from .unpacking import BATCH

__all__ = [
    "BATCH",
    "Form",
    "clean_filename",
    "receive",
    "refuse_blank",
    "refuse_unreadable",
    "unpacked_filename",
]
