"""Handwritten digits of 8 × 8 pixels, and a softmax regression on them: what a real job has of its own."""

from pathlib import Path

import numpy as np

Model = dict[str, np.ndarray]
CLASSES = 10

_rows = np.loadtxt(Path(__file__).with_name("digits.csv.gz"), delimiter=",", dtype=np.float32)
IMAGES, LABELS = _rows[:, :-1] / 16, _rows[:, -1].astype(int)
TEST = slice(1500, None)  # the last 297 images, which nobody trains on


def new_model() -> Model:
    return {"weights": np.zeros((64, CLASSES), np.float32), "bias": np.zeros(CLASSES, np.float32)}


def updated(model: Model, change: Model) -> Model:
    return {name: (array + change[name]).astype(np.float32) for name, array in model.items()}


def accuracy(model: Model) -> float:
    return float(np.mean(np.argmax(_scores(model, IMAGES[TEST]), axis=1) == LABELS[TEST]))


def train(model: Model, images: np.ndarray, labels: np.ndarray, steps: int = 10, rate: float = 0.5) -> Model:
    """What training on these images changes in the model."""
    local, wanted = model, np.eye(CLASSES)[labels]
    for _ in range(steps):
        scores = np.exp(_scores(local, images))
        error = (wanted - scores / scores.sum(axis=1, keepdims=True)) / len(labels)
        local = updated(local, {"weights": rate * images.T @ error, "bias": rate * error.sum(axis=0)})
    return {name: local[name] - model[name] for name in model}


def _scores(model: Model, images: np.ndarray) -> np.ndarray:
    return images @ model["weights"] + model["bias"]
