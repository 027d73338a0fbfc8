"""The nodes that a loop repeats."""

from __future__ import annotations

import re
from typing import Any

import pytest


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def loop(body: dict[str, Any], result: str = "work", **carried: Any) -> dict[str, Any]:
    """A graph of a loop: frames -> open -> body -> close -> save."""
    return {
        "frames": node("Load"),
        "open": node("DeepDreamLoopOpen", frames=["frames", 0]),
        "close": node("DeepDreamLoopClose", loop=["open", 0], result=[result, 0], **carried),
        "save": node("Save", images=["close", 0]),
        **body,
    }


@pytest.fixture
def collect(pack: Any) -> Any:
    body = pack("nodes.loop.body")
    return lambda graph, close="close": body.collect(graph, close, lambda kind: kind == "Save")


@pytest.fixture
def error(pack: Any) -> type[Exception]:
    found: type[Exception] = pack("nodes.loop.body").LoopError
    return found


def test_the_body_lies_between_the_ends_and_the_rest_outside(collect: Any) -> None:
    graph = loop(
        {
            "model": node("LoadModel"),
            "blur": node("Blur", image=["open", 1], radius=3),
            "work": node("Work", image=["blur", 0], model=["model", 1]),
            "unused": node("Blur", image=["blur", 0]),
        }
    )
    body = collect(graph)
    assert list(body.nodes) == ["blur", "work"]
    assert body.outside == (("frames", 0), ("model", 1))
    assert body.outputs == ()
    assert (body.open_id, body.close_id) == ("open", "close")


def test_nodes_come_after_those_they_take_values_from(collect: Any) -> None:
    graph = loop(
        {
            "a": node("Work", image=["z", 0]),
            "z": node("Work", image=["m", 0], other=["open", 2]),
            "m": node("Work", image=["open", 1]),
            "work": node("Work", image=["a", 0], other=["m", 0]),
        }
    )
    assert list(collect(graph).nodes) == ["m", "z", "a", "work"]


def test_carried_values_belong_to_the_body(collect: Any) -> None:
    graph = loop(
        {"work": node("Work", image=["open", 1]), "next": node("Add", a=["open", 6])},
        **{"carried.carried_0": ["next", 0]},
    )
    assert set(collect(graph).nodes) == {"work", "next"}


def test_an_output_node_runs_along(collect: Any) -> None:
    graph = loop(
        {
            "work": node("Work", image=["open", 1]),
            "blur": node("Blur", image=["work", 0]),
            "look": node("Save", images=["blur", 0]),
        }
    )
    body = collect(graph)
    assert body.outputs == ("look",)
    assert set(body.nodes) == {"work", "blur", "look"}


def test_a_result_from_outside_needs_no_body(collect: Any) -> None:
    body = collect(loop({"work": node("Load")}))
    assert body.nodes == {}
    assert body.outside == (("frames", 0), ("work", 0))


def test_a_loop_inside_of_a_loop(collect: Any) -> None:
    graph = loop(
        {
            "model": node("LoadModel"),
            "in": node("DeepDreamLoopOpen", frames=["open", 1]),
            "step": node("Work", image=["in", 1], model=["model", 0], index=["open", 4]),
            "look": node("Save", images=["step", 0]),
            "out": node("DeepDreamLoopClose", loop=["in", 0], result=["step", 0]),
            "work": node("Work", image=["out", 0]),
        }
    )
    body = collect(graph)
    assert body.outside == (("frames", 0), ("model", 0))
    assert body.outputs == ()
    assert set(body.own()) == {"work"}
    inner = body.inner["out"]
    assert set(inner.nodes) == {"step", "look"}
    assert inner.outputs == ("look",)
    assert set(inner.outside) == {("open", 1), ("open", 4), ("model", 0)}


def test_three_loops_deep(collect: Any) -> None:
    graph = loop(
        {
            "in": node("DeepDreamLoopOpen", frames=["open", 1]),
            "inmost": node("DeepDreamLoopOpen", frames=["in", 1]),
            "step": node("Work", image=["inmost", 1]),
            "outmost": node("DeepDreamLoopClose", loop=["inmost", 0], result=["step", 0]),
            "work": node("DeepDreamLoopClose", loop=["in", 0], result=["outmost", 0]),
        }
    )
    body = collect(graph)
    assert set(body.inner) == {"work"}
    assert set(body.inner["work"].inner) == {"outmost"}
    assert set(body.inner["work"].inner["outmost"].nodes) == {"step"}
    assert body.own() == {}


def test_an_untied_close(collect: Any, error: type[Exception]) -> None:
    graph = loop({"work": node("Work", image=["open", 1])})
    graph["close"]["inputs"]["loop"] = ["work", 0]
    graph["close"]["_meta"] = {"title": "My end"}
    with pytest.raises(error, match=re.escape("'My end' (node close) is not tied to a Temporal Loop Open")):
        collect(graph)


def test_the_inside_used_together_with_the_result(collect: Any, error: type[Exception]) -> None:
    graph = loop(
        {
            "work": node("Work", image=["open", 1]),
            "mix": node("Work", image=["close", 0], other=["work", 0]),
            "late": node("Save", images=["mix", 0]),
        }
    )
    with pytest.raises(error, match=r"'Save' \(node late\) uses values from inside of the loop together"):
        collect(graph)


@pytest.mark.parametrize("source", ["in", "step"])
def test_the_inside_of_an_inner_loop_used_outside_of_it(
    collect: Any, error: type[Exception], source: str
) -> None:
    graph = loop(
        {
            "in": node("DeepDreamLoopOpen", frames=["open", 1]),
            "step": node("Work", image=["in", 1]),
            "out": node("DeepDreamLoopClose", loop=["in", 0], result=["step", 0]),
            "work": node("Work", image=["out", 0], other=[source, 0]),
        }
    )
    with pytest.raises(error, match=r"leave it through 'DeepDreamLoopClose' \(node out\)"):
        collect({name: one for name, one in graph.items() if name != "save"})


def test_a_second_close_on_the_same_open_is_refused(collect: Any, error: type[Exception]) -> None:
    graph = loop({"work": node("Work", image=["open", 1])})
    graph["other"] = node("DeepDreamLoopClose", loop=["open", 0], result=["close", 0])
    with pytest.raises(error, match=re.escape("(node close) and 'DeepDreamLoopClose' (node other)")):
        collect(graph)


def test_watched_is_all_that_output_nodes_inside_depend_on(pack: Any) -> None:
    body = pack("nodes.loop.body")
    graph = loop(
        {
            "work": node("Work", image=["open", 1]),
            "brush": node("Load"),
            "sketch": node("Work", image=["open", 1], brush=["brush", 0]),
            "look": node("Save", images=["sketch", 0]),
        }
    )
    found = body.watched(graph, "close", lambda kind: kind == "Save")
    assert list(found) == ["brush", "frames", "look", "open", "sketch"]
    del graph["look"]
    assert body.watched(graph, "close", lambda kind: kind == "Save") == {}
