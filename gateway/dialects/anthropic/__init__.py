"""Anthropic's dialect: Message Batches over our batches on `/v1/messages`, and errors in its form.

routes      which paths there are
create, batches, results  what they do
message_requests, result_lines  requests become lines of an input file, result lines become theirs
objects, ids  a batch, as Anthropic's clients see it
errors      the error object, and what a status is called there
"""
