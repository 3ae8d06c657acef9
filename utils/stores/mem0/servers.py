"""The vector stores that only run as servers, and in what mem0's class of each departs from the ordinary.

Read in mem0's classes and in the vendors' documentation, not measured: none of them runs without an account or a
server. What a user of one should know stands in its docstring.
"""

from __future__ import annotations

from utils.stores.mem0.adapter import StoreAdapter


class _InfoTellsLife(StoreAdapter):
    """A store whose empty answers may hide an outage, while ``col_info`` raises or answers an empty excuse."""

    hides_outages = True

    def is_alive(self) -> bool:
        """Ask for the collection's description."""
        return bool(self.store.col_info())


class AzureAiSearch(StoreAdapter):
    """Azure AI Search indexes within seconds of a change."""

    finds_metadata = False
    breaks_on_fences = True
    quiet_inserts = True
    visible_after_s = 5.0


class AzureMysql(StoreAdapter):
    """Every search reads all of the user's rows."""


class Baidu(StoreAdapter):
    """Its scores are not turned into cosines."""


class Mongodb(_InfoTellsLife):
    """Its search index follows the collection by about a second; listings do not go through it."""

    search_cap = 10_000
    post_filters = True
    merges = True
    packs = "nested"
    quiet_inserts = True


class Neptune(StoreAdapter):
    """Neptune Analytics."""

    packs = "typed"
    quiet_inserts = True


class Oracledb(StoreAdapter):
    """The most ordinary one."""


class Pinecone(_InfoTellsLife):
    """Pinecone is eventually consistent, as a rule within seconds."""

    search_cap = 10_000
    list_cap = 10_000
    packs = "nested"
    visible_after_s = 10.0


class S3Vectors(StoreAdapter):
    """Amazon S3 Vectors."""

    search_cap = 100
    list_cap = 1000
    packs = "nested"


class Supabase(StoreAdapter):
    """A user's memories cannot be listed. Supabase is PostgreSQL: provider pgvector reaches it, too."""

    blocks = True  # psycopg2
    search_cap = 1000
    list_cap = 1000
    lists = False
    post_filters = True


class Turbopuffer(StoreAdapter):
    """Turbopuffer."""

    search_cap = 1200
    list_cap = 1200
    packs = "nested"
    hides_outages = True

    def is_alive(self) -> bool:
        """Ask for the first namespace: raises when there is no answer."""
        next(iter(self.store.client.namespaces()), None)
        return True


class UpstashVector(StoreAdapter):
    """Upstash Vector is eventually consistent, as a rule within seconds."""

    search_cap = 1000
    nested_query = True
    not_in_ids = '"\\'
    visible_after_s = 10.0
