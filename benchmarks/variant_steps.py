"""Step times of a recipe's variants: python -m benchmarks.variant_steps --config=vision/configs/fashion_mnist.py:15

The first row is the recipe itself. Shows whether the vision transformer that it is compared with has the same step time.
"""

from benchmarks import command
from benchmarks.harness import Case
from benchmarks.variants import VARIANTS


def cases(config):
    """One case for each variant of the recipe."""
    path, _, argument = config.partition(":")
    return [
        Case(
            variant or "the recipe",
            "benchmarks/image_models.py",
            "recipe",
            dict(path=path, argument=f"{argument},{variant}" if variant else argument),
            "",
        )
        for variant in VARIANTS
    ]


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--config", required=True, help="the recipe, with its argument")
    given = parser.parse_args()
    command.run(f"training step of {given.config}", cases(given.config), given)


if __name__ == "__main__":
    main()
