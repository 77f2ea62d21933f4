"""PostgreSQL: one schema of a database that the ledger and the documents of all dispatchers share."""
