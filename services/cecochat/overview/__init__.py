"""The state of a whole system, for `cecochat status` and for the operator's page."""
