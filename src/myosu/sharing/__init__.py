"""Agents that leave this machine: a card that says what one is (``card.py``), and the Hugging Face Hub (``hub.py``)."""
