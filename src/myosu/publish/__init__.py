"""An agent as a static page: the game's own rules, the search and the network as WebAssembly, played in the browser."""
