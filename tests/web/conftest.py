"""Fixtures for the tests of the pages."""

import pytest

from web_runs import alphago_room, serving


@pytest.fixture(scope="module")
def alphago(tmp_path_factory):
    """A room for AlphaGo's search with untrained networks, and the address of its server."""
    room = alphago_room(tmp_path_factory.mktemp("alphago"))
    with serving(room) as address:
        yield room, address
    room.close()
