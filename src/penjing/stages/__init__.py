"""One file a stage, with its frozen `Options` and a function of the stage's name.

A maker      (base, data, options, *, out, runtime) -> (ModelDir, Report)      finetune, distill, prune, quantize; the composer shrink
A reader     (base, data, options, *, runtime) -> Report                       evaluate, compare

`_frame` is what every call has around it: opening, checking, the staged output, the card.
"""
