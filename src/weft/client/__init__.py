"""The typed client of the agent's local API, shared by every front end. Cheap to import: only the standard library and
the API's types."""

from weft.client.client import DEFAULT_SOCKET, Client

__all__ = ["DEFAULT_SOCKET", "Client"]
