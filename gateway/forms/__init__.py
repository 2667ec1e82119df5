"""Forms of files (`multipart/form-data`), read as they stream in: in linear time and constant memory."""

from .reception import BATCH, Form, clean_filename, receive, unpacked_filename

__all__ = ["BATCH", "Form", "clean_filename", "receive", "unpacked_filename"]
