"""Networks: torch modules, and faster forms of them for inference."""
