r"""An idealised world in which representations must converge: section 4 of the Platonic Representation Hypothesis.

Reality is a walk over M discrete events, points on the unit sphere. Events that are near follow each other often.
Nobody sees an event; each is observed through a one-to-one map into an image and into a word. Whoever models which
observations occur together, in either modality, recovers the same kernel: the pointwise mutual information (PMI) of
the events, and here that kernel is known in closed form.

The closed form is exact for the walk that the learners see. With :math:`K_{ij} = exp(-|x_i - x_j|^2 / 2 s^2)` and
:math:`h` the solution of :math:`K h = 1`, the chain that steps from i to j with probability :math:`K_{ij} h_j` is
reversible, stays in :math:`\pi = h / \sum h`, and consecutive events have

.. math:: PMI(i, j) = \log \frac{P(i, j)}{\pi_i \pi_j} = \frac{\langle x_i, x_j \rangle - 1}{s^2} + \log \sum h

so up to one constant the PMI *is* the inner product of the positions: no event is preferred as a neighbour.
The window of co-occurrence is one step.
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

# One stream of random numbers per thing drawn, so that a new thing never changes an old one.
_POSITIONS, _NAMES, _NUISANCE, _TASKS, _CAPTIONS, _WALKS, _QUESTIONS = range(7)


@dataclass(frozen=True, eq=False)
class World:
    """M events, how often each follows each, and how each is seen and called. Make one with :func:`build`.

    Attributes
    ----------
    positions : float64 [M, 3], the events on the unit sphere
    occurrence : float64 [M], sums to 1: how often an event occurs, the stationary distribution of the walk
    step : the length s in K, in units of the sphere's radius
    names : the word of each event; no two events share one
    image_size : pixels on a side of an image
    seed : the seed that the world was built from
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
        """Log of sum(h): what makes ``joint`` sum to 1."""
        similarity = np.exp((self.positions @ self.positions.T - 1) / self.step**2)
        return -np.log(self.occurrence @ similarity @ self.occurrence)

    def reality_features(self) -> np.ndarray:
        """What models converge towards, float32 [M, 3]: inner products are the PMI up to a constant."""
        return (self.positions / self.step).astype(np.float32)

    def walks(self, count: int, length: int, seed: int) -> np.ndarray:
        """``count`` independent walks of ``length`` events: int64 [count, length]; the first event is stationary."""
        _require_positive(count=count, length=length)
        return self._walk(self._rng(_WALKS, seed), count, length)

    def _walk(self, rng: np.random.Generator, count: int, length: int) -> np.ndarray:
        cumulative = np.cumsum(self.transition, axis=1)
        cumulative[:, -1] = 1.0  # or rounding could leave a sliver above the last event
        walks = np.empty((count, length), np.int64)
        walks[:, 0] = rng.choice(self.size, size=count, p=self.occurrence)
        for t in range(1, length):
            draw = rng.random(count)
            walks[:, t] = (cumulative[walks[:, t - 1]] < draw[:, None]).sum(axis=1)
        return walks

    # ---- how events look

    @cached_property
    def nuisance(self) -> dict[str, np.ndarray]:
        """What an image shows besides its event, fixed per event and independent of its place; arrays of length M."""
        return appearance.nuisance(self._rng(_NUISANCE), self.size, self.image_size)

    def pixels(self) -> np.ndarray:
        """The image of every event, uint8 [M, image_size, image_size, 3].

        A disc says which event it is: its centre is (x, y) and its radius grows with z. All else is :attr:`nuisance`.
        """
        of_events = ({name: values[event] for name, values in self.nuisance.items()} for event in range(self.size))
        drawn = zip(self.positions, of_events, strict=True)
        return np.stack([appearance.draw(position, of, self.image_size) for position, of in drawn])

    def images(self) -> list[bytes]:
        """The image of every event as a PNG file."""
        return [appearance.png(pixels) for pixels in self.pixels()]

    # ---- how events are told

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the language, in no order that says anything about the events."""
        return (UNTOLD, *sorted(self.names))

    def captions(self, density: float = 1.0, seed: int = 0, *, shuffled: bool = False) -> list[str]:
        """One caption per event.

        Parameters
        ----------
        density
            1: the word of the event, and captions are one-to-one with events. d > 1: that word, then the words of
            the d - 1 events that go with it best (largest PMI). d < 1: only a share d of the events is told; of any
            other the caption says "something".
        seed
            Draws the events that are told (d < 1) and the order of shuffled captions.
        shuffled
            Deal the captions to the events at random: the negative control.
        """
        if not 0 <= density <= self.size:
            raise ValueError(f"caption density is {density}; give from 0 to {self.size}, the number of events.")
        words = max(1, round(density))
        captions = [self._tell(events) for events in np.argsort(-self.pmi, axis=1, kind="stable")[:, :words]]
        for event in self._rng(_CAPTIONS, seed, 0).permutation(self.size)[round(density * self.size) :]:
            captions[event] = UNTOLD
        if not shuffled:
            return captions
        return [captions[event] for event in self._rng(_CAPTIONS, seed, 1).permutation(self.size)]

    def text(self, walk_count: int, length: int, density: float = 1.0, seed: int = 0) -> str:
        """``walk_count`` walks told in words, one walk per line; every event is told as :meth:`captions` tells it.

        A text that a learner has not read has another ``seed`` than the learner.
        """
        captions = self.captions(density)
        walks = self.walks(walk_count, length, seed)
        return "\n".join(" ".join(captions[event] for event in walk) for walk in walks)

    # ---- what can be asked about events

    def tasks(self) -> dict[str, tuple[str, np.ndarray]]:
        """Classification tasks for a linear probe on images: name -> (VTAB group, labels int64 [M]).

        All but the hue of the background ask where the event is, some coarsely and some finely, so that learners of
        different competence solve different numbers of them.
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
        """Questions in the form of HellaSwag: which of the endings goes on with the walk?

        Each has ``ctx`` (``context`` words), ``endings`` (of ``continuation`` words each) and ``label``, the index of
        the true one. The wrong endings are true walks as well, but from other events: only who knows which events go
        together can tell. No learner has walked any of these walks.
        """
        _require_positive(count=count, context=context, continuation=continuation)
        if endings < 2:
            raise ValueError(f"multiple choice with {endings} endings is no choice; give at least 2.")
        rng = self._rng(_QUESTIONS, seed)
        walks = self._walk(rng, count, context + continuation)
        wrong = self._walk(rng, count * (endings - 1), continuation).reshape(count, endings - 1, continuation)
        questions = []
        for walk, distractors, label in zip(walks, wrong, rng.integers(endings, size=count), strict=True):
            told = np.insert(distractors, label, walk[context:], axis=0)
            questions.append(
                {
                    "ctx": self._tell(walk[:context]),
                    "endings": [self._tell(events) for events in told],
                    "label": int(label),
                }
            )
        return questions

    def _tell(self, events: np.ndarray) -> str:
        return " ".join(self.names[event] for event in events)

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])


def build(events: int = 512, *, scale: float = 1.25, image_size: int = 32, seed: int = 0) -> World:
    """Build the world of ``events`` events.

    Parameters
    ----------
    events
        M, from 32 up; arrays of M * M float64 are held.
    scale
        How far a walk steps: s in units of the spacing of the events, ``sqrt(4 pi / M)``; up to 2. At 1.25 an event is
        followed by itself in one step of ten, and by about thirty others now and then.
    image_size
        Pixels on a side, at least 16.
    seed
        Everything is drawn from it.

    Raises
    ------
    ValueError
        If an argument is out of range, or no walk over these events has this PMI (``scale`` too large).
    """
    if events < 32:
        raise ValueError(f"a world of {events} events has too few neighbours to compare; give at least 32.")
    if not 0 < scale <= _MAX_SCALE:
        raise ValueError(f"world scale is {scale}; give a number above 0 and up to {_MAX_SCALE}.")
    if image_size < 16:
        raise ValueError(f"world image_size is {image_size}; a disc needs at least 16 pixels.")
    spacing = np.sqrt(4 * np.pi / events)
    positions = _spread(np.random.default_rng([seed, _POSITIONS]), events, spacing)
    step = scale * spacing
    h = np.linalg.solve(np.exp((positions @ positions.T - 1) / step**2), np.ones(events))
    if h.min() <= 0:
        raise ValueError(f"no walk over {events} events has a PMI of scale {scale}; give a smaller one, as 1.25.")
    names = _names(np.random.default_rng([seed, _NAMES]), events)
    return World(positions, h / h.sum(), float(step), names, image_size, seed)


def _spread(rng: np.random.Generator, count: int, spacing: float) -> np.ndarray:
    """``count`` points on the sphere, drawn at random, then pushed apart until none is crowded: float64 [count, 3]."""
    points = rng.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    reach = 0.6 * spacing
    for _ in range(_RELAXATION_STEPS):
        # sum_j (x_i - x_j) w_ij, without an array [count, count, 3]
        weights = np.exp((points @ points.T - 1) / reach**2)
        points = points + 0.5 * (weights.sum(axis=1, keepdims=True) * points - weights @ points)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def _names(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """``count`` different words of as few syllables as it takes (two up to 6,400 words)."""
    syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
    length = 2
    while len(syllables) ** length < count:
        length += 1
    codes = rng.choice(len(syllables) ** length, size=count, replace=False)
    digits = np.stack(np.unravel_index(codes, (len(syllables),) * length), axis=1)
    return tuple("".join(syllables[digit] for digit in row) for row in digits)


def _bins(values: np.ndarray, count: int) -> np.ndarray:
    """Values in 0..1 to ``count`` bins of equal width."""
    return np.minimum((values * count).astype(np.int64), count - 1)


def _quantiles(values: np.ndarray, count: int) -> np.ndarray:
    """Values to ``count`` bins of equal size."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return ranks * count // len(values)


def _require_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}; give at least 1.")
