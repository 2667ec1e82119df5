"""Files of JSON Lines: checks of whole files and lines, requests decoded, result lines made. Pure.

input_file    a whole input in one pass; `line_check`: one line; `body_rules`: what a body may not hold
request_lines lines of input files, decoded for dispatch; `nesting`: those that are nested very deeply
upstream_answers  what model servers answered, read and repaired; `result_lines`: what is made of it
finish_index  where each line of a published batch lies
compression   codings and their bounded unpacking; `encodings`, `file_kinds`: what else a file may be
"""
