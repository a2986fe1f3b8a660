"""Raw rows of any source, read as series, timestamps and values, or rejected with a reason."""
