"""What the vendor's client is told of the settings."""

from typing import Any

from ion.adapters.mongo.settings import MongoSettings

TIMES = 0.9
"""The part of the time limit that the client may use: what comes after must be done within it too."""


def options(settings: MongoSettings) -> dict[str, Any]:
    """The client's options."""
    limit_ms = int(settings.timeout_s * TIMES * 1000)
    options: dict[str, Any] = {
        "host": settings.uri or list(settings.hosts),
        "tz_aware": True,
        "timeoutMS": limit_ms,
        "serverSelectionTimeoutMS": limit_ms,
        "connectTimeoutMS": limit_ms,
        "maxPoolSize": settings.pool,
        "appname": "ion",
        "w": "majority",
    }
    if settings.cosmos:
        options["retryWrites"] = False
    else:
        options["journal"] = True  # a server may be set up so that a majority's word alone does not outlive a power cut
    named = {
        "replicaSet": settings.replica_set,
        "username": settings.user,
        "password": settings.password,
        "authSource": settings.auth_source if settings.user else "",
        "tlsCAFile": settings.tls_ca,
        "tlsCertificateKeyFile": settings.tls_cert,
        "tls": settings.tls or None,
    }
    return options | {name: value for name, value in named.items() if value}
