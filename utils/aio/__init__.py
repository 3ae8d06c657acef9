"""The asyncio loop, the lanes and where blocking code runs, in a process that gevent has patched."""
