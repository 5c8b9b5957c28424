"""Draw the pictures of docs/world.md from the results of the default experiment: events and kernels."""

import argparse
from pathlib import Path

from prh.jobs.command import failing_in_one_sentence
from prh.world import idealised, pictures

MODELS = {
    "Language: Llama": "llama-w48-300",
    "Vision: next event": "next-vit-250",
    "Vision: random": "random-vit",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results of the experiment")
    parser.add_argument("--dataset", default="world", help="data set of the world")
    parser.add_argument("--event", type=int, default=3, help="the event that the pictures begin with")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="folder of the pictures to write")
    arguments = parser.parse_args()

    world = idealised.build()
    events = pictures.draw_events(pictures.neighbourhood(world, arguments.event, count=9))
    events.savefig(arguments.output / "world_events.png")
    features = arguments.results / "features" / arguments.dataset
    kernels = {title: pictures.learnt_kernel(features / f"{model}.parquet") for title, model in MODELS.items()}
    pictures.draw_kernels(world.pmi, kernels).savefig(arguments.output / "world_kernels.png")


if __name__ == "__main__":
    with failing_in_one_sentence(job=False):
        main()
