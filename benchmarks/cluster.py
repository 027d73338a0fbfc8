"""Simulate what many clips take and cost on 1, 8 and 64 GPUs, with the plan that `deepdream-video cluster` makes.

    uv run benchmarks/cluster.py --seconds 0.25 --price 2

Nothing is dreamed. The clips have shots of random lengths and are divided by the program's own `divide`; each piece
goes to the first worker that is free, as on Ray. What is not measured is an option: give what yours takes.
Clips that are too short to be divided are not scanned.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass
from itertools import accumulate, takewhile

from dream_core.cluster.plan import Segment, divide


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds that things take: a frame of a dream, of the scan, of decoding up to a segment; a start; a join.

    Starts are those of a worker: Python, PyTorch, the GPU, the networks. The joins are made one after the other.
    """

    frame: float
    scan: float
    decode: float
    start: float
    join: float


def segments_of_clips(
    clips: int, frames: int, *, shot: float, shortest: int, seed: int = 0
) -> list[list[Segment]]:
    """Divide clips with shots of exponential lengths.

    Args:
        clips: their number.
        frames: of each.
        shot: mean length in frames; 0 for clips without a cut.
        shortest: see `divide`.
        seed: of the lengths.
    """
    chance = random.Random(seed)

    def cuts() -> list[int]:
        lengths = (max(1, round(chance.expovariate(1 / shot))) for _ in range(frames))
        return list(takewhile(lambda cut: cut < frames, accumulate(lengths)))

    return [divide(cuts() if shot else [], frames, shortest=shortest) for _ in range(clips)]


def makespan(plans: list[list[Segment]], workers: int, costs: Costs, *, shortest: int = 0) -> float:
    """Seconds until all clips are joined: scans first, then segments in order, each on the first free worker.

    Args:
        plans: the segments of each clip.
        workers: their number.
        costs: what things take.
        shortest: of the plans; shorter clips than twice that are only counted.
    """
    free = [(0.0, number) for number in range(workers)]

    def work(seconds: float, after: float = 0.0) -> float:
        begin, number = heapq.heappop(free)
        end = max(begin, after) + seconds
        heapq.heappush(free, (end, number))
        return end

    planned = [
        work(costs.start + costs.scan * plan[-1].end * (plan[-1].end >= 2 * shortest)) for plan in plans
    ]
    done = [
        max(
            work(costs.start + costs.decode * one.first + costs.frame * one.frame_count, after)
            for one in plan
        )
        for plan, after in zip(plans, planned, strict=True)
    ]
    end = 0.0
    for moment in sorted(done):
        end = max(end, moment) + costs.join
    return end


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, required=True, help="seconds a frame of the dream")
    parser.add_argument("--price", type=float, default=2.0, help="of a GPU for an hour")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=1500, help="of a clip")
    parser.add_argument("--shot", type=float, default=100, help="mean frames of a shot; 0 = no cuts")
    parser.add_argument("--shortest", type=int, default=100)
    parser.add_argument("--scan", type=float, default=0.07, help="seconds a frame of the scan for cuts")
    parser.add_argument(
        "--decode", type=float, default=0.008, help="seconds a frame of those that are skipped"
    )
    parser.add_argument("--start", type=float, default=15.0, help="seconds until a worker dreams")
    parser.add_argument("--join", type=float, default=1.0, help="seconds a clip")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    given = parser.parse_args()
    costs = Costs(
        frame=given.seconds, scan=given.scan, decode=given.decode, start=given.start, join=given.join
    )
    plans = segments_of_clips(given.clips, given.frames, shot=given.shot, shortest=given.shortest)
    dreaming = given.clips * given.frames * given.seconds
    print(
        f"{given.clips} clips, {sum(map(len, plans))} segments, {dreaming / 3600:.1f} hours of dreaming alone\n"
    )
    print("| GPUs | hours | GPU hours | cost | times as fast | beside the dream |\n|---|---|---|---|---|---|")
    alone = makespan(plans, 1, costs, shortest=given.shortest)
    for workers in given.workers:
        took = makespan(plans, workers, costs, shortest=given.shortest)
        paid = took * workers / 3600
        print(
            f"| {workers} | {took / 3600:.2f} | {paid:.1f} | {paid * given.price:.0f} | {alone / took:.1f} "
            f"| {1 - dreaming / 3600 / paid:.1%} |"
        )


if __name__ == "__main__":
    main()
