def mixup(images, labels, seeds, alpha):
    return images, labels


def smooth_labels(l, a):
    return l
