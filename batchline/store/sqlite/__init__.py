"""The store's contract on SQLite: one module for each protocol of `base`, each method a short transaction.

`custody` keeps bytes and rows of one moment together.
"""
