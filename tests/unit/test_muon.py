"""Muon: what its steps are, which weights are its own, and that a checkpoint holds all of it."""

import pytest
import torch
from upfield import methods
from upfield.study.config import method_settings
from upfield.training import checkpoint
from upfield.training.muon import ITERATIONS, LIKE_ADAM, Muon, operations, orthogonalized
from upfield.training.optimisers import Optimisers

OVER = {
    "base": 8, "levels": 2, "flat_levels": [0, 0, 0], "blocks": 1, "fold": True, "lr": 1e-3, "batch_size": 2,
    "augmentation": {"flip": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_singular_values_come_near_1_and_directions_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inside = left.T @ orthogonalized(matrix) @ right.T
    values = torch.diagonal(inside)
    # The smallest of a square matrix take more iterations than there are.
    assert values.max() < 1.3 and values.median() > 0.6 and values.min() > 0
    assert (inside - torch.diag(values)).abs().max() < 1e-4
    assert not orthogonalized(torch.zeros(shape)).any()


def test_a_step_is_as_long_as_adams_and_decays_weights():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(8, 4, 3, 3, 3))
    muon, before = Muon([weight], lr=0.01, weight_decay=0.5), weight.detach().clone()
    weight.grad = torch.randn_like(weight) * 1e6
    muon.step()
    moved = weight.detach() - before * (1 - 0.01 * 0.5)
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.01 * LIKE_ADAM, rel=0.3)
    assert float((moved * weight.grad).sum()) < 0, "downhill"


def test_a_layout_of_memory_changes_nothing():
    torch.manual_seed(0)
    weight, gradient, results = torch.randn(8, 4, 3, 3, 3), torch.randn(8, 4, 3, 3, 3), []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        parameter = torch.nn.Parameter(weight.to(memory_format=layout, copy=True))
        parameter.grad = gradient.to(memory_format=layout)
        Muon([parameter], lr=0.1).step()
        results.append(parameter.detach())
    torch.testing.assert_close(*results)


def method(**over):
    torch.manual_seed(0)
    return methods.build(method_settings({"method_overrides": {"upfield": OVER | over}}, "upfield"), 1).train()


def test_weights_of_all_layers_but_the_last_are_matrices():
    plan = method().plans()["generator"]
    assert len(plan.matrices) > 3 and all(matrix.ndim == 5 for matrix in plan.matrices)
    last = [parameter for parameter in plan.parameters if parameter.ndim == 5 and not parameter.any()]
    assert len(last) == 1 and id(last[0]) not in {id(matrix) for matrix in plan.matrices}
    assert method(optimiser="adam").plans()["generator"].matrices == []


def test_it_goes_on_from_a_checkpoint(tmp_path):
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    batches = [{key: torch.rand(2, 1, 8, 8, 8) for key in ("source", "target")} for _ in range(6)]
    results = []
    for stop in (None, 3):
        network = method()
        optimisers = Optimisers(network, scaler, {}, 1)
        for number, batch in enumerate(batches):
            if number == stop:
                checkpoint.save(tmp_path / "c.safetensors", [optimisers.state(), network.state_dict()])
                network = method()
                state, weights = checkpoint.load(tmp_path / "c.safetensors")
                network.load_state_dict(weights)
                optimisers = Optimisers(network, scaler, {}, 1)
                optimisers.restore(state)
            assert set(optimisers.set_rates(number, 6)) == {"lr_generator"}
            network.training_step(batch | {"mask": torch.ones(2, 1, 8, 8, 8)}, optimisers.update)
            optimisers.finish()
        results.append(network.state_dict())
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_operations_are_counted():
    assert (
        operations([torch.zeros(4, 2, 3)]) == ITERATIONS * (4 * 4 * 4 * 6 + 2 * 4**3) == operations([torch.zeros(6, 4)])
    )
