"""The page: a server of one run, and what the browser shows. Imported by ``myosu play`` only."""
