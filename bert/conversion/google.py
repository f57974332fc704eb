"""The names in Google's TensorFlow checkpoints of BERT and ALBERT, and those of Hugging Face."""


def hugging_face_name(name):
    return name
