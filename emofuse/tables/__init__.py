"""Arrow tables: their schemas, and columns as arrays."""
