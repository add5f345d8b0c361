"""How the clients call a server."""
