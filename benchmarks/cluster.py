"""Simulate what many clips take and cost on 1, 8 and 64 GPUs, with the plan that `deepdream-video cluster` makes.

    uv run benchmarks/cluster.py --seconds 0.25 --price 2

Nothing is dreamed. The clips have shots of random lengths and are divided by the program's own functions; each
piece goes to the first worker that is free, as on Ray. What is not measured is an option: give what yours takes.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass
from itertools import accumulate, takewhile

from dream_core.cluster.engine import Workers, segments_wanted
from dream_core.cluster.plan import Segment, divide, near_equal_parts, split
from dream_core.command.options import ClusterSettings

OVERLAP = ClusterSettings.overlap


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
    clips: int,
    frames: int,
    *,
    shot: float,
    shortest: int,
    wanted: int = 1,
    splits: bool = True,
    seed: int = 0,
) -> list[list[Segment]]:
    """Divide clips with shots of exponential lengths.

    Args:
        clips: their number.
        frames: of each.
        shot: mean length in frames; 0 for clips without a cut.
        shortest: see `divide`.
        wanted: see both.
        splits: split long shots too.
        seed: of the lengths.
    """
    chance = random.Random(seed)

    def cuts() -> list[int]:
        lengths = (max(1, round(chance.expovariate(1 / shot))) for _ in range(frames))
        return list(takewhile(lambda cut: cut < frames, accumulate(lengths)))

    shots = [divide(cuts() if shot else [], frames, wanted=wanted, shortest=shortest) for _ in range(clips)]
    return [split(one, wanted=wanted if splits else 1, shortest=max(shortest, 2 * OVERLAP)) for one in shots]


def dreamed_frames(segment: Segment) -> int:
    """Number of frames that a worker dreams for a segment: also its run-up, and what its fade leads to."""
    return segment.frame_count + OVERLAP * segment.continues + (2 * OVERLAP + 1) * segment.leads_on


def makespan(plans: list[list[Segment]], workers: int, costs: Costs, *, wanted: int = 1) -> float:
    """Seconds until all clips are joined: scans first, then segments in order, each on the first free worker.

    Args:
        plans: the segments of each clip.
        workers: their number.
        costs: what things take.
        wanted: number of parts that each clip should have. Cuts are looked for near their ends; other frames are
            only decoded, to count them.
    """
    free = [(0.0, number) for number in range(workers)]

    def work(seconds: float, after: float = 0.0) -> float:
        begin, number = heapq.heappop(free)
        end = max(begin, after) + seconds
        heapq.heappush(free, (end, number))
        return end

    def look(frames: int) -> float:
        near = len(near_equal_parts(frames, wanted=wanted).intersection(range(frames)))
        return costs.scan * near + costs.decode * (frames - near)

    planned = [work(costs.start + look(plan[-1].end)) for plan in plans]
    done = [
        max(
            work(costs.start + costs.decode * one.first + costs.frame * dreamed_frames(one), after)
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
    parser.add_argument("--no-split", dest="split", action="store_false", help="divide at cuts alone")
    parser.add_argument("--scan", type=float, default=0.025, help="seconds a frame of the scan for cuts")
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
    dreaming = given.clips * given.frames * given.seconds / 3600
    alone = (costs.start + given.frames * given.seconds + costs.join) * given.clips / 3600
    print(f"{given.clips} clips, {dreaming:.1f} hours of dreaming alone\n")
    print(
        "| GPUs | segments | hours | GPU hours | cost | times as fast | dreamed twice | not dreaming |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for number in given.workers:
        workers = Workers(1, 1, number=number)
        wanted = segments_wanted(given.clips, workers) if given.shortest * 2 <= given.frames else 1
        plans = segments_of_clips(
            given.clips,
            given.frames,
            shot=given.shot,
            shortest=given.shortest,
            wanted=wanted,
            splits=given.split,
        )
        took = makespan(plans, number, costs, wanted=wanted) / 3600
        paid = took * number
        twice = sum(dreamed_frames(one) - one.frame_count for plan in plans for one in plan)
        again = twice * given.seconds / 3600
        print(
            f"| {number} | {sum(map(len, plans))} | {took:.2f} | {paid:.1f} | {paid * given.price:.0f} "
            f"| {alone / took:.1f} | {again / paid:.1%} | {1 - (dreaming + again) / paid:.1%} |"
        )


if __name__ == "__main__":
    main()
