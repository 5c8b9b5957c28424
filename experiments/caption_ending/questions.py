"""Builds the questions of the task caption_ending from the captions when lm-eval loads it."""

import random

from datasets import Dataset

ENDINGS = 4


def with_endings(photographs: Dataset) -> Dataset:
    """One question per photograph (column text, its captions): its first caption, cut in the middle.

    The wrong endings come from other photographs' first captions. The draw is seeded, so the questions never change.
    """
    halves = [_halves(captions[0]) for captions in photographs["text"]]
    draw = random.Random(0)
    questions = []
    for i, (beginning, ending) in enumerate(halves):
        others = draw.sample([j for j in range(len(halves)) if halves[j][1] != ending], ENDINGS - 1)
        endings = [halves[j][1] for j in others]
        label = draw.randrange(ENDINGS)
        endings.insert(label, ending)
        questions.append({"id": i, "beginning": beginning, "endings": endings, "label": label})
    return Dataset.from_list(questions)


def _halves(caption: str) -> tuple[str, str]:
    words = caption.split()
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])
