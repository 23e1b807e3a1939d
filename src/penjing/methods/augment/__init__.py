"""What a training row becomes, drawn anew in every epoch; one file a change, which can be combined. A method has

KIND                                                the values that it changes, by the type of their column: str, Image or Sound
KEEPS_LABEL                                         whether the label of the row still holds
apply(value, draw, strength, another) -> value      one of the same type, never empty, about as long or shorter; that given stays as it is

draw        the numpy Generator of all that is drawn, keyed by seed, epoch and row
strength    in [0, 1]: at 0 nothing changes, 0.5 is what the field usually does
another     () -> the same column of another training row, drawn by `draw`

It is pure and keeps no state, so that any process may call it. One that does not keep the label is for rows that a teacher answers; in an
epoch it is applied to a share `strength` of them, and the others stay with their labels.
"""
