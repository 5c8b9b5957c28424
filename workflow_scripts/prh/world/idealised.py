r"""An idealised world in which representations must converge: section 4 of the Platonic Representation Hypothesis.

Reality is a random walk over M discrete events, which are points on the unit sphere; nearby events often follow each
other. Events are not observed directly, but through one-to-one maps to images and to words. A model that learns which
observations occur together, in either modality, recovers the same kernel: the pointwise mutual information (PMI) of the
events. Here that kernel is known in closed form.

The closed form is exact for the walk that the models are trained on. With :math:`K_{ij} = exp(-|x_i - x_j|^2 / 2 s^2)`
and :math:`h` the solution of :math:`K h = 1`, the chain that steps from i to j with probability :math:`K_{ij} h_j` is
reversible, stays in :math:`\pi = h / \sum h`, and consecutive events have

.. math:: PMI(i, j) = \log \frac{P(i, j)}{\pi_i \pi_j} = \frac{\langle x_i, x_j \rangle - 1}{s^2} + \log \sum h

so that, up to a constant, the PMI is the scaled inner product of the positions, and no event is preferred as a
neighbour. Events co-occur if they are consecutive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from prh.world import appearance

CONSONANTS = "bdfghjklmnprstvz"
VOWELS = "aeiou"
UNTOLD = "something"

_RELAXATION_STEPS = 30  # enough for h > 0 at every size from 32 to 4096 events with the default scale
_MAX_SCALE = 2.0  # K is too ill-conditioned to solve for h beyond this

# One random stream per kind of draw, so that adding a kind does not change the others.
_POSITIONS, _NAMES, _NUISANCE, _TASKS, _CAPTIONS, _WALKS, _QUESTIONS = range(7)


@dataclass(frozen=True, eq=False)
class IdealisedWorld:
    """M events, their transition probabilities, images and names. Create one with :func:`build`.

    Attributes
    ----------
    positions : float64 [M, 3]
        Points on the unit sphere.
    occurrence : float64 [M]
        Probability of each event, the stationary distribution of the walk; sums to 1.
    step : float
        The length scale s in K; the sphere has radius 1.
    names : tuple of str
        Unique word of each event.
    image_size : int
        Width and height of an image in pixels.
    seed : int
        The seed from which the world was built.
    """

    positions: np.ndarray
    occurrence: np.ndarray
    step: float
    names: tuple[str, ...]
    image_size: int
    seed: int

    @property
    def size(self) -> int:
        """M, the number of events."""
        return len(self.positions)

    @cached_property
    def pmi(self) -> np.ndarray:
        """The true kernel, float64 [M, M]: log P(i, j) / (P(i) P(j)) of consecutive events (nats)."""
        return (self.positions @ self.positions.T - 1) / self.step**2 + self._log_total

    @cached_property
    def joint(self) -> np.ndarray:
        """P(i, j) of consecutive events, float64 [M, M], symmetric, sums to 1."""
        return np.exp(self.pmi) * np.outer(self.occurrence, self.occurrence)

    @cached_property
    def transition(self) -> np.ndarray:
        """P(next is j | now is i), float64 [M, M]; rows sum to 1."""
        return self.joint / self.joint.sum(axis=1, keepdims=True)

    @property
    def _log_total(self) -> float:
        """Log of sum(h), which normalises ``joint``."""
        similarity = np.exp((self.positions @ self.positions.T - 1) / self.step**2)
        return -np.log(self.occurrence @ similarity @ self.occurrence)

    def reality_features(self) -> np.ndarray:
        """The representation that models converge towards, whose inner products are the PMI plus a constant.

        float32 [M, 3].
        """
        return (self.positions / self.step).astype(np.float32)

    def walks(self, count: int, length: int, seed: int) -> np.ndarray:
        """``count`` independent walks of ``length`` events: int64 [count, length]; the first event is drawn from
        ``occurrence``.
        """
        _require_positive(count=count, length=length)
        return self._walk(self._rng(_WALKS, seed), count, length)

    def _walk(self, rng: np.random.Generator, count: int, length: int) -> np.ndarray:
        cumulative = np.cumsum(self.transition, axis=1)
        cumulative[:, -1] = 1.0  # rounding could leave it slightly below 1
        walks = np.empty((count, length), np.int64)
        walks[:, 0] = rng.choice(self.size, size=count, p=self.occurrence)
        for t in range(1, length):
            draw = rng.random(count)
            walks[:, t] = (cumulative[walks[:, t - 1]] < draw[:, None]).sum(axis=1)
        return walks

    # ---- images of events

    @cached_property
    def nuisance(self) -> dict[str, np.ndarray]:
        """Properties of each image that are independent of the position of its event: arrays of length M."""
        return appearance.nuisance(self._rng(_NUISANCE), self.size, self.image_size)

    def pixels(self) -> np.ndarray:
        """The image of every event, uint8 [M, image_size, image_size, 3].

        A disc shows the event: its centre is (x, y), and its radius grows with z. Everything else is :attr:`nuisance`.
        """
        nuisances = ({name: values[event] for name, values in self.nuisance.items()} for event in range(self.size))
        events = zip(self.positions, nuisances, strict=True)
        return np.stack([appearance.draw(position, nuisance, self.image_size) for position, nuisance in events])

    def images(self) -> list[bytes]:
        """The image of every event as a PNG file."""
        return [appearance.png(pixels) for pixels in self.pixels()]

    # ---- events in words

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words of the language, sorted so that their order is unrelated to the events."""
        return (UNTOLD, *sorted(self.names))

    def captions(self, density: float = 1.0, seed: int = 0, *, shuffled: bool = False) -> list[str]:
        """One caption per event.

        Parameters
        ----------
        density
            1: the word of the event, so that captions are one-to-one with events. d > 1: that word and those of the
            d - 1 events with the largest PMI. d < 1: only a share d of the events is described; the caption of all
            others is "something".
        seed
            Seed of the choice of described events (d < 1) and of the order of shuffled captions.
        shuffled
            Assign the captions to events at random, as a negative control.

        Raises
        ------
        ValueError
            If ``density`` is not between 0 and the number of events.
        """
        if not 0 <= density <= self.size:
            raise ValueError(f"caption density is {density}; it must be from 0 to {self.size}, the number of events.")
        words = max(1, round(density))
        captions = [self._tell(events) for events in np.argsort(-self.pmi, axis=1, kind="stable")[:, :words]]
        for event in self._rng(_CAPTIONS, seed, 0).permutation(self.size)[round(density * self.size) :]:
            captions[event] = UNTOLD
        if not shuffled:
            return captions
        return [captions[event] for event in self._rng(_CAPTIONS, seed, 1).permutation(self.size)]

    def text(self, walk_count: int, length: int, density: float = 1.0, seed: int = 0) -> str:
        """``walk_count`` walks in words, one per line, where each event appears as its caption (:meth:`captions`).

        Use another ``seed`` than that of a model to get text that it was not trained on.
        """
        captions = self.captions(density)
        walks = self.walks(walk_count, length, seed)
        return "\n".join(" ".join(captions[event] for event in walk) for walk in walks)

    # ---- tasks about events

    def tasks(self) -> dict[str, tuple[str, np.ndarray]]:
        """Classification tasks for a linear probe on images: name -> (VTAB group, labels int64 [M]).

        All except background_hue ask for the position of the event, at different resolutions, so that models of
        different competence solve different numbers of tasks.
        """
        x, y, z = self.positions.T
        rng = self._rng(_TASKS)
        landmarks = self.positions[rng.choice(self.size, size=min(16, self.size), replace=False)]
        nearness = self.positions @ landmarks.T
        azimuth = np.arctan2(y, x) / (2 * np.pi) + 0.5
        return {
            "continent": ("natural", nearness[:, :4].argmax(axis=1)),
            "octant": ("natural", 4 * (x > 0) + 2 * (y > 0) + (z > 0)),
            "region": ("natural", nearness.argmax(axis=1)),
            "background_hue": ("specialised", _bins(self.nuisance["background_hue"], 6)),
            "side": ("specialised", (x > 0).astype(np.int64)),
            "size": ("specialised", (z > 0).astype(np.int64)),
            "quadrant": ("structured", 2 * (x > 0) + (y > 0)),
            "azimuth": ("structured", _bins(azimuth, 8)),
            "elevation": ("structured", _quantiles(z, 6)),
            "distance": ("structured", _quantiles(nearness[:, 0], 6)),
            "x_position": ("structured", _quantiles(x, 8)),
        }

    def multiple_choice(
        self, count: int, seed: int, *, context: int = 8, continuation: int = 3, endings: int = 4
    ) -> list[dict]:
        """Questions in the form of HellaSwag: which of several endings continues the walk?

        Each has ``ctx`` (``context`` words), ``endings`` (``continuation`` words each) and ``label``, the index of the
        correct ending. Wrong endings are walks too, but unrelated to the context, so answering requires knowing which
        events co-occur. No model is trained on any of these walks. Raises ValueError for counts below 1 or fewer than
        two endings.
        """
        _require_positive(count=count, context=context, continuation=continuation)
        if endings < 2:
            raise ValueError(f"multiple choice with {endings} endings is not a choice; use at least 2.")
        rng = self._rng(_QUESTIONS, seed)
        walks = self._walk(rng, count, context + continuation)
        wrong = self._walk(rng, count * (endings - 1), continuation).reshape(count, endings - 1, continuation)
        questions = []
        for walk, distractors, label in zip(walks, wrong, rng.integers(endings, size=count), strict=True):
            choices = np.insert(distractors, label, walk[context:], axis=0)
            questions.append(
                {
                    "ctx": self._tell(walk[:context]),
                    "endings": [self._tell(events) for events in choices],
                    "label": int(label),
                }
            )
        return questions

    def _tell(self, events: np.ndarray) -> str:
        return " ".join(self.names[event] for event in events)

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])


def build(events: int = 512, *, scale: float = 1.25, image_size: int = 32, seed: int = 0) -> IdealisedWorld:
    """Build a world of ``events`` events.

    Parameters
    ----------
    events
        M, at least 32; memory grows with M * M.
    scale
        Step length s of the walk, in units of the spacing of the events, ``sqrt(4 pi / M)``; up to 2. At 1.25 an event
        is followed by itself in one of ten steps, and by about thirty others in most of the rest.
    image_size
        Width and height of images in pixels, at least 16.
    seed
        Seed of all random draws.

    Returns
    -------
    IdealisedWorld

    Raises
    ------
    ValueError
        If an argument is out of range, or no walk over these events has this PMI (``scale`` too large).
    """
    if events < 32:
        raise ValueError(f"a world of {events} events has too few neighbours to compare; use at least 32.")
    if not 0 < scale <= _MAX_SCALE:
        raise ValueError(f"world scale is {scale}; it must be above 0 and at most {_MAX_SCALE}.")
    if image_size < 16:
        raise ValueError(f"world image_size is {image_size}; a disc needs at least 16 pixels.")
    spacing = np.sqrt(4 * np.pi / events)
    positions = _spread(np.random.default_rng([seed, _POSITIONS]), events, spacing)
    step = scale * spacing
    h = np.linalg.solve(np.exp((positions @ positions.T - 1) / step**2), np.ones(events))
    if h.min() <= 0:
        raise ValueError(f"no walk over {events} events has a PMI of scale {scale}; use a smaller one, such as 1.25.")
    names = _names(np.random.default_rng([seed, _NAMES]), events)
    return IdealisedWorld(positions, h / h.sum(), float(step), names, image_size, seed)


def _spread(rng: np.random.Generator, count: int, spacing: float) -> np.ndarray:
    """``count`` random points on the sphere, pushed apart until evenly spread: float64 [count, 3]."""
    points = rng.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    reach = 0.6 * spacing
    for _ in range(_RELAXATION_STEPS):
        # sum_j (x_i - x_j) w_ij, computed without an array [count, count, 3]
        weights = np.exp((points @ points.T - 1) / reach**2)
        points = points + 0.5 * (weights.sum(axis=1, keepdims=True) * points - weights @ points)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def _names(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """``count`` different words with as few syllables as possible (two for up to 6,400 words)."""
    syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
    length = 2
    while len(syllables) ** length < count:
        length += 1
    codes = rng.choice(len(syllables) ** length, size=count, replace=False)
    digits = np.stack(np.unravel_index(codes, (len(syllables),) * length), axis=1)
    return tuple("".join(syllables[digit] for digit in row) for row in digits)


def _bins(values: np.ndarray, count: int) -> np.ndarray:
    """Bin of each value from 0 to 1, with ``count`` bins of equal width: int64."""
    return np.minimum((values * count).astype(np.int64), count - 1)


def _quantiles(values: np.ndarray, count: int) -> np.ndarray:
    """Bin of each value, with ``count`` bins of equal size: int64."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return ranks * count // len(values)


def _require_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}; it must be at least 1.")
