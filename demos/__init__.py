"""Demos: `python -m demos.NAME --out DIR --quick` runs any of them."""
