"""Which weights learn. A method has `Options` and

apply(model, settings) -> module     the module whose weights with `requires_grad` are trained
"""
