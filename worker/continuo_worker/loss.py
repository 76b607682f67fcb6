"""Linear head and cross entropy in one: logits exist for a chunk of rows at a time, and their probabilities become their gradient in place, so that they are
neither all in memory at once nor computed twice (the way of Hsu et al. 2024, arXiv 2410.10989, and of the native engine). A teacher's
divergence and its gradient are taken of the same chunk."""

from dataclasses import dataclass

import torch

# f32 logits of a chunk: 256 MiB; on a GPU 1 GiB. Each chunk reads and writes the whole gradient of the head, [vocabulary, d] f32: with 128k tokens
# and d = 4096 that is 6 GB with its bf16 part, 2 ms on an H100, as long as the products of a chunk of 524 rows (256 MiB) take.
CHUNK_ELEMENTS = {"cpu": 64 << 20, "cuda": 256 << 20}


@dataclass
class TeacherStates:
    """Final hidden rows of a teacher [rows, d]; its head and bias, or none where they are the model's own."""

    hidden: torch.Tensor
    head: tuple[torch.Tensor, torch.Tensor | None] | None


@dataclass
class TopTokens:
    """The k likeliest tokens of each row, and their probabilities, the last one that of all others: [rows, k], [rows, k + 1]."""

    ids: torch.Tensor
    probs: torch.Tensor


@dataclass
class TeacherRows:
    """What the model is drawn to by KL(teacher || model) at a temperature; weights f32 [rows], 0 where a row has no teacher."""

    temperature: float
    weights: torch.Tensor
    said: TeacherStates | TopTokens


def fused_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    weights: torch.Tensor,
    softcap: float | None,
    teacher: TeacherRows | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    hidden [rows, d], weight [vocabulary, d], bias [vocabulary] or none; targets int64 [rows], -1 where nothing is predicted;
    weights f32 [rows]. Returns sum(weights * losses), the teacher's weighted divergences added, which has a gradient, and the losses and
    the divergences, nats, f32 [rows], which have none.
    """
    if not torch.is_grad_enabled():
        # Within the function that cannot be told, and a gradient would be computed for nobody.
        hidden, weight, bias = hidden.detach(), weight.detach(), None if bias is None else bias.detach()
    return _Fused.apply(hidden, weight, bias, targets, weights, softcap, teacher)


def capped_logits(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, softcap: float | None
) -> torch.Tensor:
    """f32 [rows, vocabulary]"""
    logits = (hidden @ weight.T).float()
    if bias is not None:
        logits += bias.float()
    return torch.tanh(logits / softcap).mul_(softcap) if softcap else logits


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, weights, softcap, teacher):
        rows = hidden.shape[0]
        # A teacher's logits and what both models make of them stand beside the model's.
        chunk = max(1, CHUNK_ELEMENTS.get(hidden.device.type, CHUNK_ELEMENTS["cpu"]) // (4 if teacher else 1) // weight.shape[0])
        losses = torch.zeros(rows, dtype=torch.float32, device=hidden.device)
        divergences = torch.zeros_like(losses)
        needs_grad = any(ctx.needs_input_grad[:3])
        _, trains_weight, trains_bias, *_ = ctx.needs_input_grad
        d_hidden = torch.zeros_like(hidden) if needs_grad else None
        d_weight: torch.Tensor | None = None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if trains_bias else None
        for start in range(0, rows, chunk):
            part = slice(start, min(rows, start + chunk))
            is_target = targets[part] >= 0
            index = targets[part].clamp(min=0).unsqueeze(1)
            logits = capped_logits(hidden[part], weight, bias, softcap)
            slope = 1 - (logits / softcap).square() if softcap and needs_grad else None
            # One pass over them; logsumexp, a difference and their like take six.
            log_p = torch.log_softmax(logits, dim=1)
            losses[part] = torch.where(is_target, -log_p.gather(1, index).squeeze(1), 0.0)
            if not needs_grad:
                continue
            pull = _pull(logits, teacher, part, (weight, bias), softcap, divergences[part]) if teacher else None
            share = torch.where(is_target, weights[part], 0.0)
            grad = log_p.exp_()
            grad.scatter_add_(1, index, torch.full_like(index, -1, dtype=grad.dtype))
            grad *= share.unsqueeze(1)
            if pull is not None:
                grad.index_add_(0, *pull)
            if slope is not None:
                grad *= slope
            if d_bias is not None:
                d_bias += grad.sum(0)
            grad = grad.to(hidden.dtype)
            d_hidden[part] = grad @ weight
            if trains_weight:
                # Of one chunk it is the product itself.
                product = grad.T @ hidden[part]
                d_weight = product.float() if d_weight is None else d_weight.add_(product)
        if needs_grad:
            ctx.save_for_backward(
                d_hidden,
                None if d_weight is None else d_weight.to(weight.dtype),
                None if d_bias is None else d_bias.to(bias.dtype),
            )
        ctx.mark_non_differentiable(losses, divergences)
        total = (losses * weights).sum()
        if teacher:
            total = total + (divergences * teacher.weights).sum()
        return total, losses, divergences

    @staticmethod
    def backward(ctx, d_total, *_):
        return (*(None if grad is None else grad * d_total for grad in ctx.saved_tensors), None, None, None, None)


def _pull(logits, teacher, part, own_head, softcap, divergences):
    """Sets the divergences of a chunk of rows. Returns which of them have a teacher, and the weighted gradient of those rows' logits."""
    weights = teacher.weights[part]
    rows = weights.nonzero().squeeze(1)
    if len(rows) == 0:
        return None
    log_q = torch.log_softmax(logits[rows] / teacher.temperature, dim=1)
    said = teacher.said
    if isinstance(said, TeacherStates):
        head = said.head or own_head
        log_p = torch.log_softmax(capped_logits(said.hidden[part][rows], *head, softcap) / teacher.temperature, dim=1)
        p = log_p.exp()
        divergences[rows] = (p * (log_p - log_q)).sum(1)
        gradient = log_q.exp_().sub_(p)
    else:
        ids, probs = said.ids[part][rows], said.probs[part][rows]
        top, rest = probs[:, :-1], probs[:, -1]
        # With those taken out, what is left adds up to the rest exactly, not as a difference of nearly equal numbers.
        log_rest = torch.logsumexp(log_q.scatter(1, ids, -torch.inf), dim=1)
        has_rest = (rest > 0) & torch.isfinite(log_rest)
        of_rest = torch.where(has_rest, torch.special.xlogy(rest, rest) - rest * log_rest, 0.0)
        divergences[rows] = (torch.special.xlogy(top, top) - top * log_q.gather(1, ids)).sum(1) + of_rest
        # Of the rest, each token's share is the model's own.
        own = torch.where(has_rest, 1 - rest / log_rest.exp(), 1.0).unsqueeze(1)
        q = log_q.exp_()
        gradient = (q * own).scatter_(1, ids, q.gather(1, ids) - top)
    return rows, gradient.mul_((weights[rows] / teacher.temperature).unsqueeze(1))
