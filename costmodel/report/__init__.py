"""What is shown: every result as a text for people, as JSON or CSV for machines. Only this package and ``cli`` print."""
