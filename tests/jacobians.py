"""What a function makes of small differences, for the tests of bounds."""

import torch


def spectral_norm_of_jacobian(function, u, iterations=25):
    v = torch.randn_like(u)
    for _ in range(iterations):
        v = v / v.norm()
        _, pushed = torch.func.jvp(function, (u,), (v,))
        _, pull = torch.func.vjp(function, u)
        v = pull(pushed)[0]
    return v.norm().sqrt().item()
