"""The order in which layers take the least memory, with a certificate."""
