def rand_augment(pixels, seed, layers, magnitude):
    return pixels
