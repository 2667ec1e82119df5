"""The handlers `parquet` and `csv`: a file for each batch, its answers joined with their requests.

parquet_files, csv_files    the handlers
settings                    what an operator sets for them
columns, rows               what the files hold
pulled                      results for a thread that writes
whole_file                  files that are there whole or not at all
"""
