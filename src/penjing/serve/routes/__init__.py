"""The protocols that clients speak, one file each: `router(models, options)` gives its routes, and a new file is the whole registration."""
