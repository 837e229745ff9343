"""What servers and commands ask a server: the contract is `protos/cecochat/internal/v1/`."""
