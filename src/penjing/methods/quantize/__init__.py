"""Ways of storing a model in fewer bits so that an engine really runs it faster; one file a method. A method has `Options` and

ENGINES                                                      the engines it writes for, by the names of penjing.engine.backends
apply(model, batches, settings, engine, out, reads) -> facts writes the artefact of `model` for one of ENGINES into the folder `out`

batches     rows to calibrate on, at least one; their targets are not read
reads       which of the model's outputs the artefact gives, by their names in transformers
facts       for the card: `engine`, `precision` as the engine's backend shall print it, `bits`, and what was left in fp32

The model is left as it was. The files are those that the backend opens, and need no code of penjing: their inputs keep the keywords of the
model's forward. `apply` raises DataError without a batch, ModelError where the model does not fit the method, MissingExtra without the
engine's libraries.
"""
