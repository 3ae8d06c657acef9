"""The Cypher that is sent, and where Neo4j and Memgraph differ.

Names, relations and ids are parameters, always: no text of a user, a model or a form ever becomes Cypher. Labels,
relationship type and property names are the constants below. Every statement is bounded by the owner's key.

The data: ``(:Mem0Entity {id, owner, agent_id, name, embedding, …})-[:MEM0_RELATION {owner, memory_id, text_hash, name,
…}]->(…)`` and one ``(:Mem0Owner {id, version, indexed})`` for each user, whose version
changes with every change of the user's edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Sent one by one before a graph is first changed; each does nothing where its object is there already.
_NEO4J_SCHEMA: Final = (
    "CREATE CONSTRAINT mem0_entity_id IF NOT EXISTS FOR (n:Mem0Entity) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT mem0_owner_id IF NOT EXISTS FOR (n:Mem0Owner) REQUIRE n.id IS UNIQUE",
    "CREATE INDEX mem0_entity_owner IF NOT EXISTS FOR (n:Mem0Entity) ON (n.owner)",
    "CREATE INDEX mem0_relation_memory IF NOT EXISTS FOR ()-[r:MEM0_RELATION]-() ON (r.memory_id)",
)
# Of large owners' entities, and of vectors of any length: Neo4j before 5.23 wants one length, refuses this, and is
# asked exactly. Those of all others stay out of it: with an index of vectors a change takes thrice as long (measured).
_NEO4J_VECTOR_INDEX: Final = (
    "CREATE VECTOR INDEX mem0_indexed_embedding IF NOT EXISTS FOR (n:Mem0Indexed) ON (n.embedding) "
    "OPTIONS {indexConfig: {`vector.similarity_function`: 'cosine'}}"
)
# Memgraph has no IF NOT EXISTS; what is there already is an error that is let pass (``store``). Its edge indexes need
# version 2.21 or newer.
_MEMGRAPH_SCHEMA: Final = (
    "CREATE CONSTRAINT ON (n:Mem0Entity) ASSERT n.id IS UNIQUE",
    "CREATE CONSTRAINT ON (n:Mem0Owner) ASSERT n.id IS UNIQUE",
    "CREATE INDEX ON :Mem0Entity(id)",
    "CREATE INDEX ON :Mem0Owner(id)",
    "CREATE INDEX ON :Mem0Entity(owner)",
    "CREATE EDGE INDEX ON :MEM0_RELATION(memory_id)",
)
# Float32 arrays take half the disk of Neo4j's lists of numbers, and exact search half the time (measured).
_NEO4J_SET_EMBEDDING: Final = (
    "FOREACH (_ IN CASE WHEN $indexed THEN [1] ELSE [] END | SET n:Mem0Indexed) "
    "WITH n, entity CALL db.create.setNodeVectorProperty(n, 'embedding', entity.embedding)"
)
_PLAIN_SET_EMBEDDING: Final = "SET n.embedding = entity.embedding"
# Of two unit vectors, as a cosine in -1..1. Memgraph has no such function in its core.
_NEO4J_COSINE: Final = "2.0 * vector.similarity.cosine(e.embedding, $vector) - 1.0"
_PLAIN_COSINE: Final = "reduce(sum = 0.0, i IN range(0, $last) | sum + e.embedding[i] * $vector[i])"
# What is told of an edge r from a to b; the owners are compared again by whoever asked.
_FOUND: Final = (
    "a.name AS source, r.name AS relation, b.name AS destination, r.memory_id AS memory_id, "
    "coalesce(r.text_hash, '') AS text_hash, r.owner AS owner, a.owner AS source_owner, b.owner AS destination_owner"
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the two servers.

    Attributes:
        needed: the oldest version of the server that will do, for people.
        probe: reads nothing, and only such a server can answer it.
        schema: constraints and indexes.
        schema_repeats: creating what is there is an error of this server.
        cosine: the similarity of an entity ``e`` to ``$vector``.
        set_embedding: gives the entity ``n`` the vector of ``entity``.
        vector_index: makes the vector index, where the server has one that can serve all owners and any length.
    """

    needed: str
    probe: str
    schema: tuple[str, ...]
    schema_repeats: bool
    cosine: str
    set_embedding: str
    vector_index: str | None

    @property
    def search(self) -> str:
        """The relations of the entities nearest to ``$vector``, all of the owner's looked at. Parameters: owner,
        agent_id (or null), vector, last, dims, entities, limit.
        """
        return f"MATCH (e:Mem0Entity {{owner: $owner}}) {self._nearest}"

    @property
    def index_search(self) -> str:
        """The same among the ``$candidates`` entities of large owners that the vector index finds nearest. ``near``
        tells how many entities of the owner's there were among them, ``$entities`` at most.
        """
        found = "CALL db.index.vector.queryNodes('mem0_indexed_embedding', $candidates, $vector) YIELD node AS e"
        return f"{found} WITH e WHERE e.owner = $owner {self._nearest}"

    @property
    def _nearest(self) -> str:
        mine = "WITH e WHERE ($agent_id IS NULL OR e.agent_id = $agent_id) AND size(e.embedding) = $dims "
        return (
            f"{mine}WITH e, {self.cosine} AS cosine ORDER BY cosine DESC, e.id LIMIT $entities "
            "WITH collect([e, cosine]) AS nearest UNWIND nearest AS one "
            "WITH one[0] AS e, one[1] AS cosine, size(nearest) AS near "
            "MATCH (e)-[r:MEM0_RELATION]-(:Mem0Entity {owner: $owner}) WHERE r.owner = $owner "
            "WITH r, startNode(r) AS a, endNode(r) AS b, max(cosine) AS cosine, near "
            f"RETURN {_FOUND}, (1.0 + cosine) / 2.0 AS similarity, near "
            "ORDER BY similarity DESC, r.created_at DESC, memory_id, source, relation, destination LIMIT $limit"
        )

    @property
    def merge_entities(self) -> str:
        """Parameters: owner, user_id, at, entities, indexed."""
        return (
            "UNWIND $entities AS entity MERGE (n:Mem0Entity {id: entity.id}) "
            "SET n.owner = $owner, n.user_id = $user_id, n.agent_id = entity.agent_id, n.name = entity.name, "
            f"n.created_at = coalesce(n.created_at, $at), n.updated_at = $at {self.set_embedding}"
        )


DIALECTS: Final = {
    "neo4j": Dialect(
        needed="Neo4j 5.23",
        probe="RETURN vector.similarity.cosine([1.0], [1.0]) AS one",
        schema=_NEO4J_SCHEMA,
        schema_repeats=False,
        cosine=_NEO4J_COSINE,
        set_embedding=_NEO4J_SET_EMBEDDING,
        vector_index=_NEO4J_VECTOR_INDEX,
    ),
    # Its vector index wants one length and a capacity beforehand, and does not roll back: every search is exact here.
    "memgraph": Dialect(
        needed="Memgraph 2.21",
        probe="CALL mg.procedures() YIELD name RETURN name LIMIT 1",
        schema=_MEMGRAPH_SCHEMA,
        schema_repeats=True,
        cosine=_PLAIN_COSINE,
        set_embedding=_PLAIN_SET_EMBEDDING,
        vector_index=None,
    ),
}

# Whether the owner's entities are in the vector index; from then on they are.
IS_INDEXED: Final = "MATCH (o:Mem0Owner {id: $owner}) RETURN coalesce(o.indexed, false) AS indexed"
INDEX_ENTITIES: Final = (
    "MATCH (o:Mem0Owner {id: $owner}) SET o.indexed = true "
    "WITH o MATCH (e:Mem0Entity {owner: $owner}) SET e:Mem0Indexed"
)
# How many entities the owner has, up to $limit.
COUNT_ENTITIES: Final = "MATCH (e:Mem0Entity {owner: $owner}) WITH e LIMIT $limit RETURN count(e) AS entities"

EDGES_OF: Final = (
    "MATCH (a:Mem0Entity)-[r:MEM0_RELATION]->(b:Mem0Entity) "
    "WHERE r.memory_id IN $memory_ids AND r.owner = $owner "
    f"RETURN {_FOUND} ORDER BY memory_id, source, relation, destination LIMIT $limit"
)

VERSION: Final = "MATCH (o:Mem0Owner {id: $owner}) RETURN o.version AS version"

# First in every change. The write to `o` takes its lock, so that two changes of one owner come one after the other;
# only then is the version read. Reading before would let both see the same one.
LOCK_OWNER: Final = (
    "MERGE (o:Mem0Owner {id: $owner}) SET o.changed_at = $at "
    "WITH o, o.version AS before SET o.version = $version RETURN before, coalesce(o.indexed, false) AS indexed"
)

REMOVE_EDGES: Final = (
    "MATCH (a:Mem0Entity)-[r:MEM0_RELATION]->(b:Mem0Entity) "
    "WHERE r.memory_id IN $memory_ids AND r.owner = $owner "
    "WITH r, a.id AS source, b.id AS destination DELETE r "
    "RETURN source, destination"
)

REMOVE_OWNERS_EDGES: Final = (
    "MATCH (a:Mem0Entity {owner: $owner})-[r:MEM0_RELATION]->(b:Mem0Entity) "
    "WHERE r.owner = $owner AND r.seq < $before_seq AND ($agent_id IS NULL OR a.agent_id = $agent_id) "
    "WITH r, a.id AS source, b.id AS destination LIMIT $limit DELETE r "
    "RETURN source, destination"
)

MERGE_EDGES: Final = (
    "UNWIND $edges AS edge "
    "MATCH (a:Mem0Entity {id: edge.source}), (b:Mem0Entity {id: edge.destination}) "
    "WHERE a.owner = $owner AND b.owner = $owner "
    "MERGE (a)-[r:MEM0_RELATION {memory_id: edge.memory_id, name: edge.relation}]->(b) "
    "SET r.owner = $owner, r.write_id = $write_id, r.seq = $seq, r.text_hash = edge.text_hash, "
    "r.created_at = coalesce(r.created_at, $at), r.updated_at = $at"
)

REMOVE_ENTITIES_LEFT_ALONE: Final = (
    "UNWIND $ids AS id MATCH (n:Mem0Entity {id: id}) WHERE n.owner = $owner "
    "OPTIONAL MATCH (n)-[r]-() WITH n, count(r) AS edges WHERE edges = 0 DELETE n"
)

MEMORIES: Final = (
    "MATCH (:Mem0Entity {owner: $owner})-[r:MEM0_RELATION]->() "
    "WHERE r.owner = $owner AND r.memory_id > $after "
    "RETURN r.memory_id AS memory_id, collect(DISTINCT coalesce(r.text_hash, '')) AS text_hashes "
    "ORDER BY memory_id LIMIT $limit"
)

COUNTS: Final = (
    "MATCH (e:Mem0Entity {owner: $owner}) OPTIONAL MATCH (e)-[r:MEM0_RELATION {owner: $owner}]->() "
    "RETURN count(DISTINCT e) AS entities, count(r) AS edges"
)
