"""One suite a port: what every adapter must do, run against the real server. Subclass a suite and give it its store."""
