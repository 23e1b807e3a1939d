"""One file a method, in a folder a kind; each folder says what a method of its kind must provide.

A method receives a model, its anatomy, batches and the functions it needs, never a task or a directory; its `Options` become flags.
"""
