"""What servers and commands ask a server. The contract is in `protos/cecochat/internal/v1/`."""
