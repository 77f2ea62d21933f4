"""What events look like on the wire, which of them a subscription wants, and the trace they carry."""
