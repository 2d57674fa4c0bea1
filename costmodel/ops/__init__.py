"""The rules. Importing this package fills the registry with every op family."""
