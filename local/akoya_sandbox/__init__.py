"""A sandbox of Akoya's authorization, token and data endpoints, for tests on one machine.

Not affiliated with Akoya. `docs/akoya-sandbox.md` says what is documented by Akoya and what is
inferred.
"""
