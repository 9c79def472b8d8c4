"""Net1D: the published names and shapes, and the same numbers as the network written out in numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.net1d import Net1D

KEYS = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = Net1D(12).eval()
    for parameter in made.parameters():  # larger than at the start of training: each branch must leave a trace
        parameter.data *= 1.5
    return made


@pytest.mark.parametrize("leads", [12, 1])
def test_names_and_shapes_are_those_of_the_published_file(leads):
    header, *rows = (KEYS / f"ecgfounder_{leads}lead_keys.tsv").read_text().splitlines()
    assert header == "key\tshape"
    with torch.device("meta"):
        state = Net1D(leads).state_dict()
    assert [f"{key}\t{'x'.join(map(str, value.shape)) or 'scalar'}" for key, value in state.items()] == rows
    assert {value.dtype for value in state.values() if value.ndim} == {torch.float32}
    assert {value.dtype for value in state.values() if not value.ndim} == {torch.int64}


# The network once more, from its description and in numpy alone. Nothing of encoders/ is used below.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swish(x):
    return x * sigmoid(x)


def convolve(x, weights, name, stride=1):
    """(channels, time) with "same" padding: ceil(time / stride) outputs, the odd sample of padding on the right."""
    kernel, bias = weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"]
    outputs, width, length = kernel.shape
    groups = x.shape[0] // width
    steps = int(np.ceil(x.shape[1] / stride))
    padding = max((steps - 1) * stride + length - x.shape[1], 0)
    padded = np.zeros((x.shape[0], x.shape[1] + padding))
    padded[:, padding // 2 : padding // 2 + x.shape[1]] = x
    out = np.empty((outputs, steps))
    each = outputs // groups
    for group in range(groups):
        of = padded[group * width : (group + 1) * width]
        windows = np.stack([of[:, i * stride : i * stride + length].ravel() for i in range(steps)])
        rows = slice(group * each, (group + 1) * each)
        out[rows] = kernel[rows].reshape(each, -1) @ windows.T
    return out + bias[:, None]


def block(x, weights, name, stride, very_first):
    y = convolve(x if very_first else swish(x), weights, f"{name}.conv1")
    y = convolve(swish(y), weights, f"{name}.conv2", stride)
    y = convolve(swish(y), weights, f"{name}.conv3")
    squeezed = swish(weights[f"{name}.se_fc1.weight"] @ y.mean(1) + weights[f"{name}.se_fc1.bias"])
    y = y * sigmoid(weights[f"{name}.se_fc2.weight"] @ squeezed + weights[f"{name}.se_fc2.bias"])[:, None]
    if stride == 2:
        even = np.hstack([x, np.zeros((len(x), x.shape[1] % 2))])
        x = np.maximum(even[:, ::2], even[:, 1::2])
    shortcut = np.zeros_like(y)
    before = (len(y) - len(x)) // 2
    shortcut[before : before + len(x)] = x
    return y + shortcut


def by_hand(signal, weights):
    x = swish(convolve(signal, weights, "first_conv", 2))
    for stage, blocks in enumerate((2, 2, 2, 3, 3, 4, 4)):
        for i in range(blocks):
            name = f"stage_list.{stage}.block_list.{i}"
            x = block(x, weights, name, 2 if i == 0 else 1, very_first=stage == i == 0)
    vector = x.mean(1)
    return weights["dense.weight"] @ vector + weights["dense.bias"], vector


@pytest.mark.parametrize("samples", [1000, 777])  # 777 leaves a half-filled window at several depths
def test_the_forward_pass_is_the_network_written_out(net, samples):
    signal = torch.randn(12, samples, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = {key: value.double().numpy() for key, value in net.state_dict().items()}
    with torch.inference_mode():
        logits, vector = net.double()(signal[None], features=True)
    net.float()
    expected_logits, expected_vector = by_hand(signal.numpy(), weights)
    assert np.abs(expected_vector).max() > 0.1
    np.testing.assert_allclose(vector[0], expected_vector, rtol=0, atol=1e-10)
    np.testing.assert_allclose(logits[0], expected_logits, rtol=0, atol=1e-10)


def test_the_normalisations_of_the_file_are_not_applied(net):
    signal = torch.randn(1, 12, 640)
    with torch.inference_mode():
        before = net(signal)
        for name, value in net.state_dict().items():
            if "bn" in name:
                value.copy_(torch.full_like(value, 7))
        assert torch.equal(net(signal), before)
    assert not any(p.requires_grad for name, p in net.named_parameters() if "bn" in name)


@pytest.mark.parametrize("samples", [1, 250, 1000, 2500, 4096, 5000])
def test_any_length_runs(net, samples):
    with torch.inference_mode():
        logits, vector = net(torch.randn(2, 12, samples), features=True)
    assert (logits.shape, vector.shape) == ((2, 150), (2, 1024))
    assert logits.isfinite().all()


def test_a_batch_is_its_recordings(net):
    signal = torch.randn(3, 12, 500)
    with torch.inference_mode():
        together, alone = net(signal), torch.cat([net(one[None]) for one in signal])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_other_classes_change_the_last_layer_alone():
    with torch.device("meta"):
        tuned, published = Net1D(1, classes=155).state_dict(), Net1D(1).state_dict()
    assert [key for key in published if tuned[key].shape != published[key].shape] == ["dense.weight", "dense.bias"]
