"""Letters are dropped, doubled, or change places with the next one, as hasty writers do.

Belinkov and Bisk 2018, "Synthetic and natural noise both break neural machine translation", section 3; characters of every script count as
letters, digits and punctuation stay.
"""

KIND = str
KEEPS_LABEL = True
SHARE = 0.04  # of the letters, at a strength of 1


def apply(value, draw, strength, another):
    letters = list(value)
    kept = sum(letter.isalpha() for letter in letters)
    hit = (draw.random(len(letters)) < SHARE * strength).nonzero()[0]
    for i, how in zip(hit.tolist(), draw.integers(3, size=len(hit)).tolist()):
        if not letters[i].isalpha():
            continue
        if how == 0 and kept > 1:
            letters[i], kept = "", kept - 1
        elif how == 1 and i + 1 < len(letters) and letters[i + 1].isalpha():
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
        else:
            letters[i] *= 2
    return "".join(letters)
