"""The flow that draws ECGs and the extractor of persons: absent conditions are absent, seeds hold, both learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders import identity
from encoders.flow import NUMBERS, Flow, Given, Shape
from encoders.rhythm import track
from encoders.vae import STEPS
from training.flow import velocity_loss

SMALL = Shape(latent=3, narrow=16, width=32, layers=2, heads=2, text=12, person=8)
PEOPLE = identity.Shape(latent=3, width=32, layers=1, heads=2, text=12, person=8)


def given(count: int, seed: int = 0, **has: bool) -> Given:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(count, 2, SMALL.text, generator=generator)
    numbers = 60 + 20 * torch.randn(count, len(NUMBERS), generator=generator)
    person = torch.randn(count, SMALL.person, generator=generator)
    return Given(
        text,
        torch.full((count, 2), has.get("text", True)),
        numbers,
        torch.full((count, len(NUMBERS)), has.get("numbers", True)),
        person,
        torch.full((count,), has.get("person", True)),
    )


@pytest.fixture(scope="module")
def flow() -> Flow:
    torch.manual_seed(0)
    net = Flow(SMALL)
    for parameter in net.parameters():  # what starts at zero would hide every mistake
        torch.nn.init.normal_(parameter, 0, 0.1)
    return net.eval()


@pytest.mark.parametrize("what", ["text", "numbers", "person"])
def test_an_absent_condition_is_not_read(flow, what):
    x, t = torch.randn(2, 3, STEPS), torch.tensor([0.2, 0.7])
    gone = {what: False}
    assert torch.allclose(flow(x, t, given(2, seed=1, **gone)), flow(x, t, given(2, seed=1, **gone)))
    one, other = given(2, seed=1, **gone), given(2, seed=2, **gone)
    other = other._replace(**{name: getattr(one, name) for name in ("text", "numbers", "person") if name != what})
    assert torch.allclose(flow(x, t, one), flow(x, t, other), atol=1e-6)


@pytest.mark.parametrize("what", ["text", "numbers", "person"])
def test_a_condition_that_is_there_is_read(flow, what):
    x, t = torch.randn(2, 3, STEPS), torch.tensor([0.2, 0.7])
    one = given(2, seed=1)
    other = one._replace(**{what: getattr(given(2, seed=2), what)})
    assert not torch.allclose(flow(x, t, one), flow(x, t, other), atol=1e-4)


def test_beats_are_read_and_what_is_not_known_of_them_adds_nothing(flow):
    x, t, one = torch.randn(1, 3, STEPS), torch.tensor([0.5]), given(1)
    slow, fast, unknown = (track([np.array([(at, 0) for at in range(20, 1000, rr)])]) for rr in (100, 60, 2000))
    assert not torch.allclose(flow(x, t, one, slow), flow(x, t, one, fast), atol=1e-3)
    assert torch.allclose(flow(x, t, one, unknown), flow(x, t, one))
    drawn = [flow.draw(one, [0], beats, steps=2) for beats in (slow, fast)]
    assert not torch.allclose(*drawn, atol=1e-3)


def test_statements_have_no_order(flow):
    x, t, one = torch.randn(1, 3, STEPS), torch.tensor([0.5]), given(1)
    assert torch.allclose(flow(x, t, one), flow(x, t, one._replace(text=one.text.flip(1))), atol=1e-5)


def test_a_drawing_depends_on_its_seed_alone(flow):
    three = flow.draw(given(1).rows([0, 0, 0]), [5, 6, 7], steps=4)
    alone = flow.draw(given(1), [6], steps=4)
    assert torch.allclose(three[1], alone[0], atol=1e-5)
    assert not torch.allclose(three[0], three[1])


def test_without_guidance_the_free_velocity_does_not_matter(flow):
    asked = given(1)
    one = flow.draw(asked, [0], steps=3, guidance=1.0)
    x = torch.randn(3, STEPS, generator=torch.Generator().manual_seed(0))[None]
    with torch.inference_mode():
        for step in range(3):
            x = x + flow(x, torch.tensor([step / 3]), asked) / 3
    assert torch.allclose(one, x, atol=1e-5)


def test_it_learns_which_latent_belongs_to_which_words():
    torch.manual_seed(0)
    net = Flow(SMALL)
    latents = torch.stack([torch.full((3, STEPS), -1.0), torch.full((3, STEPS), 1.0)])
    asked = given(2)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(150):
        rows = torch.randint(2, (16,))
        loss = velocity_loss(net, latents[rows], asked.rows(rows), torch.randn(16, 3, STEPS), torch.rand(16))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    drawn = net.eval().draw(asked, [0, 1], steps=10, guidance=1.0).mean(dim=(1, 2))
    assert drawn[0] < -0.7
    assert drawn[1] > 0.7


def test_a_person_is_a_direction_and_the_condition_changes_it():
    torch.manual_seed(0)
    net = identity.Identity(PEOPLE).eval()
    latent = torch.randn(2, 3, STEPS)
    one, free = net(latent, given(2)), net(latent, given(2, text=False, numbers=False))
    assert torch.allclose(one.norm(dim=1), torch.ones(2), atol=1e-5)
    assert not torch.allclose(one, free, atol=1e-4)
    hidden = given(2, seed=3, text=False, numbers=False)
    assert torch.allclose(free, net(latent, hidden), atol=1e-6)
