"""Prepares an image data set: python -m vision.prepare fashion_mnist. The same command as python -m official.prepare."""

from official.prepare import main

if __name__ == "__main__":
    main()
