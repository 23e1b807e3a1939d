"""One file a format: each turns a source into batches of rows that carry their place, or says which row it cannot read and why."""
