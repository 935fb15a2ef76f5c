"""What an attacker tries: hostile requests by the ten thousand, pages with hostile names, secrets, paths, packages."""
