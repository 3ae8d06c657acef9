"""When a failed write is tried again: pure decisions."""

from __future__ import annotations

from typing import Final

from utils.errors import PluginError, ServiceError, TimedOut

# Seconds before tries 2 to 6: four times longer each, ten minutes in all (the model SDKs have retried within each try
# already).
DELAYS_S: Final = (2.0, 8.0, 30.0, 120.0, 440.0)
# What must not be given up is tried for ever, with the last of these between: a service that is back is noticed within
# minutes.
DELAYS_UNTIL_IT_WORKS_S: Final = DELAYS_S[:4]
# A caller that waits gets one more try, soon, and then the reason (SPEC 4).
DELAYS_WAITED_FOR_S: Final = (2.0,)
LONGEST_WAITED_FOR_S: Final = 30.0  # what a service may ask for with a caller waiting
JITTER: Final = 0.2  # share of a delay that is random, so that writes that failed together do not come back together


def delay_s(
    error: PluginError, failures: int, chance: float, *, waited_for: bool = False, until_it_works: bool = False
) -> float | None:
    """Seconds until a write is tried again, or None when it has failed for good.

    Args:
        error: why the latest try failed.
        failures: how many tries have failed, this one included.
        chance: a random number in 0..1.
        waited_for: the caller waits for the outcome.
        until_it_works: a passing fault is never the end; the last delay is repeated.
    """
    delays = DELAYS_WAITED_FOR_S if waited_for else DELAYS_UNTIL_IT_WORKS_S if until_it_works else DELAYS_S
    if waited_for and isinstance(error, TimedOut):
        return None  # the caller has waited for as long as one try may take
    if isinstance(error, ServiceError) and not error.passing:
        return None
    if failures > len(delays) and not until_it_works:
        return None
    asked_for_s = (error.retry_after_s or 0.0) if isinstance(error, ServiceError) else 0.0
    if waited_for and asked_for_s > LONGEST_WAITED_FOR_S:
        return None
    spread = 1.0 + JITTER * (2.0 * chance - 1.0)
    return max(delays[min(failures, len(delays)) - 1] * spread, asked_for_s)
