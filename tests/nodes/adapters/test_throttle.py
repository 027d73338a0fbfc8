"""What happens a few times a second."""

from __future__ import annotations

from typing import Any

import pytest


def test_it_is_due_at_first_and_again_when_the_time_is_over(
    pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, now = pack("nodes.adapters.throttle"), [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    throttle = module.Throttle(0.1)
    seen = []
    for _ in range(100):  # a hundred gradient steps in half a second
        seen.append(throttle.due())
        now[0] += 0.005
    assert seen[0]
    assert sum(seen) == 5
