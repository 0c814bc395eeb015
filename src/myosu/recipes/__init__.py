"""Recipes: pipelines of stages (record, learn, rate) in a TOML file, each stage a folder that can be resumed."""
