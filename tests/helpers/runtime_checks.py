"""The checker that tests/conftest.py wraps around every function of the engine: annotations are held to at run time."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

# PEP 484's numeric tower: an int is welcome where a float is annotated, as in every type checker.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
