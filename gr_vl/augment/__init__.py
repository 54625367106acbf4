"""Making training data harder: mining by rejection sampling, and safety-aware concatenation."""
