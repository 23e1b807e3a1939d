"""How large a model, and how much text, so many operations are best spent on, and what money buys of them.

Source     Hoffmann et al. 2022, "Training compute-optimal large language models", section 3.3 (approach 3): L(N, D) = E + A / N^α + B / D^β
           for N parameters and D tokens, with C = 6 N D operations. Its printed constants do not fit its own data; these are those of
           Besiroglu, Erdil, Barnett, You 2024, "Chinchilla scaling: a replication attempt", which agree with approaches 1 and 2.
"""

from typing import NamedTuple

E, A, ALPHA, B, BETA = 1.8172, 482.01, 0.3478, 2085.43, 0.3658
HOUR = 3600


class Optimal(NamedTuple):
    """What a budget of operations is best spent on.

    loss   nats a token of English web text, as that paper's models reach it
    """

    parameters: float
    tokens: float
    loss: float


def loss(parameters: float, tokens: float) -> float:
    """Nats a token after one pass over so many tokens."""
    return E + A / parameters**ALPHA + B / tokens**BETA


def compute_optimal(flops: float) -> Optimal:
    """The model of least loss for so many operations of a training (equation 4 of Hoffmann et al.).

    N = G (C / 6)^(β / (α + β)) with G = (α A / β B)^(1 / (α + β)).
    """
    size = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (flops / 6) ** (BETA / (ALPHA + BETA))
    tokens = flops / 6 / size
    return Optimal(size, tokens, loss(size, tokens))


def bought(usd: float, usd_per_hour: float, flops_per_second: float) -> float:
    """Operations of a training that so much money buys.

    usd_per_hour, flops_per_second   of one device: its price, and the operations that it reaches, recomputation not counted
    """
    return usd / usd_per_hour * HOUR * flops_per_second
