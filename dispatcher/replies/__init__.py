"""One request, one reply, and what the reply means.

    upstream     sends; `long_request_body`: how a long one is written
    whole_answers  whether a 2xx holds a whole answer
    error_texts  what an error object speaks of; `kinds_of_failure`: what tells them apart
    policy       the table: one row for each way in which an attempt can end badly
    verdict      a reply to what becomes of the line; `wording`: the same in a few words for people

Pure but for `upstream`. Uses `backends`.
"""
