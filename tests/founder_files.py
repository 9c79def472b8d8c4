"""ECGFounder files made for tests: a random one-lead network, its checkpoint as the authors save theirs, a tone."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

from encoders.net1d import Net1D


@pytest.fixture
def own_cache(request, tmp_path_factory, monkeypatch):
    if "golden" not in request.node.name:
        monkeypatch.setenv("EINTHOVEN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def founder_net():
    torch.manual_seed(0)
    return Net1D(1).eval()


@pytest.fixture(scope="module")
def founder_checkpoint(founder_net, tmp_path_factory):
    """As the authors' loop saves: weights under `module.`, the optimiser's state, a numpy scalar."""
    file = tmp_path_factory.mktemp("published") / "1_lead_ECGFounder.pth"
    adam = torch.optim.Adam([parameter for parameter in founder_net.parameters() if parameter.requires_grad])
    state = OrderedDict((f"module.{key}", value) for key, value in founder_net.state_dict().items())
    held = {"epoch": 3, "step": 9, "optimizer": adam.state_dict(), "val_auroc": np.float64(0.9), "state_dict": state}
    torch.save(held, file)
    return file


def tone(hz, fs_hz=500.0, seconds=10.0, leads=1):
    times = np.arange(round(seconds * fs_hz)) / fs_hz
    return np.tile(np.sin(2 * np.pi * hz * times), (leads, 1))
