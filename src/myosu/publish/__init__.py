"""Publishes an agent as a static web page, which runs the game's rules, the search and the network in WebAssembly."""
