"""Batched tree search; see ``search.py``."""

from myosu.search.search import Expansion, GumbelConfig, PUCTConfig, Search, SearchResult, kl_from_prior, policy_entropy

__all__ = ["Expansion", "GumbelConfig", "PUCTConfig", "Search", "SearchResult", "kl_from_prior", "policy_entropy"]
