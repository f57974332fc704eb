"""Prepares a data set of TensorFlow Datasets: python -m vision.prepare fashion_mnist, which is python -m official.prepare."""

from official.prepare import main

if __name__ == "__main__":
    main()
