"""Text models of other projects: BERT and ALBERT of Hugging Face and of Google, to and from the models of this zoo.

- names.py: one table of names, used in both directions
- settings.py: their config and ours, also in both directions
- importing.py: a Source to settings and weights
- tokenizers.py: vocabulary and casing beside the weights
- google.py: the names in Google's checkpoints
- exporting.py: a folder in Hugging Face's layout
"""
