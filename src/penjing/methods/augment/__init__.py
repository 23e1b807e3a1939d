"""What a training row becomes, drawn anew in every epoch, while its label stays; one file a change, which can be combined. A method has

KIND                                                the values that it changes, by the type of their column: str, Image or Sound
apply(value, draw, strength, another) -> value      one of the same type, of the same label, never empty; that given stays as it is

draw        the numpy Generator of all that is drawn, keyed by seed, epoch and row
strength    in [0, 1]: at 0 nothing changes, 0.5 is what the field usually does
another     () -> the same column of another training row, drawn by `draw`

It is pure and keeps no state, so that any process may call it.
"""
