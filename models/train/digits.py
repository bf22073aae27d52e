# SPDX-License-Identifier: MIT OR Apache-2.0
"""Trains the digits network of `models::digits` and writes `models/data/digits`.

How to run (about ten seconds on one core; any recent Python 3.11+ with the pinned packages):

    python -m venv venv && venv/bin/pip install -r models/train/requirements.txt
    venv/bin/python models/train/digits.py            # train, verify, write the three files
    venv/bin/python models/train/digits.py --check    # train again, compare with the committed bytes
    venv/bin/python models/train/digits.py --select   # the validation grid behind CONFIG (about a minute)

The network, planned for CKKS (three plaintext-matrix products and two squarings, five levels):

    h1 = (W1 x + b1)^2,  h2 = (W2 h1 + b2)^2,  logits = W3 h2 + b3        x = pixels / 16, in [0, 1]

The pure square has no coefficient to fold, and a square is invariant under z -> s z, W_next -> W_next / s^2, so after
training every hidden unit is rescaled to the same largest pre-activation on the training images (`normalise`); logits
are centred and scaled, which changes no answer. That keeps each value within LIMIT, the message room of a ciphertext.

The held-out split never meets training, selection or rescaling: `--select` splits the training part once more and
looks only at that. The figures on the held-out split are computed once, at the end, from the f32 weights as written.

The loss is the squared multi-class hinge sum_k max(0, m - (l_y - l_k))^2, which asks for margins by name and needs no
transcendental function. Arithmetic is f64 with one BLAS thread and a fixed BLAS kernel, so equal machines give equal
bytes; another processor family may differ in the last bits of the weights, and then in figures by about as little.
"""

import argparse
import hashlib
import json
import math
import os
import pathlib
import struct
import sys

# Before numpy loads: one thread and one kernel, or the order of sums depends on the machine.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OPENBLAS_CORETYPE"] = "Haswell"

import numpy as np
import safetensors.numpy
import sklearn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "digits"

SPLIT_SEED = 0  # of the held-out split and of the validation split inside the training part
TEST_SAMPLES = 360
VALIDATION_SAMPLES = 287
SEED = 1  # of initialisation, batches and shifts; fixed before the first look at the held-out split

INPUTS, HIDDEN1, HIDDEN2, CLASSES = 64, 64, 32, 10
# Chosen by --select: hidden2, decoupled weight decay, hinge margin, largest shift in pixels.
CONFIG = {"hidden2": HIDDEN2, "decay": 0.1, "margin": 2.0, "shift": 0.5}
EPOCHS, BATCH, RATE, CLIP = 400, 64, 3e-3, 5.0

PRE_TARGET = 2.0  # largest |pre-activation| of each hidden unit on the training images, so squares reach 4
LOGIT_TARGET = 6.5  # largest |logit| on the training images
LIMIT = 8.0  # bound on every intermediate value, on the whole data set
MIN_ACCURACY = 0.95
MIN_MARGIN = 2.0**-8  # smallest top-two margin on the held-out split

NAMES = ["layer1.weight", "layer1.bias", "layer2.weight", "layer2.bias", "layer3.weight", "layer3.bias"]
STEPS = ["z1", "h1", "z2", "h2", "logits"]


def forward(params, x):
    """[n, 64] -> (z1, h1, z2, h2, logits): all intermediate values, in order."""
    w1, b1, w2, b2, w3, b3 = params
    z1 = x @ w1.T + b1
    h1 = z1 * z1
    z2 = h1 @ w2.T + b2
    h2 = z2 * z2
    return z1, h1, z2, h2, h2 @ w3.T + b3


def shift_images(images, dy, dx):
    """Moves each of [n, 8, 8] by (dy, dx) pixels, each in [-1, 1], bilinearly, zeros from outside."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    n = np.arange(len(images))[:, None, None]
    row, col = np.arange(8)[None, :, None], np.arange(10)[None, None, :]
    w, side = np.abs(dy)[:, None, None], np.where(dy < 0, 0, 2)[:, None, None]
    tall = (1 - w) * padded[:, 1:9, :] + w * padded[n, row + side, col]
    w, side = np.abs(dx)[:, None, None], np.where(dx < 0, 0, 2)[:, None, None]
    return (1 - w) * tall[:, :, 1:9] + w * tall[n, row, col[:, :, :8] + side]


def train(x, y, seed, hidden2, decay, margin, shift):
    """AdamW with a cosine rate on shifted batches; returns [w1, b1, w2, b2, w3, b3] in f64."""
    rng = np.random.default_rng(seed)
    params = [
        rng.normal(size=(HIDDEN1, INPUTS)) * 0.12,
        rng.normal(size=HIDDEN1) * 0.1,
        rng.normal(size=(hidden2, HIDDEN1)) * 0.12,
        rng.normal(size=hidden2) * 0.1,
        rng.normal(size=(CLASSES, hidden2)) * 0.1,
        np.zeros(CLASSES),
    ]
    mean = [np.zeros_like(p) for p in params]
    var = [np.zeros_like(p) for p in params]
    batches = len(x) // BATCH
    rows, step = np.arange(BATCH), 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for b in range(batches):
            step += 1
            pick = order[b * BATCH : (b + 1) * BATCH]
            dy, dx = rng.uniform(-shift, shift, size=(2, BATCH))
            xb, yb = shift_images(x[pick].reshape(-1, 8, 8), dy, dx).reshape(-1, INPUTS), y[pick]
            z1, h1, z2, h2, logits = forward(params, xb)
            short = np.maximum(0.0, margin - (logits[rows, yb][:, None] - logits))
            short[rows, yb] = 0.0
            d3 = 2.0 * short / BATCH
            d3[rows, yb] = -d3.sum(1)
            d2 = (d3 @ params[4]) * 2.0 * z2
            d1 = (d2 @ params[2]) * 2.0 * z1
            grads = [d1.T @ xb, d1.sum(0), d2.T @ h1, d2.sum(0), d3.T @ h2, d3.sum(0)]
            norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
            clip = min(1.0, CLIP / (norm + 1e-12))
            rate = RATE * 0.5 * (1.0 + math.cos(math.pi * step / (EPOCHS * batches)))
            for k, g in enumerate(grads):
                g = g * clip
                mean[k] += 0.1 * (g - mean[k])
                var[k] += 0.001 * (g * g - var[k])
                move = mean[k] / (1 - 0.9**step) / (np.sqrt(var[k] / (1 - 0.999**step)) + 1e-8)
                if k % 2 == 0:
                    move = move + decay * params[k]
                params[k] -= rate * move
    return params


def normalise(params, x):
    """The same function up to one positive factor on the logits, with every unit's range set on the images x."""
    w1, b1, w2, b2, w3, b3 = (p.copy() for p in params)
    s = PRE_TARGET / np.abs(forward([w1, b1, w2, b2, w3, b3], x)[0]).max(0)
    w1, b1, w2 = w1 * s[:, None], b1 * s, w2 / (s * s)
    s = PRE_TARGET / np.abs(forward([w1, b1, w2, b2, w3, b3], x)[2]).max(0)
    w2, b2, w3 = w2 * s[:, None], b2 * s, w3 / (s * s)
    w3, b3 = w3 - w3.mean(0), b3 - b3.mean()
    s = LOGIT_TARGET / np.abs(forward([w1, b1, w2, b2, w3, b3], x)[4]).max()
    return [w1, b1, w2, b2, w3 * s, b3 * s]


def accuracy(logits, y):
    return float((logits.argmax(1) == y).mean())


def margins(logits):
    """Best logit minus the second best, per sample."""
    top = np.sort(logits, 1)
    return top[:, -1] - top[:, -2]


def true_margins(logits, y):
    """Logit of the right class minus the best other: negative where the answer is wrong."""
    rows = np.arange(len(y))
    rest = logits.copy()
    rest[rows, y] = -np.inf
    return logits[rows, y] - rest.max(1)


def select(x, y, part):
    """Prints the grid: three seeds each, trained on 1,150 samples, judged on the 287 validation samples."""
    fit, val = train_test_split(part, test_size=VALIDATION_SAMPLES, stratify=y[part], random_state=SPLIT_SEED)
    grid = [CONFIG, CONFIG | {"hidden2": 64}, CONFIG | {"shift": 0.7}, CONFIG | {"decay": 0.3}, CONFIG | {"decay": 1.0}]
    for config in grid:
        acc, low = [], []
        for seed in (1, 2, 3):
            params = normalise(train(x[fit], y[fit], seed, **config), x[fit])
            logits = forward(params, x[val])[4]
            acc.append(accuracy(logits, y[val]))
            low.append(float(np.quantile(true_margins(logits, y[val]), 0.02)))
        print(f"{config}: accuracy {np.mean(acc):.4f}, 2% quantile of the true margin {np.mean(low):.3f}", flush=True)


def safetensors_bytes(tensors, metadata):
    """The format by hand, because the library writes metadata in hash order; read back through it in `main`."""
    header, offset = {"__metadata__": {k: metadata[k] for k in sorted(metadata)}}, 0
    dtypes = {np.dtype("<f4"): "F32", np.dtype("u1"): "U8"}
    for name, t in tensors.items():
        header[name] = {"dtype": dtypes[t.dtype], "shape": list(t.shape), "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + b"".join(np.ascontiguousarray(t).tobytes() for t in tensors.values())


def build():
    """Trains, verifies and returns {file name: bytes} and the figures; raises if a promise is not kept."""
    raw, y = load_digits(return_X_y=True)
    pixels = raw.astype(np.uint8)
    assert (pixels == raw).all() and pixels.max() == 16 and raw.shape == (1797, INPUTS)
    x = raw / 16.0
    part, held = train_test_split(
        np.arange(len(y)), test_size=TEST_SAMPLES, stratify=y, random_state=SPLIT_SEED
    )
    assert not set(part) & set(held) and len(held) == TEST_SAMPLES

    params = normalise(train(x[part], y[part], SEED, **CONFIG), x[part])
    written = [p.astype("<f4") for p in params]
    params = [p.astype(np.float64) for p in written]

    ranges = {name: float(np.abs(v).max()) for name, v in zip(STEPS, forward(params, x))}
    logits = forward(params, x[held])[4]
    margin = margins(logits)
    figures = {
        "train_accuracy": f"{accuracy(forward(params, x[part])[4], y[part]):.4f}",
        "test_accuracy": f"{accuracy(logits, y[held]):.4f}",
        "test_accuracy_first_100": f"{accuracy(logits[:100], y[held][:100]):.4f}",
        "smallest_margin": f"{margin.min():.5f}",
        "median_margin": f"{np.median(margin):.3f}",
        "largest_value": f"{max(ranges.values()):.3f}",
        "ranges": ", ".join(f"{k} {v:.3f}" for k, v in ranges.items()),
        "largest_weight": f"{max(float(np.abs(p).max()) for p in params):.3f}",
    }
    print(json.dumps(figures, indent=2))
    assert max(ranges.values()) <= LIMIT, "a value leaves the message room"
    assert min(float(figures["test_accuracy"]), float(figures["test_accuracy_first_100"])) >= MIN_ACCURACY
    assert margin.min() > MIN_MARGIN, "an answer hangs on too little"

    common = {
        "source": "UCI Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, 1998, "
        "doi:10.24432/C50P49, as shipped in scikit-learn " + sklearn.__version__ + " (load_digits)",
        "script": "models/train/digits.py",
        "split": f"stratified, {TEST_SAMPLES} of {len(y)} held out, seed {SPLIT_SEED}",
    }
    weights = common | figures | {
        "licence": "MIT OR Apache-2.0 (trained on CC BY 4.0 data, see source)",
        "network": "h1 = (W1 x + b1)^2; h2 = (W2 h1 + b2)^2; logits = W3 h2 + b3; x = pixels / 16",
        "seed": str(SEED),
    }
    test = common | {
        "licence": "CC BY 4.0",
        "changes": "a selection of 360 samples, reordered, pixels stored as u8",
        "images": "u8 [360, 64], row-major 8x8, 0 (paper) to 16 (ink)",
        "labels": "u8 [360], 0 to 9",
    }
    files = {
        "weights.safetensors": safetensors_bytes(dict(zip(NAMES, written)), weights),
        "test.safetensors": safetensors_bytes(
            {"images": pixels[held], "labels": y[held].astype(np.uint8)}, test
        ),
    }
    back = safetensors.numpy.load(files["weights.safetensors"])
    assert all((back[n] == w).all() for n, w in zip(NAMES, written))
    back = safetensors.numpy.load(files["test.safetensors"])
    assert (back["images"] == pixels[held]).all() and (back["labels"] == y[held]).all()
    files["SOURCE.md"] = source_page(files, figures).encode()
    return files


def source_page(files, figures):
    """SOURCE.md: template beside this script, with digests and figures filled in."""
    page = pathlib.Path(__file__).with_name("digits_source.md").read_text(encoding="utf-8")
    values = dict(figures)
    values |= {f"sha256 {name}": hashlib.sha256(data).hexdigest() for name, data in files.items()}
    values |= {f"bytes {name}": f"{len(data):,}" for name, data in files.items()}
    for key, value in values.items():
        page = page.replace("{{" + key + "}}", value)
    assert "{{" not in page, "a field of the template was not filled"
    return page


def main():
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = cli.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="train again and compare with the committed files")
    mode.add_argument("--select", action="store_true", help="print the validation grid and stop")
    args = cli.parse_args()
    if args.select:
        raw, y = load_digits(return_X_y=True)
        part, _ = train_test_split(
            np.arange(len(y)), test_size=TEST_SAMPLES, stratify=y, random_state=SPLIT_SEED
        )
        return select(raw / 16.0, y, part)
    files = build()
    if args.check:
        stale = [name for name, data in files.items() if (OUT / name).read_bytes() != data]
        return sys.exit(f"differ from the committed files: {', '.join(stale)}" if stale else 0)
    OUT.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (OUT / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes")
    return None


if __name__ == "__main__":
    main()
