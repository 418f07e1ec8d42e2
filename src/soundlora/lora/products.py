"""LoKr and LoHa layers as pairs B·A: other programs write an update as a product of more matrices than two.

LoKr (Yeh et al. 2023, arXiv:2309.14859) is w1 ⊗ w2, the Kronecker product. LoHa (Hyeon-Woo et al. 2021,
arXiv:2108.06098) is w1 ⊙ w2, the product number by number. Each of w1 and w2 may be a product w_a · w_b itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

KEPT = 0.995
"""A pair has this share of an update's energy at least, where a pair of all of it would be much larger."""
PARTS = (
    *(f"lokr_w{n}{half}" for n in (1, 2) for half in ("", "_a", "_b")),
    *(f"hada_w{n}_{half}" for n in (1, 2) for half in ("a", "b")),
)


class NoProductError(ValueError):
    """Matrices are missing, or don't fit each other; the message says which, in a clause."""


def is_product(parts: Mapping[str, object]) -> bool:
    """Say whether a layer has any of the matrices of LoKr or LoHa."""
    return any(part in PARTS for part in parts)


def pair_of(parts: Mapping[str, Tensor]) -> tuple[tuple[Tensor, Tensor], int | None, float]:
    """Return the pair (A, B) of a layer in fp32, the rank that alpha is divided by, and the share of the energy it has.

    parts: matrices by the names in `PARTS`. The rank is None where no matrix is a product: alpha does not count then.
    Raises NoProductError.
    """
    kinds = {part.partition("_")[0] for part in parts}
    if len(kinds) > 1:
        raise NoProductError("matrices of several kinds")
    if kinds == {"hada"}:
        return _hadamard(parts)
    return _kronecker(parts)


def _kronecker(parts: Mapping[str, Tensor]) -> tuple[tuple[Tensor, Tensor], int | None, float]:
    factors, rank = kronecker_factors(parts)
    # The singular vectors of w1 ⊗ w2 are the Kronecker products of theirs, and its values the products of theirs.
    (u1, s1, v1), (u2, s2, v2) = map(_decomposed, factors)
    values, order = torch.outer(s1, s2).flatten().sort(descending=True)
    count, kept = fewest(values)
    first, second = order[:count] // len(s2), order[:count] % len(s2)
    root = values[:count].sqrt()
    b = torch.einsum("ir,jr->ijr", u1[:, first], u2[:, second]).flatten(0, 1) * root
    a = torch.einsum("ri,rj->rij", v1[first], v2[second]).flatten(1) * root[:, None]
    return (a.float(), b.float()), rank, kept


def kronecker_factors(parts: Mapping[str, Tensor]) -> tuple[list[tuple[Tensor, ...]], int | None]:
    """Return w1 and w2 of a LoKr, each alone or as the two matrices that it is a product of, and the rank of these.

    Raises NoProductError.
    """
    rank: int | None = None
    factors: list[tuple[Tensor, ...]] = []
    for name in ("lokr_w1", "lokr_w2"):
        if name in parts:
            factors.append((_matrix(name, parts[name]),))
            continue
        a, b = _halves(name, parts)
        rank = b.shape[0]
        factors.append((a, b))
    return factors, rank


def _decomposed(factor: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the singular value decomposition of a matrix, or of a product from two smaller ones."""
    if len(factor) == 1:
        u, values, vh = torch.linalg.svd(factor[0].double(), full_matrices=False)
        return u, values, vh
    a, b = (half.double() for half in factor)
    q, r = torch.linalg.qr(a)
    p, s = torch.linalg.qr(b.T)
    u, values, vh = torch.linalg.svd(r @ s.T, full_matrices=False)
    return q @ u, values, vh @ p.T


def _hadamard(parts: Mapping[str, Tensor]) -> tuple[tuple[Tensor, Tensor], int | None, float]:
    (a1, b1), (a2, b2) = (_halves(name, parts) for name in ("hada_w1", "hada_w2"))
    if a1.shape[0] != a2.shape[0] or b1.shape[1] != b2.shape[1]:
        raise NoProductError("hada_w1 and hada_w2 of different shapes")
    # A sum over the terms of both products, each of which is a product of two columns and of two rows.
    b = torch.einsum("or,os->ors", a1.double(), a2.double()).flatten(1)
    a = torch.einsum("ri,si->rsi", b1.double(), b2.double()).flatten(0, 1)
    q, r = torch.linalg.qr(b)
    p, s = torch.linalg.qr(a.T)
    u, values, vh = torch.linalg.svd(r @ s.T, full_matrices=False)
    count, kept = fewest(values)
    root = values[:count].sqrt()
    return ((root[:, None] * (vh[:count] @ p.T)).float(), ((q @ u[:, :count]) * root).float()), b1.shape[0], kept


def fewest(values: Tensor, share: float = KEPT) -> tuple[int, float]:
    """Return how many of the falling singular values have `share` of their energy at least, and what share they have.

    Values that are nothing beside the largest one are left out of all.
    """
    energies = values.double().square()
    total = float(energies.sum())
    if not total:
        return 1, 1.0
    summed = energies.cumsum(0) / total
    count = int((summed < share).sum()) + 1
    whole = int((values > 1e-7 * values[0]).sum())
    # A few more values that make it exact are worth their room.
    count = whole if whole <= 2 * count else count
    return count, 1.0 if count >= whole else float(summed[count - 1])


def _halves(name: str, parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    for half in ("a", "b"):
        if f"{name}_{half}" not in parts:
            whole = f"{name} or " if name.startswith("lokr") else ""
            raise NoProductError(f"no {whole}{name}_{half}")
    a, b = (_matrix(f"{name}_{half}", parts[f"{name}_{half}"]) for half in ("a", "b"))
    if a.shape[1] != b.shape[0]:
        raise NoProductError(f"{name}_a and {name}_b that don't fit each other")
    return a, b


def _matrix(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise NoProductError(f"{name} of the shape {list(tensor.shape)}")
    if not tensor.float().isfinite().all():
        raise NoProductError(f"numbers in {name} that are infinite or none at all")
    return tensor.float()
