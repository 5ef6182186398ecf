"""The pieces of our LoRA forward, against the formulas they stand for."""

import torch

from generator.measure.lora import add_product, split_float32, svd_basis


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_svd_basis_keeps_the_output_and_orders_by_size() -> None:
    a, b, scaling = random(3, 10), random(7, 3, seed=1), 4.0
    read, write = svd_basis(a, b, scaling)
    x = random(5, 10, seed=2)
    torch.testing.assert_close(scaling * (x @ read.T) @ write, scaling * (x @ a.T) @ b.T)
    torch.testing.assert_close(read @ read.T, torch.eye(3), atol=1e-6, rtol=0)
    sizes = scaling * write.norm(dim=1)
    torch.testing.assert_close(sizes, torch.linalg.svdvals(scaling * b @ a)[:3])
    assert (sizes[:-1] >= sizes[1:]).all()


def test_svd_basis_has_a_fixed_sign() -> None:
    a, b = random(3, 10), random(7, 3, seed=1)
    read, write = svd_basis(a, b, 2.0)
    peaks = read.gather(1, read.abs().argmax(1, keepdim=True))
    assert (peaks > 0).all()
    mixing = random(
        3, 3, seed=3
    )  # the rows of A mean the same up to an invertible mixing: the basis does not change
    other_read, other_write = svd_basis(mixing @ a, b @ torch.linalg.inv(mixing), 2.0)
    torch.testing.assert_close(other_read, read, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other_write, write, atol=1e-4, rtol=1e-4)


def test_svd_basis_of_an_untrained_adapter() -> None:
    """B = 0: unit vectors in the span of A, and nothing written."""
    read, write = svd_basis(random(2, 6), torch.zeros(4, 2), 1.0)
    torch.testing.assert_close(read.norm(dim=1), torch.ones(2))
    assert not write.any()


def test_split_float32_is_exact() -> None:
    weight = random(3, 50) * torch.logspace(-3, 3, 50)
    parts = split_float32(weight, torch.bfloat16)
    assert parts.shape == (3, 3, 50)
    torch.testing.assert_close(parts.float().sum(0), weight, rtol=2**-22, atol=0)
    assert len(split_float32(weight.bfloat16().float(), torch.bfloat16)) == 1


def test_add_product_adds_in_place() -> None:
    for rank in (1, 3):
        for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 0.05)):
            result, scalars, write = (
                random(6, 5).to(dtype),
                random(6, rank, seed=1),
                random(rank, 5, seed=2).to(dtype),
            )
            wanted = result.float() + scalars @ write.float()
            assert add_product(result, scalars, write) is result
            torch.testing.assert_close(result.float(), wanted, atol=tolerance, rtol=tolerance)
