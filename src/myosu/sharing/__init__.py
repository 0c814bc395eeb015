"""Shares agents: a model card that describes one (``card.py``), and the Hugging Face Hub (``hub.py``)."""
