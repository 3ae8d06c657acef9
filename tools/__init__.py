"""One pair of files per tool: the yaml Dify reads, and a class that awaits one operation."""
