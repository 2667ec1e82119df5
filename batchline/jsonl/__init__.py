"""Files of JSON Lines: what a good one is, each line checked, requests decoded, results spliced. Pure.

input_file    a whole input in one pass; `line_check`: one line; `body_rules`: what a body may not ask
lines         request lines decoded, result lines spliced
finish_index  where each line of a published batch lies
compression   codings and their bounded unpacking; `encodings`, `file_kinds`: what else a file may be
"""
