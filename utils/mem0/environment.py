"""The process environment, cleaned of what could override the credentials.

mem0's classes and the SDKs below them read keys and addresses from environment variables, some of them before the
configuration they are given. So these variables are removed before any part of mem0 runs, and again before each part
is built.
"""

from __future__ import annotations

import os
from typing import Final

# Through these mem0's classes and the SDKs below them let the environment override or supply what the credentials
# must say. Prefixes, because the SDKs keep adding names (admin keys, custom headers, logs with request bodies).
_SCRUBBED_PREFIXES: Final = (
    "OPENAI_", "OPENROUTER_", "AZURE_OPENAI_", "LLM_AZURE_", "EMBEDDING_AZURE_", "ANTHROPIC_", "DEEPSEEK_", "XAI_",
    "MINIMAX_", "SARVAM_", "VLLM_", "OLLAMA_", "GROQ_", "TOGETHER_", "LITELLM_", "GEMINI_", "GOOGLE_API_KEY",
    "GOOGLE_GENAI_", "GOOGLE_GEMINI_", "GOOGLE_VERTEX_", "HUGGINGFACE_", "COHERE_", "CO_API_", "ZEROENTROPY_",
    "ZERO_ENTROPY_", "PINECONE_", "TURBOPUFFER_", "UPSTASH_VECTOR_", "MILVUS_", "CHROMA_", "WEAVIATE_", "QDRANT_",
    "DATABRICKS_", "MEM0_API_KEY", "AWS_BEARER_TOKEN_BEDROCK", "AWS_BEDROCK_BASE_URL",
)  # fmt: skip
# libpq's: PGHOSTADDR alone sends the password of the credentials to another machine.
_SCRUBBED_NAMES: Final = frozenset({
    "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE",
    "PGOPTIONS",
})  # fmt: skip


def scrub_environment() -> tuple[str, ...]:
    """Remove the variables by which the environment could override the credentials; proxies and cloud identities stay.

    Returns:
        The names that were removed, for the log.
    """
    names = tuple(name for name in os.environ if name in _SCRUBBED_NAMES or name.startswith(_SCRUBBED_PREFIXES))
    for name in names:
        del os.environ[name]
    return names
