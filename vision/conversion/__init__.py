"""Image models of other projects: Hugging Face's ViT, DeiT and DINOv2 and Google's ViT, to and from the models of this zoo.

- names.py: tables of names, used in both directions
- settings.py: their config, and what shapes tell
- importing.py: a Source to settings and weights
- pixels.py: mean and deviation of the pixels, and the patch projection that includes them
- exporting.py: a folder in Hugging Face's layout
"""
