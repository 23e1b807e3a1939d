"""How well the words of a topic go together.

Letters   W words
"""

import numpy


def npmi(together: numpy.ndarray) -> numpy.ndarray:
    """Normalised pointwise mutual information (W, W) of words, in [-1, 1]: -1 never together, 0 as chance has it, 1 never apart.

    together   (W, W) share of the texts that hold both words; on the diagonal that hold the word

    Source: Bouma 2009; as coherence of topics, with whole texts as windows, Lau, Newman, Baldwin 2014, section 3.
    """
    alone = numpy.diag(together)
    met = (together > 0) & (together < 1)
    joint = numpy.where(met, together, 0.5)
    found = numpy.log(joint / numpy.where(met, numpy.outer(alone, alone), joint)) / -numpy.log(joint)
    return numpy.where(met, found, numpy.where(together > 0, 1.0, -1.0))
