"""Soft tokens: one a recorded lead, a budget that holds, and no word of what was not recorded."""

import json

import pytest
import torch
from safetensors.torch import save_file

from encoders.projector import LEADS, TOKENS, WHOLE, Projector, Shape, features, opened
from encoders.reading_net import SAMPLES, ReadingNet
from encoders.reading_net import Shape as NetShape
from encoders.weights import MissingModel


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return ReadingNet(NetShape(width=16, blocks=1)).eval()


@torch.no_grad()
def seen(net, leads, signal, known=None):
    lead = torch.tensor([leads])
    known = torch.ones(signal.shape, dtype=torch.bool) if known is None else known
    return features(net(signal, known, lead, torch.ones(lead.shape, dtype=torch.bool)), lead)


def test_each_recorded_lead_has_a_token_and_no_other(net):
    signal = torch.randn(1, 3, SAMPLES)
    of = seen(net, [1, 6, 11], signal)
    assert of.has_lead[0].nonzero()[:, 0].tolist() == [1, 6, 11]
    vectors, there = Projector(Shape(16, 32, 24))(of)
    assert vectors.shape == (1, TOKENS, 32)
    assert there.sum() == TOKENS - LEADS + 3
    assert there[0, WHOLE + 6]
    assert not there[0, WHOLE + 7]


def test_the_order_in_which_leads_come_does_not_matter(net):
    signal = torch.randn(1, 3, SAMPLES)
    one, other = seen(net, [0, 4, 9], signal), seen(net, [9, 0, 4], signal[:, [2, 0, 1]])
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-5)


def test_a_stretch_that_is_missing_has_no_token(net):
    signal, known = torch.randn(1, 12, SAMPLES), torch.ones(1, 12, SAMPLES, dtype=torch.bool)
    known[..., 400:600] = False  # the third two seconds
    assert seen(net, list(range(12)), signal, known).has_time[0].tolist() == [True, True, False, True, True]


def test_what_is_not_recorded_leaves_no_trace(net):
    """Whatever stands in the samples of a missing stretch, the tokens are the same."""
    signal, known = torch.randn(1, 12, SAMPLES), torch.ones(1, 12, SAMPLES, dtype=torch.bool)
    known[:, 3, 400:] = False
    other = signal.clone()
    other[:, 3, 400:] = 50.0
    for a, b in zip(seen(net, list(range(12)), signal, known), seen(net, list(range(12)), other, known), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-5)


def test_saved_is_opened(tmp_path):
    made, file = Projector(Shape(16, 32, 24)), tmp_path / "projector.safetensors"
    save_file(made.state_dict(), file, metadata={"config": json.dumps({"shape": made.config()})})
    again = opened(file)
    assert again.config() == made.config()
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True))


def test_without_weights_one_line_says_what_to_do(tmp_path):
    with pytest.raises(MissingModel, match=r"training\.multimodal"):
        opened(tmp_path / "projector.safetensors")
