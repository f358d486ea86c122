"""Turn one summary (JSON) into a page, tables and test reports; imports no other room."""
