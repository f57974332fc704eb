"""Training steps of a recipe's variants in turns: python -m benchmarks.variant_steps --config=vision/configs/fashion_mnist.py:15

The first row is the recipe itself. Whether the vision transformer that it is compared with takes as long is read off here.
"""

from benchmarks import arguments
from benchmarks.alternate import Contestant
from benchmarks.variants import VARIANTS


def contestants(config):
    """A Contestant for each variant of the recipe."""
    path, _, argument = config.partition(":")
    return [
        Contestant(
            variant or "the recipe",
            "benchmarks/image_models.py",
            "recipe",
            dict(path=path, argument=f"{argument},{variant}" if variant else argument),
            "",
        )
        for variant in VARIANTS
    ]


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--config", required=True, help="the recipe, with its argument")
    given = parser.parse_args()
    arguments.run(f"training step of {given.config}", contestants(given.config), given)


if __name__ == "__main__":
    main()
