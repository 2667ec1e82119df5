"""Files of JSON Lines: checks of whole files and lines, requests decoded, result lines made. Pure.

input_file    a whole input in one pass; `line_check`: one line; `body_rules`: what a body may not hold
lines         request lines decoded, result lines spliced
finish_index  where each line of a published batch lies
compression   codings and their bounded unpacking; `encodings`, `file_kinds`: what else a file may be
"""
