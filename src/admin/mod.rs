//! Administration: keys, teams, usage, the audit log. JSON in, JSON out; it knows nothing of the gateway.
