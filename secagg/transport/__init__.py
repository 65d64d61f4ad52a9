"""What client and server have in common on the network: addresses as people write them, and the settings of TLS."""
