"""Muon, with all matrices of one shape orthogonalised in one batched product: on the CPU a few large products cost a
third of the many small ones in torch.optim.Muon."""

import torch


def orthogonal(x, steps=4):
    """Newton-Schulz: the nearest orthogonal matrices, roughly, in bf16."""
    x = x.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2).contiguous() if tall else x
    x = x / (x.float().flatten(1).norm(dim=1)[:, None, None] + 1e-7).bfloat16()
    for _ in range(steps):
        gram = torch.bmm(x, x.transpose(1, 2))
        gram = torch.bmm(gram, gram).mul_(2.0315).sub_(gram, alpha=4.7750)
        x = torch.bmm(gram, x).add_(x, alpha=3.4445)
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum with Nesterov, orthogonalised, scaled to the size of AdamW's updates."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.01):
        shapes = {}
        for parameter in parameters:
            shapes.setdefault(tuple(parameter.shape), []).append(parameter)
        super().__init__([{"params": group} for group in shapes.values()], {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            parameters, rate = group["params"], group["lr"]
            gradient = torch.stack([p.grad for p in parameters])
            state = self.state[parameters[0]]
            momentum = state.setdefault("momentum", torch.zeros_like(gradient))
            momentum.lerp_(gradient, 1 - group["momentum"])
            update = orthogonal(gradient.lerp_(momentum, group["momentum"])).float()
            scale = 0.2 * max(update.shape[1:]) ** 0.5
            torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
            torch._foreach_add_(parameters, list(update.unbind()), alpha=-rate * scale)
