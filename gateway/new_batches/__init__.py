"""What a new batch runs over, where its requests come with it: inline in JSON, or as the file of a form."""
