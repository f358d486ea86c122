"""The tables and headline numbers of a report, ready to print: the same cells for HTML and Markdown."""
