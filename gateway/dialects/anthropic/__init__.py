"""Anthropic's dialect: Message Batches over our batches on `/v1/messages`, and errors in its form.

errors      the error object, and what a status is called there
"""
