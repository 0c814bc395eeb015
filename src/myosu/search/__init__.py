"""Batched tree search; see ``search.py``."""

from myosu.search.search import GumbelConfig, PUCTConfig, Search, SearchResult, kl_from_prior, policy_entropy

__all__ = ["GumbelConfig", "PUCTConfig", "Search", "SearchResult", "kl_from_prior", "policy_entropy"]
